import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type ErrorCode,
  Limiter,
  type LimiterOptions,
  ManualClock,
  type PolicyVariant,
} from '../../lib/index'
import { expectComplaint } from './coded'
import { contentOf, freshName, removeRegions } from './regions'

let clock: ManualClock
const opened: Limiter[] = []

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

/** A token bucket of 100 that refills one token in 10 ms, unless told otherwise. */
function open(more: Partial<LimiterOptions> = {}): Limiter {
  return kept(new Limiter({ limit: 100, windowMs: 1000, maxKeys: 100, clock, ...more }))
}

function kept(limiter: Limiter): Limiter {
  opened.push(limiter)
  return limiter
}

/** A user that changes the policy, and one that looks on: the same limiter, or two that are attached. */
const KINDS: [string, (more?: Partial<LimiterOptions>) => [Limiter, Limiter]][] = [
  [
    'a private limiter',
    (more) => {
      const limiter = open(more)
      return [limiter, limiter]
    },
  ],
  [
    'a private limiter, seen by another user of it',
    (more) => {
      const limiter = open(more)
      return [limiter, kept(Limiter.attach(limiter.handle(), { clock }))]
    },
  ],
  [
    'a shared limiter, seen by another user of it',
    (more) => {
      const shared = freshName()
      return [open({ shared, ...more }), open({ shared, ...more })]
    },
  ],
]

describe.each(KINDS)('setPolicy of %s', (_, openTwo) => {
  test('raising a limit hands out nothing', () => {
    const [changer, watcher] = openTwo()
    expect(watcher.consume('empty', 100).remaining).toBe(0)
    expect(watcher.consume('half', 50).remaining).toBe(50)
    changer.setPolicy({ limit: 1000 })
    expect(watcher.policy).toEqual({ algorithm: 'token-bucket', limit: 1000, windowMs: 1000, burst: 1000 })
    expect(watcher.consume('empty')).toMatchObject({
      allowed: false,
      limit: 1000,
      remaining: 0,
      retryAfterMs: 1,
      resetAfterMs: 1000,
    })
    expect(watcher.peek('half')).toMatchObject({ allowed: true, limit: 1000, remaining: 50 })
    expect(watcher.allow('half', 51)).toBe(false)
    expect(watcher.consume('half', 50)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('from then on a bucket refills at the new rate', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 100)
    changer.setPolicy({ limit: 1000 })
    expect(watcher.allow('key')).toBe(false)
    clock.advance(1)
    expect(watcher.consume('key')).toMatchObject({ allowed: true, remaining: 0 })
    clock.advance(500)
    expect(watcher.peek('key').remaining).toBe(500)
  })

  test('a key that has spent nothing has the new burst', () => {
    const [changer, watcher] = openTwo()
    changer.setPolicy({ limit: 1000 })
    expect(watcher.consume('new', 1000)).toMatchObject({ allowed: true, remaining: 0 })
    changer.setPolicy({ limit: 10 })
    expect(watcher.peek('newer')).toMatchObject({ limit: 10, remaining: 10 })
  })

  test('lowering it keeps what a key has spent, and nobody owes more than the new bucket', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('rich', 4)
    watcher.consume('poor', 10)
    watcher.consume('empty', 100)
    changer.setPolicy({ limit: 10 })
    expect(watcher.peek('rich')).toMatchObject({ limit: 10, remaining: 6 })
    expect(watcher.consume('rich', 11)).toMatchObject({ reason: 'too-costly', remaining: 6 })
    for (const key of ['poor', 'empty']) {
      expect(watcher.consume(key)).toMatchObject({
        allowed: false,
        remaining: 0,
        retryAfterMs: 100,
        resetAfterMs: 1000,
      })
    }
  })

  test('a new rate alone leaves a key what it has left, and what it has spent', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 60)
    changer.setPolicy({ limit: 10, burst: 100 })
    expect(watcher.consume('key', 0)).toMatchObject({ limit: 100, remaining: 40, resetAfterMs: 6000 })
    changer.setPolicy({ limit: 1000, burst: 100 })
    expect(watcher.consume('key', 0)).toMatchObject({ limit: 100, remaining: 40, resetAfterMs: 60 })
  })

  test('there and back again mints nothing either', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 95)
    let left = 5
    for (const limit of [1000, 3, 10_000, 50, 100]) {
      changer.setPolicy({ limit })
      const { remaining } = watcher.consume('key', 0)
      expect(remaining).toBeLessThanOrEqual(left)
      left = remaining
    }
    expect(watcher.allow('key', left + 1)).toBe(false)
  })

  test('what is not named stays', () => {
    const [changer, watcher] = openTwo({ burst: 30 })
    const is = { algorithm: 'token-bucket', limit: 100, windowMs: 1000, burst: 30 }
    const steps: [PolicyVariant, object][] = [
      [{}, is],
      [{ windowMs: 2000 }, { ...is, windowMs: 2000 }],
      [{ burst: 40 }, { ...is, windowMs: 2000, burst: 40 }],
      [{ limit: 50 }, { ...is, limit: 50, windowMs: 2000, burst: 40 }],
      [
        { limit: 60, burst: 7, windowMs: 500 },
        { ...is, limit: 60, windowMs: 500, burst: 7 },
      ],
    ]
    for (const [change, then] of steps) {
      changer.setPolicy(change)
      expect(watcher.policy).toEqual(then)
    }
    expect(watcher.consume('key', 7)).toMatchObject({ limit: 7, remaining: 0 })
  })

  test('a change of the burst alone keeps what is left, and of the window what is left too', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 60)
    changer.setPolicy({ burst: 500 })
    expect(watcher.consume('key', 0)).toMatchObject({ limit: 500, remaining: 40, resetAfterMs: 4600 })
    changer.setPolicy({ windowMs: 10_000 })
    expect(watcher.consume('key', 0)).toMatchObject({ limit: 500, remaining: 40, resetAfterMs: 46_000 })
  })

  test('batches follow at once', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 99)
    changer.setPolicy({ limit: 1000 })
    const { allowedCount, remaining } = watcher.consumeMany(['key', 'key', 'new'])
    expect([allowedCount, ...remaining.slice(0, 3)]).toEqual([2, 0, 0, 999])
  })

  test('tiers and views stay as they are', () => {
    const [changer, watcher] = openTwo({ tiers: { paid: { limit: 500 } } })
    const view = watcher.with({ limit: 300 })
    changer.setPolicy({ limit: 10 })
    expect(watcher.tier('paid').peek('key')).toMatchObject({ limit: 500, remaining: 500 })
    expect(view.peek('key')).toMatchObject({ limit: 300, remaining: 300 })
    expect(watcher.tier('paid').consume('key', 100).remaining).toBe(400)
    expect(view.peek('key').remaining).toBe(200)
    expect(watcher.with({ windowMs: 500 }).peek('new').limit).toBe(10)
  })

  test('a block outlives it, and what the bucket will have left then counts', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 100)
    watcher.block('key', 200)
    changer.setPolicy({ limit: 1000 })
    expect(watcher.consume('key')).toMatchObject({ reason: 'blocked', limit: 1000, retryAfterMs: 200 })
    clock.advance(200)
    expect(watcher.consume('key')).toMatchObject({ allowed: true, remaining: 19 })
  })

  test('a fixed window keeps its count and its end; the new limit applies to it', () => {
    const [changer, watcher] = openTwo({ algorithm: 'fixed-window', tiers: { most: { limit: 1000 } } })
    watcher.consume('key', 60)
    clock.advance(400)
    changer.setPolicy({ limit: 1000 })
    expect(watcher.policy).toEqual({ algorithm: 'fixed-window', limit: 1000, windowMs: 1000 })
    expect(watcher.consume('key', 0)).toMatchObject({ limit: 1000, remaining: 940, resetAfterMs: 600 })
    changer.setPolicy({ limit: 50 })
    expect(watcher.consume('key')).toMatchObject({
      allowed: false,
      limit: 50,
      remaining: 0,
      retryAfterMs: 600,
    })
    changer.setPolicy({ limit: 61 })
    expect(watcher.consume('key')).toMatchObject({ allowed: true, remaining: 0 })
    clock.advance(600)
    expect(watcher.peek('key').remaining).toBe(61)
  })

  test('a bad one changes nothing', () => {
    const [changer, watcher] = openTwo({ algorithm: 'fixed-window' })
    watcher.consume('key', 60)
    const before = watcher.policy
    const range = 'ERR_SLUICE_OPTION_RANGE'
    const bad: [unknown, 'TypeError' | 'RangeError', ErrorCode, string][] = [
      [undefined, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'policy'],
      [5, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'policy'],
      [{ limit: 0 }, 'RangeError', range, 'policy.limit'],
      [{ limit: '5' }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'policy.limit'],
      [{ limit: null }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'policy.limit'],
      [{ limit: 1.5 }, 'RangeError', range, 'policy.limit'],
      [{ limit: 1_000_000 }, 'RangeError', range, 'policy.limit must be at most 65535 in this table'],
      [{ windowMs: 500 }, 'RangeError', range, 'policy.windowMs'],
      [{ burst: 5 }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN', 'burst'],
      [{ maxKeys: 5 }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN', 'maxKeys'],
      [{ limitt: 5 }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN', "'limit'"],
    ]
    for (const [policy, type, code, says] of bad) {
      expectComplaint(() => changer.setPolicy(policy as PolicyVariant), { type, code, says: [says] })
      expect(watcher.policy).toEqual(before)
    }
    expect(watcher.peek('key')).toMatchObject({ limit: 100, remaining: 40 })
  })

  test('a thousand different ones, then no more; those it has had before still go', () => {
    const [changer, watcher] = openTwo()
    watcher.consume('key', 100)
    for (let limit = 101; limit <= 1123; limit++) changer.setPolicy({ limit })
    expect(watcher.policy.limit).toBe(1123)
    expectComplaint(() => changer.setPolicy({ limit: 5000 }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_POLICY',
    })
    expect(watcher.policy.limit).toBe(1123)
    expect(watcher.consume('key')).toMatchObject({ allowed: false, limit: 1123, remaining: 0 })
    for (let round = 0; round < 5; round++) {
      changer.setPolicy({ limit: 100 })
      expect(watcher.peek('key')).toMatchObject({ limit: 100, remaining: 0 })
      changer.setPolicy({ limit: 600 })
      expect(watcher.peek('key')).toMatchObject({ limit: 600, remaining: 0 })
    }
  })
})

describe('changePolicy', () => {
  test('changes limit, burst and window of a bucket, for everybody, and refills nobody', () => {
    const shared = freshName()
    const first = open({ shared })
    first.consume('key', 100)
    const second = open({
      shared: { name: shared, changePolicy: true },
      limit: 500,
      windowMs: 2000,
      burst: 50,
    })
    const policy = { algorithm: 'token-bucket', limit: 500, windowMs: 2000, burst: 50 }
    expect([first.policy, second.policy]).toEqual([policy, policy])
    expect(first.consume('key')).toMatchObject({ allowed: false, limit: 50, remaining: 0, retryAfterMs: 4 })
    expect(second.consume('new', 50)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('changes the limit of a window', () => {
    const shared = freshName()
    const first = open({ shared, algorithm: 'fixed-window' })
    first.consume('key', 60)
    open({ shared: { name: shared, changePolicy: true }, algorithm: 'fixed-window', limit: 70 })
    expect(first.peek('key')).toMatchObject({ limit: 70, remaining: 10 })
  })

  test('changes nothing where there is nothing to change', () => {
    const shared = freshName()
    open({ shared }).consume('key')
    const before = contentOf(shared)
    open({ shared: { name: shared, changePolicy: true } })
    expect(contentOf(shared).equals(before)).toBe(true)
  })

  test('after that the old options are the wrong ones', () => {
    const shared = freshName()
    open({ shared })
    open({ shared: { name: shared, changePolicy: true }, limit: 500 })
    expectComplaint(() => open({ shared }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: ['limit is 500, not 100'],
    })
    expect(open({ shared, limit: 500 }).allow('key')).toBe(true)
  })

  test('makes a limiter where there is none', () => {
    expect(open({ shared: { name: freshName(), changePolicy: true } }).policy.limit).toBe(100)
  })
})

test('on the machine’s own clock too a user sees it at its next call', () => {
  const limiter = kept(new Limiter({ limit: 100, windowMs: 86_400_000, maxKeys: 100 }))
  const other = kept(Limiter.attach(limiter.handle()))
  for (let i = 0; i < 50; i++) expect(other.allow('key')).toBe(true)
  limiter.setPolicy({ limit: 60 })
  for (let i = 0; i < 10; i++) expect(other.allow('key')).toBe(true)
  expect(other.allow('key')).toBe(false)
  limiter.setPolicy({ limit: 1000 })
  expect(other.allow('key')).toBe(false)
  expect(other.consume('key')).toMatchObject({ allowed: false, limit: 1000, remaining: 0 })
})

test('a tier of the same numbers as the limiter is still a tier', () => {
  const limiter = open({ tiers: { same: { limit: 100 } } })
  limiter.consume('key', 100)
  limiter.setPolicy({ limit: 1000 })
  expect(limiter.tier('same').peek('key')).toMatchObject({ limit: 100, remaining: 0 })
  expect(limiter.peek('key')).toMatchObject({ limit: 1000, remaining: 0 })
})

test('a refund after a raise gives back what was charged, and no more, touched in between or not', () => {
  for (const touches of [false, true]) {
    const limiter = open({ limit: 10 })
    limiter.consume('key', 10)
    limiter.setPolicy({ limit: 100 })
    if (touches) expect(limiter.allow('key')).toBe(false)
    expect(limiter.refund('key', 10)).toBe(10)
    expect(limiter.peek('key').remaining).toBe(10)
  }
})

test('a low limit of the past does not keep keys in a full table', () => {
  const crowd = (limiter: Limiter): number => {
    for (let i = 0; i < 5000; i++) limiter.allow(`key-${i}`)
    return limiter.stats().refusedFull
  }
  const limiter = open({ maxKeys: 1000 })
  limiter.setPolicy({ limit: 1 })
  limiter.setPolicy({ limit: 100 })
  expect(crowd(limiter)).toBe(0)
  // That of a tier which is in use does.
  const strict = open({ maxKeys: 1000, tiers: { strictest: { limit: 1 } } })
  expect(crowd(strict)).toBeGreaterThan(0)
})

test('a key at its limit stays in a full table when the limit is raised, though nobody has touched it since', () => {
  const limiter = open({ limit: 10, maxKeys: 1000 })
  for (let i = 0; i < 20; i++) limiter.consume(`poor-${i}`, 10)
  limiter.setPolicy({ limit: 100 })
  for (let i = 0; i < 5000; i++) limiter.allow(`key-${i}`, 50)
  for (let i = 0; i < 20; i++) expect(limiter.allow(`poor-${i}`)).toBe(false)
})

test('a constructor that fails has changed no limit', () => {
  const name = freshName()
  const options = { algorithm: 'fixed-window', windowMs: 1000, maxKeys: 100 } as const
  const limiter = kept(new Limiter({ ...options, limit: 100, shared: name }))
  expectComplaint(
    () =>
      new Limiter({
        ...options,
        limit: 60,
        shared: { name, changePolicy: true },
        tiers: { paid: { limit: 1e9 } },
      }),
    { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE', says: ['tiers.paid.limit'] },
  )
  expect(limiter.policy.limit).toBe(100)
})

test('a burst that was not set apart from the limit goes with it', () => {
  const limiter = open()
  limiter.setPolicy({ limit: 300 })
  expect(limiter.policy).toMatchObject({ limit: 300, burst: 300 })
  limiter.setPolicy({ burst: 20 })
  limiter.setPolicy({ limit: 500, burst: undefined as never })
  expect(limiter.policy).toMatchObject({ limit: 500, burst: 20 })
  expectComplaint(() => limiter.setPolicy(null as never), {
    type: 'TypeError',
    code: 'ERR_SLUICE_OPTION_TYPE',
  })
})

test('all that differs from a shared limiter is named at once', () => {
  const name = freshName()
  kept(new Limiter({ limit: 100, windowMs: 60_000, maxKeys: 1000, shared: name }))
  expectComplaint(
    () => new Limiter({ algorithm: 'fixed-window', limit: 7, windowMs: 1000, maxKeys: 77, shared: name }),
    {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: ['algorithm is token-bucket', 'maxKeys is 1000', 'limit is 100', 'windowMs is 60000'],
    },
  )
})

test('switches are true or false, and attach says what it takes', () => {
  const limiter = open()
  const wrong = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
  expectComplaint(() => limiter.stats({ perProcess: 'yes' as never }), { ...wrong, says: ['perProcess'] })
  expectComplaint(() => Limiter.remove('any', { force: 1 as never }), { ...wrong, says: ['force'] })
  for (const source of [undefined, limiter, { shared: 'api' }]) {
    expectComplaint(() => Limiter.attach(source as never), { ...wrong, says: ['name of a shared limiter'] })
  }
})
