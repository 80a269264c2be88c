import { afterEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

const good = { limit: 10, windowMs: 1000, maxKeys: 100 }
const window = { ...good, algorithm: 'fixed-window' as const }

const opened: Limiter[] = []

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
})

function open(options: unknown): Limiter {
  const limiter = new Limiter(options as LimiterOptions)
  opened.push(limiter)
  return limiter
}

const notNumbers: [string, unknown][] = [
  ['a string', '10'],
  ['null', null],
  ['a boolean', true],
  ['a bigint', 10n],
  ['an object', {}],
  ['an array', [10]],
  ['a Number object', Object(10)],
  ['a symbol', Symbol('10')],
  ['a function', () => 10],
]

describe('numbers', () => {
  const options: { name: string; range: RegExp; outside: number[]; base: object }[] = [
    {
      name: 'limit',
      range: /an integer from 1 to 9007199254740991/,
      outside: [0, -1, 1.5, 2 ** 53],
      base: good,
    },
    {
      name: 'burst',
      range: /an integer from 1 to 9007199254740991/,
      outside: [0, -1, 1.5, 2 ** 53],
      base: good,
    },
    {
      name: 'maxKeys',
      range: /an integer from 1 to 2147483648/,
      outside: [0, -1, 1.5, 2 ** 31 + 1],
      base: good,
    },
    {
      name: 'windowMs',
      range: /a number from 0.001 to 4611686018427/,
      outside: [0, -1, -0, 0.0009, 5e12],
      base: good,
    },
    {
      name: 'limit',
      range: /an integer from 1 to 9007199254740991/,
      outside: [0, -1, 1.5, 2 ** 53],
      base: window,
    },
  ]

  test.each(options)('$name of the wrong type or out of range', ({ name, range, outside, base }) => {
    for (const [, value] of notNumbers) {
      const complaint = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE', says: [name, range] } as const
      expectComplaint(() => open({ ...base, [name]: value }), complaint)
    }
    for (const value of [...outside, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const says = [name, range, Object.is(value, -0) ? '-0' : String(value)]
      expectComplaint(() => open({ ...base, [name]: value }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_OPTION_RANGE',
        says,
      })
    }
  })

  test.each(['limit', 'windowMs'])('%s is needed', (name) => {
    const complaint = {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_TYPE',
      says: [name, 'undefined'],
    } as const
    expectComplaint(() => open({ ...good, [name]: undefined }), complaint)
    const without: Record<string, unknown> = { ...good }
    delete without[name]
    expectComplaint(() => open(without), complaint)
  })

  test('the ends of each range are accepted', () => {
    expect(open({ limit: 1, windowMs: 0.001, maxKeys: 1 }).allow('k')).toBe(true)
    expect(open({ ...good, limit: Number.MAX_SAFE_INTEGER, windowMs: 1e10 }).peek('k').limit).toBe(
      Number.MAX_SAFE_INTEGER,
    )
    expect(open({ ...good, burst: Number.MAX_SAFE_INTEGER, limit: 1e9, windowMs: 1000 }).allow('k')).toBe(
      true,
    )
    expect(open({ ...good, limit: 1, windowMs: 4_611_686_018_427 }).allow('k')).toBe(true)
    expect(open({ ...window, limit: Number.MAX_SAFE_INTEGER, windowMs: 1e10 }).allow('k')).toBe(true)
  })

  test.each([0.001, 0.5, 0.333333, 1.0005, 333.333])('a window of %d ms holds to the tick', (windowMs) => {
    for (const algorithm of ['token-bucket', 'fixed-window']) {
      const clock = new ManualClock()
      const limiter = open({ algorithm, limit: 1, windowMs, maxKeys: 100, clock })
      expect(limiter.consume('k').resetAfterMs).toBe(Math.ceil(windowMs * 1000) / 1000)
    }
  })
})

test('a window that is no whole number of nanoseconds is refused', () => {
  const says = ['windowMs', 'nanoseconds', '0.3333333333333333']
  expectComplaint(() => open({ ...good, windowMs: 1 / 3 }), {
    type: 'RangeError',
    code: 'ERR_SLUICE_OPTION_RANGE',
    says,
  })
})

describe('policies that the engine cannot hold', () => {
  const code = 'ERR_SLUICE_OPTION_RANGE'

  test('more than one token a nanosecond', () => {
    for (const base of [good, window]) {
      const says = ['limit', '1000000', '1000001']
      expectComplaint(() => open({ ...base, limit: 1_000_001, windowMs: 1 }), {
        type: 'RangeError',
        code,
        says,
      })
      expect(open({ ...base, limit: 1_000_000, windowMs: 1 }).allow('k')).toBe(true)
    }
  })

  test('a bucket that takes over 146 years to fill', () => {
    const says = ['burst', '146 years', /at most \d+/]
    expectComplaint(() => open({ ...good, limit: 1, windowMs: 86_400_000, burst: 60_000 }), {
      type: 'RangeError',
      code,
      says,
    })
    expect(
      open({ ...good, limit: 1, windowMs: 86_400_000, burst: 50_000 }).consume('k', 50_000).allowed,
    ).toBe(true)
  })

  test('every pair of limit and window in the promised range can be had: 1 a day to 1e9 a second', () => {
    for (const limit of [
      1,
      2,
      3,
      7,
      1000,
      99_991,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32 + 1,
      1e12,
      Number.MAX_SAFE_INTEGER,
    ]) {
      for (const nsPerToken of [1, 3.7, 8, 999, 1e6, 1e9, 86_400e9]) {
        const windowMs = Math.round(limit * nsPerToken) / 1e6
        if (windowMs < 0.001 || windowMs > 3.15e12 || Math.round(windowMs * 1e6) < limit) continue
        for (const algorithm of ['token-bucket', 'fixed-window']) {
          const limiter = open({ algorithm, limit, windowMs, maxKeys: 1, clock: new ManualClock() })
          expect(limiter.consume('k', limit).allowed, `${limit} in ${windowMs} ms`).toBe(true)
          expect(limiter.allow('k', limit)).toBe(false)
        }
      }
    }
  })
})

describe('choices', () => {
  test.each([
    ['algorithm', ["'token-bucket'", "'fixed-window'"], good],
    ['align', ["'first-request'", "'epoch'"], window],
  ])('%s', (name, choices, base) => {
    for (const value of ['', 'Epoch', 'tokenbucket', '__proto__', 'constructor']) {
      const says = [name, ...choices, JSON.stringify(value)]
      expectComplaint(() => open({ ...base, [name]: value }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_OPTION_RANGE',
        says,
      })
    }
    for (const value of [5, null, true, {}, ['epoch'], Symbol('epoch'), Object('epoch')]) {
      const says = [name, ...choices]
      expectComplaint(() => open({ ...base, [name]: value }), {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_TYPE',
        says,
      })
    }
  })

  test.each([
    ['burst', { ...window, burst: 5 }, 'fixed-window, which has limit, windowMs, initial'],
    ['align', { ...good, align: 'epoch' }, 'fixed window'],
    ['tiers.paid', { ...window, tiers: { paid: { burst: 5 } } }, 'burst'],
  ])('%s does not belong to every algorithm', (name, options, says) => {
    expect(() => open(options)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_SLUICE_OPTION_/) }),
    )
    expect(() => open(options)).toThrow(name)
    expect(() => open(options)).toThrow(says)
  })

  test('undefined is the same as not said', () => {
    const limiter = open({
      ...good,
      algorithm: undefined,
      burst: undefined,
      align: undefined,
      tiers: undefined,
      clock: undefined,
    })
    expect(limiter.peek('k')).toMatchObject({ limit: 10, remaining: 10 })
    expect(open({ limit: 10, windowMs: 1000, maxKeys: undefined }).stats().maxKeys).toBe(1_000_000)
  })
})

describe('clock', () => {
  test('must be a ManualClock or a function', () => {
    for (const clock of [
      null,
      0,
      'now',
      {},
      { now: () => 0 },
      Date.now(),
      true,
      Symbol('now'),
      new Date(0),
    ]) {
      const says = ['clock', 'ManualClock', 'function']
      expectComplaint(() => open({ ...good, clock }), {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_TYPE',
        says,
      })
    }
  })
})

describe('tiers', () => {
  test.each([5, null, 'paid', true, ['paid'], () => ({})])('must be an object, not %o', (tiers) => {
    expectComplaint(() => open({ ...good, tiers }), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_TYPE',
      says: ['tiers', 'object'],
    })
  })

  test.each([5, null, 'paid', true, ['paid'], undefined])('and each of them, not %o', (tier) => {
    const complaint = {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_TYPE',
      says: ['tiers.paid', 'object'],
    } as const
    expectComplaint(() => open({ ...good, tiers: { paid: tier } }), complaint)
  })

  test('errors name the tier and the option', () => {
    const says = ['tiers.paid.limit', 'an integer from 1', '0']
    expectComplaint(() => open({ ...good, tiers: { paid: { limit: 0 } } }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_OPTION_RANGE',
      says,
    })
    const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE', says: ['tiers.paid.windowMs'] } as const
    expectComplaint(() => open({ ...good, tiers: { free: {}, paid: { windowMs: '5' } } }), type)
    const unknown = {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says: ['tiers.paid', 'limits', "'limit'"],
    } as const
    expectComplaint(() => open({ ...good, tiers: { paid: { limits: 5 } } }), unknown)
    expectComplaint(() => open({ ...good, tiers: { paid: { maxKeys: 5 } } }), {
      ...unknown,
      says: ['maxKeys'],
    })
    expectComplaint(() => open(good).with({ brust: 5 } as object), { ...unknown, says: ['brust', "'burst'"] })
    expectComplaint(() => open(good).with(null as unknown as object), { ...type, says: ['object', 'null'] })
  })
})

describe('unknown options', () => {
  test.each([
    ['limt', 'limit'],
    ['Limit', 'limit'],
    ['window', 'windowMs'],
    ['windowms', 'windowMs'],
    ['brust', 'burst'],
    ['maxkeys', 'maxKeys'],
    ['algoritm', 'algorithm'],
    ['tier', 'tiers'],
    ['clok', 'clock'],
    ['aling', 'align'],
  ])('%s: did you mean %s?', (wrong, right) => {
    const says = [`"${wrong}"`, `'${right}'`]
    expectComplaint(() => open({ ...good, [wrong]: 5 }), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says,
    })
  })

  test('even if undefined, very long or called __proto__', () => {
    const code = 'ERR_SLUICE_OPTION_UNKNOWN'
    expectComplaint(() => open({ ...good, limt: undefined }), { type: 'TypeError', code })
    expectComplaint(() => open({ ...good, ['x'.repeat(1_000_000)]: 1 }), { type: 'TypeError', code })
    const sneaky = JSON.parse('{"limit": 10, "windowMs": 1000, "maxKeys": 100, "__proto__": {"burst": 1}}')
    expectComplaint(() => open(sneaky), { type: 'TypeError', code, says: ['__proto__'] })
  })

  test.each([undefined, null, 5, 'limit', [], true, () => good])(
    'options must be an object, not %o',
    (options) => {
      const complaint = {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_TYPE',
        says: ['options', 'object'],
      } as const
      expectComplaint(() => open(options), complaint)
    },
  )
})
