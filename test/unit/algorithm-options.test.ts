import { afterEach, describe, expect, test } from 'vitest'
import { type Algorithm, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, closeAll, open, tenOf } from './every-algorithm'

const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
const range = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const

afterEach(closeAll)

/** What a policy of each may say, and what belongs to the limiter as a whole. */
const OWN: Record<Algorithm, string[]> = {
  'token-bucket': ['limit', 'windowMs', 'burst', 'initial', 'rememberMs', 'evenly'],
  'fixed-window': ['limit', 'windowMs', 'initial', 'rememberMs', 'evenly'],
  'sliding-window': ['limit', 'windowMs'],
  'sliding-log': ['limit', 'windowMs'],
  'strict-window': ['limit', 'windowMs'],
  'leaky-bucket': ['limit', 'windowMs', 'queue'],
  concurrency: ['limit', 'holdMs'],
}

const SOME: Record<string, unknown> = {
  windowMs: 1000,
  holdMs: 1000,
  burst: 5,
  queue: 5,
  initial: 5,
  rememberMs: 5,
  evenly: true,
}

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const ten = tenOf(algorithm)
  const span = algorithm === 'concurrency' ? 'holdMs' : 'windowMs'

  test('refuses what belongs to others, and says what it has itself', () => {
    const own = OWN[algorithm]
    for (const [name, value] of Object.entries(SOME)) {
      if (own.includes(name)) continue
      const says = [`${name} does not belong to a ${algorithm}, which has ${own.join(', ')}`]
      expectComplaint(() => open({ ...ten, [name]: value }), { ...range, says })
      const unknown = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_UNKNOWN' } as const
      for (const view of [
        () => open(ten).with({ [name]: value }),
        () => open({ ...ten, tiers: { paid: { [name]: value } } }),
      ])
        expectComplaint(view, { ...unknown, says: [name, `It knows ${own.join(', ')}`] })
    }
  })

  test('what others have may be named as undefined', () => {
    const undefineds = Object.fromEntries(Object.keys(SOME).map((name) => [name, undefined]))
    expect(open({ ...undefineds, ...ten }).allow('k', 1)).toBe(true)
  })

  test('needs its span of time, in its own name', () => {
    for (const value of [undefined, null, '1000', Number.NaN, 0, -1, 5e12]) {
      const kind = typeof value === 'number' ? range : type
      const says = [`${span} must be a number from 0.001 to 4611686018427`, `got ${JSON.stringify(value)}`]
      expectComplaint(() => open({ ...ten, [span]: value } as LimiterOptions), {
        ...kind,
        says: Number.isNaN(value) ? [says[0] as string, 'got NaN'] : says,
      })
    }
    expectComplaint(() => open({ ...ten, [span]: 1 / 3 }), { ...range, says: [span, 'whole number of nano'] })
  })

  test('is had with a microsecond and with 146 years, and with a limit of 1', () => {
    // A leaky bucket has a queue of one at least, which is to drain in as much time.
    const longestMs = algorithm === 'leaky-bucket' ? 2_305_843_009_213 : 4_611_686_018_427
    for (const ms of [0.001, longestMs]) {
      const limiter = open({ algorithm, limit: 1, [span]: ms, maxKeys: 1, clock: new ManualClock() })
      expect(limiter.consume('k')).toMatchObject({ allowed: true })
      const spent = algorithm === 'leaky-bucket' ? 1 : 0
      expect(limiter.peek('k').remaining).toBe(spent)
    }
  })

  test('align is for the fixed window', () => {
    const make = () => open({ ...ten, align: 'epoch' })
    if (algorithm === 'fixed-window') expect(make().allow('k')).toBe(true)
    else expectComplaint(make, { ...range, says: [`align belongs to the fixed window; a ${algorithm}`] })
  })

  test('escalate is for those that refuse for good reason', () => {
    const make = () => open({ ...ten, escalate: { blockMs: [10], forgetMs: 10 } })
    const hasNone = algorithm === 'leaky-bucket' || algorithm === 'concurrency'
    if (hasNone) expectComplaint(make, { ...range, says: [`escalate does not belong to a ${algorithm}`] })
    else expect(make().allow('k')).toBe(true)
  })
})

describe('limits that cannot be held', () => {
  const MOST: [Algorithm, number][] = [
    ['sliding-window', 2 ** 32],
    ['sliding-log', 64],
    ['strict-window', 2 ** 31],
    ['concurrency', 2 ** 31],
  ]

  test.each(MOST)('a %s counts to %d, and says so', (algorithm, most) => {
    const span = algorithm === 'concurrency' ? { holdMs: 1e10 } : { windowMs: 1e10 }
    const limiter = open({ algorithm, limit: most, ...span, maxKeys: 1, clock: new ManualClock() })
    expect(limiter.consume('k', most)).toMatchObject({ allowed: true, limit: most, remaining: 0 })
    expect(limiter.consume('k', most)).toMatchObject({ allowed: false, reason: 'limited' })
    expect(limiter.consume('k', most + 1).reason).toBe('too-costly')
    const says = [`at most ${most} in a ${algorithm}`, `got ${most + 1}`]
    expectComplaint(() => open({ algorithm, limit: most + 1, ...span }), { ...range, says })
    expectComplaint(() => limiter.with({ limit: most + 1 }), { ...range, says: ['with.limit', ...says] })
    const tiers = { paid: { limit: most + 1 } }
    expectComplaint(() => open({ algorithm, limit: 1, ...span, tiers }), {
      ...range,
      says: ['tiers.paid.limit', ...says],
    })
  })

  test('a sliding log names what to choose for more', () => {
    expectComplaint(() => open({ algorithm: 'sliding-log', limit: 100, windowMs: 1000 }), {
      ...range,
      says: ['choose strict-window or sliding-window for more'],
    })
  })

  test.each(ALGORITHMS.filter((name) => name !== 'concurrency' && name !== 'sliding-log'))(
    'a %s takes one a nanosecond and no more',
    (algorithm) => {
      const make = (limit: number) => open({ algorithm, limit, windowMs: 0.05, maxKeys: 1 })
      expect(make(50_000).allow('k')).toBe(true)
      expectComplaint(() => make(50_001), { ...range, says: ['limit must be at most 50000', 'got 50001'] })
    },
  )

  test('what is held at once has no rate', () => {
    expect(open({ algorithm: 'concurrency', limit: 1e6, holdMs: 0.001, maxKeys: 1 }).allow('k', 1e6)).toBe(
      true,
    )
  })

  test('a sliding log counts to the greatest limit it was made for', () => {
    const limiter = open({ ...tenOf('sliding-log'), tiers: { most: { limit: 20 } } })
    expect(limiter.with({ limit: 20 }).peek('k').limit).toBe(20)
    for (const change of [
      () => limiter.with({ limit: 21 }),
      () => limiter.setPolicy({ limit: 21 }),
      () => Limiter.attach(limiter.handle(), { tiers: { more: { limit: 21 } } }),
    ])
      expectComplaint(change, { ...range, says: ['at most 20 in this table', 'name the greatest limit'] })
  })

  test('a window counts further than asked where that costs nothing', () => {
    for (const algorithm of ['fixed-window', 'sliding-window', 'strict-window'] as const) {
      const limiter = open(tenOf(algorithm))
      expect(limiter.with({ limit: 10_000 }).consume('k', 10_000)).toMatchObject({ allowed: true })
    }
  })
})

describe('queue', () => {
  const leaky = tenOf('leaky-bucket')

  test('is a whole number from 1; by default the limit', () => {
    for (const value of ['5', null, true])
      expectComplaint(() => open({ ...leaky, queue: value as never }), { ...type, says: ['queue must be'] })
    for (const value of [0, -1, 1.5, Number.NaN, 2 ** 53])
      expectComplaint(() => open({ ...leaky, queue: value }), { ...range, says: ['queue', String(value)] })
    const { queue: _, ...without } = leaky as LimiterOptions & { queue: number }
    expect(open(without).policy).toEqual({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 10 })
    expect(open({ ...leaky, queue: 1 }).peek('k').limit).toBe(2)
  })

  test('that takes over 146 years to drain is refused with the longest that does not', () => {
    const slow = { algorithm: 'leaky-bucket', limit: 1, windowMs: 86_400_000, maxKeys: 1 } as const
    const most = Math.floor(2 ** 62 / 86_400e9) - 1
    expectComplaint(() => open({ ...slow, queue: 60_000 }), {
      ...range,
      says: [`queue must be at most ${most}`, '146 years to drain', 'got 60000'],
    })
    expect(open({ ...slow, queue: most }).consume('k', most + 1).allowed).toBe(true)
  })
})

describe('escalate', () => {
  const openWith = (escalate: unknown) => () =>
    open({ ...tenOf('token-bucket'), escalate: escalate as never })
  const good = { blockMs: [10], forgetMs: 10 }

  test('is an object of two', () => {
    for (const value of [null, 5, 'x', true, [10]])
      expectComplaint(openWith(value), { ...type, says: ['escalate must be an object'] })
    expectComplaint(openWith({ ...good, blockMS: [1] }), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says: ["did you mean 'blockMs'"],
    })
    for (const blockMs of [undefined, null, 5, '10', { 0: 10, length: 1 }, new Float64Array([10])])
      expectComplaint(openWith({ ...good, blockMs }), {
        ...type,
        says: ['escalate.blockMs must be an array'],
      })
    expectComplaint(openWith({ blockMs: [10] }), { ...type, says: ['escalate.forgetMs', 'undefined'] })
  })

  test('has 1 to 8 steps of whole milliseconds', () => {
    for (const count of [0, 9])
      expectComplaint(openWith({ ...good, blockMs: Array(count).fill(10) }), {
        ...range,
        says: ['1 to 8 steps', `got ${count}`],
      })
    for (const bad of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2_190_000_000_001]) {
      const says = ['an integer from 1 to 2190000000000', String(bad)]
      expectComplaint(openWith({ ...good, blockMs: [10, bad] }), { ...range, says: ['blockMs[1]', ...says] })
      expectComplaint(openWith({ ...good, forgetMs: bad }), { ...range, says: ['forgetMs', ...says] })
    }
    expectComplaint(openWith({ ...good, blockMs: [10, '5'] }), { ...type, says: ['escalate.blockMs[1]'] })
    expectComplaint(openWith({ ...good, blockMs: new Array(2) }), { ...type, says: ['escalate.blockMs[0]'] })
    const most = 2_190_000_000_000
    expect(openWith({ blockMs: Array(8).fill(most), forgetMs: most })().allow('k')).toBe(true)
  })
})

test('maxWaiters is a whole number from 1', () => {
  const ten = tenOf('token-bucket')
  for (const value of [0, -1, 1.5, Number.POSITIVE_INFINITY])
    expectComplaint(() => open({ ...ten, maxWaiters: value }), { ...range, says: ['maxWaiters', `${value}`] })
  for (const value of ['5', null])
    expectComplaint(() => open({ ...ten, maxWaiters: value as never }), { ...type, says: ['maxWaiters'] })
  expectComplaint(() => Limiter.attach(open(ten).handle(), { maxWaiters: 0 }), range)
})
