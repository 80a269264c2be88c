import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type AttachOptions, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, kept, open, policyOf, tenOf } from './every-algorithm'
import { freshName, removeRegions } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock(1_000_000)
})

afterEach(() => {
  closeAll()
  removeRegions()
})

function restored(bytes: Uint8Array, more: AttachOptions = { clock }): Limiter {
  return kept(Limiter.restore(bytes, more))
}

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const make = (more: Partial<LimiterOptions> = {}): Limiter => open(tenOf(algorithm, { clock, ...more }))

  test('what a key has spent, has to wait and is blocked for is known again', () => {
    const limiter = make({ maxKeys: 2000 })
    const keys = Array.from({ length: 1200 }, (_, i) => `key-${i}`)
    for (const [i, key] of keys.entries()) {
      clock.set(1_000_000 + Math.floor(i / 3))
      limiter.consume(key, i % 11)
      if (i % 7 === 0) limiter.block(key, i)
    }
    const heir = restored(limiter.dump())
    for (const atMs of [500, 700, 1100, 1500, 2200, 3100]) {
      clock.set(1_000_000 + atMs)
      const [known, was] = [heir, limiter].map((each) => keys.map((key) => each.peek(key)))
      expect(known).toEqual(was)
    }
    expect(heir.policy).toEqual(limiter.policy)
    const { capacity, bytes, maxKeys } = limiter.stats()
    expect(heir.stats()).toMatchObject({ capacity, bytes, maxKeys })
  })

  test('it goes on from there: exactly what was left', () => {
    const limiter = make()
    limiter.consume('k', 7)
    const heir = restored(limiter.dump())
    expect(heir.consume('k', 4).reason).toBe('limited')
    expect(heir.consume('k', 3)).toMatchObject({ allowed: true, remaining: 0 })
    expect(limiter.consume('k', 3)).toMatchObject({ allowed: true, remaining: 0 })
    expect(heir.reset('k')).toBe(true)
    expect([heir.peek('k').remaining, limiter.peek('k').remaining]).toEqual([10, 0])
  })

  test('the time between counts', () => {
    const limiter = make({ clock: new ManualClock(0) })
    limiter.consume('k', 10)
    const bytes = limiter.dump()
    const { retryAfterMs } = AFTER_TEN[algorithm]
    for (const [nowMs, allowed] of [
      [retryAfterMs - 0.001, false],
      [retryAfterMs, true],
      [1e9, true],
    ] as const)
      expect(restored(bytes, { clock: new ManualClock(nowMs) }).consume('k').allowed).toBe(allowed)
  })

  test('a clock that shows less goes on from where it stands; nobody is let in early or locked out', () => {
    const limiter = make()
    limiter.consume('k', 10)
    const own = new ManualClock(0)
    const heir = restored(limiter.dump(), { clock: own })
    expect(heir.consume('k').allowed).toBe(false)
    own.set(3000)
    expect(heir.consume('k', 10).allowed).toBe(true)
  })

  test('on the machine’s clock', () => {
    const limiter = open(tenOf(algorithm, algorithm === 'concurrency' ? { holdMs: 1e9 } : { windowMs: 1e9 }))
    limiter.consume('k', 10)
    limiter.consume('l', 4)
    const heir = restored(limiter.dump(), {})
    expect(heir.consume('k')).toMatchObject({ allowed: false, remaining: 0 })
    expect(heir.peek('l').remaining).toBe(6)
  })

  test('tiers are named again, and see the same keys', () => {
    const limiter = make({ tiers: { paid: policyOf(algorithm, 20) } })
    limiter.tier('paid').consume('k', 15)
    const bytes = limiter.dump()
    const heir = restored(bytes, {
      clock,
      tiers: { paid: policyOf(algorithm, 20), tiny: policyOf(algorithm, 2) },
    })
    expect(heir.tier('paid').consume('k', 6).allowed).toBe(false)
    expect(heir.tier('paid').consume('k', 5)).toMatchObject({ allowed: true, remaining: 0 })
    expect(heir.tier('tiny').peek('k')).toMatchObject({ limit: 2, remaining: 0 })
    expectComplaint(() => restored(bytes).tier('paid'), {
      type: 'RangeError',
      code: 'ERR_SLUICE_TIER_UNKNOWN',
    })
    expectComplaint(() => restored(bytes, { clock, tiers: { bad: { limit: 0 } } }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_OPTION_RANGE',
      says: ['tiers.bad.limit'],
    })
  })

  test('a dump of a dump is the same, and an empty one is small', () => {
    const limiter = make()
    for (let i = 0; i < 50; i++) limiter.consume(i, i % 10)
    const bytes = limiter.dump()
    const again = restored(bytes).dump()
    expect(again.length).toBe(bytes.length)
    const second = restored(again)
    for (let i = 0; i < 50; i++) expect(second.peek(i)).toEqual(limiter.peek(i))
    expect(make().dump().length).toBeLessThan(1000)
  })
})

test('only what carries information is in it', () => {
  const limiter = open(tenOf('fixed-window', { clock, maxKeys: 1000 }))
  for (let i = 0; i < 500; i++) limiter.consume(i)
  const full = limiter.dump().length
  clock.advance(1000)
  limiter.consume('k')
  expect(limiter.dump().length).toBeLessThan(full / 30)
})

test('a key that has been blocked, and its policy, go with it', () => {
  const limiter = open(tenOf('token-bucket', { clock }))
  limiter.setPolicy({ limit: 20, burst: 5 })
  limiter.block('k', 9000)
  const heir = restored(limiter.dump())
  expect(heir.policy).toEqual({ algorithm: 'token-bucket', limit: 20, windowMs: 1000, burst: 5 })
  expect(heir.peek('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 9000 })
})

test('a lease of before can be waited for, not released, by who restores', () => {
  const limiter = open(tenOf('concurrency', { clock }))
  const lease = limiter.acquire('k', 10)
  const heir = restored(limiter.dump())
  expect(lease.release()).toBe(true)
  expect(heir.peek('k').remaining).toBe(0)
  clock.advance(1084)
  expect(heir.acquire('k', 10).allowed).toBe(true)
})

test('a restored limiter is a limiter like any other', () => {
  const source = open(tenOf('token-bucket', { clock }))
  source.consume('k', 3)
  const heir = restored(source.dump())
  source.close()
  const other = kept(Limiter.attach(heir.handle(), { clock }))
  expect(other.consume('k', 7)).toMatchObject({ allowed: true, remaining: 0 })
  heir.setPolicy({ limit: 100 })
  expect(other.peek('k').limit).toBe(100)
  expect(heir.with({ limit: 50 }).peek('new').remaining).toBe(50)
  expect(heir.consumeMany(['a', 'b']).allowedCount).toBe(2)
  expect(heir.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 2 }])
})

test('a large table is whole', () => {
  const limiter = open({ limit: 10, windowMs: 1e9, maxKeys: 200_000, clock })
  const keys = Array.from({ length: 200_000 }, (_, i) => i)
  limiter.consumeMany(keys, undefined, { cost: keys.map((i) => i % 11) })
  const heir = restored(limiter.dump())
  const left = heir.consumeMany(keys, undefined, { cost: 0 }).remaining
  const wrong = keys.filter((i) => left[i] !== 10 - (i % 11))
  expect(wrong).toEqual([])
  expect(heir.stats().keys).toBe(limiter.stats().keys)
})

test('shared limiters outlive their users by themselves', () => {
  const limiter = open(tenOf('token-bucket', { clock, shared: freshName() }))
  expectComplaint(() => limiter.dump(), {
    type: 'RangeError',
    code: 'ERR_SLUICE_UNSUPPORTED',
    says: ['shared'],
  })
})

test('a closed limiter has nothing to tell', () => {
  const limiter = open(tenOf('token-bucket'))
  limiter.close()
  expectComplaint(() => limiter.dump(), { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
})
