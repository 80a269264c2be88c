import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { ALGORITHMS, closeAll, open, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const make = (more: Partial<LimiterOptions> = {}): Limiter => open(tenOf(algorithm, { clock, ...more }))
  const left = (limiter: Limiter, key: string): number => limiter.peek(key).remaining

  test('a spray of ten times maxKeys leaves every blocked and every exhausted key so', () => {
    const limiter = make({ maxKeys: 2000 })
    const { bytes } = limiter.stats()
    const blocked = Array.from({ length: 300 }, (_, i) => `blocked-${i}`)
    const exhausted = Array.from({ length: 500 }, (_, i) => `exhausted-${i}`)
    for (const key of blocked) limiter.block(key, 60_000)
    for (const key of exhausted) limiter.consume(key, 10)
    for (let i = 0; i < 20_000; i++) limiter.consume(`spray-${i}`)
    expect(blocked.filter((key) => limiter.peek(key).reason !== 'blocked')).toEqual([])
    expect(exhausted.filter((key) => left(limiter, key) !== 0)).toEqual([])
    const { keys, capacity, evictedLive, refusedFull, bytes: bytesAfter } = limiter.stats()
    expect(keys).toBeLessThanOrEqual(capacity)
    expect(evictedLive).toBeGreaterThan(0)
    expect([refusedFull, bytesAfter]).toEqual([0, bytes])
  })

  test('as many keys as maxKeys all fit, and none of them is forgotten', () => {
    const limiter = make({ maxKeys: 20_000 })
    const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}`)
    limiter.consumeMany(keys, undefined, { cost: keys.map((_, i) => 1 + (i % 10)) })
    expect(limiter.stats()).toMatchObject({ keys: 20_000, allowed: 20_000, evictedLive: 0, refusedFull: 0 })
    expect(keys.filter((key, i) => left(limiter, key) !== 9 - (i % 10))).toEqual([])
  })

  test('keys that have ended give their places to others, as they were never there', () => {
    const limiter = make({ maxKeys: 1000 })
    for (let round = 0; round < 20; round++) {
      const keys = Array.from({ length: 1000 }, (_, i) => `round-${round}-${i}`)
      expect(limiter.consumeMany(keys, undefined, { cost: 10 }).allowedCount).toBe(1000)
      clock.advance(2000)
    }
    const { keys, capacity, evictedLive, refusedFull } = limiter.stats()
    expect({ evictedLive, refusedFull }).toEqual({ evictedLive: 0, refusedFull: 0 })
    expect(keys).toBeLessThanOrEqual(capacity)
  })

  test('a table full of exhausted keys refuses a new one, until the time it tells', () => {
    const limiter = make({ maxKeys: 10 })
    const { capacity } = limiter.stats()
    for (let i = 0; limiter.stats().keys < capacity; i++) limiter.consume(i, 10)
    const { reason, retryAfterMs, consumed } = limiter.consume('new')
    expect({ reason, consumed }).toEqual({ reason: 'table-full', consumed: 0 })
    expect(retryAfterMs).toBeGreaterThan(0)
    clock.advance(retryAfterMs - 0.001)
    expect(limiter.consume('new').allowed).toBe(false)
    clock.advance(0.001)
    expect(limiter.consume('new').allowed).toBe(true)
  })
})
