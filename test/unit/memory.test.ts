import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Key, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

const algorithms = ['token-bucket', 'fixed-window'] as const
const kinds: [string, (index: number) => Key][] = [
  ['strings', (index) => `spray-${index}`],
  ['integers', (index) => index],
  ['bytes', (index) => Buffer.from(`spray-${index}`)],
]

let clock: ManualClock
const opened: Limiter[] = []

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
})

function open(options: Partial<LimiterOptions>): Limiter {
  const limiter = new Limiter({ limit: 100, windowMs: 60_000, clock, ...options })
  opened.push(limiter)
  return limiter
}

describe.each(algorithms)('%s: a spray of ten times maxKeys', (algorithm) => {
  const maxKeys = 2000

  test.each(kinds)('of %s leaves every blocked and every exhausted key so', (_, keyOf) => {
    const limiter = open({ algorithm, maxKeys })
    const blocked = Array.from({ length: 300 }, (_unused, i) => `blocked-${i}`)
    const exhausted = Array.from({ length: 500 }, (_unused, i) => `exhausted-${i}`)
    for (const key of blocked) limiter.block(key, 60_000)
    for (const key of exhausted) limiter.consume(key, 100)
    for (let index = 0; index < 10 * maxKeys; index++) limiter.allow(keyOf(index))
    expect(blocked.filter((key) => limiter.peek(key).reason !== 'blocked')).toEqual([])
    expect(exhausted.filter((key) => limiter.allow(key))).toEqual([])
    const { keys, capacity, evictedLive, refusedFull, bytes } = limiter.stats()
    expect(keys).toBeLessThanOrEqual(capacity)
    expect(evictedLive).toBeGreaterThan(0)
    expect(refusedFull).toBe(0)
    expect(bytes).toBe(open({ algorithm, maxKeys }).stats().bytes)
  })

  test('that are exhausted themselves pushes out no blocked key: the newcomer is refused', () => {
    const limiter = open({ algorithm, maxKeys })
    for (let i = 0; i < 100; i++) limiter.block(`blocked-${i}`, 60_000)
    let refused = 0
    for (let i = 0; i < 10 * maxKeys; i++) {
      const { reason, retryAfterMs, remaining } = limiter.consume(`spray-${i}`, 100)
      if (reason === 'ok') continue
      refused++
      expect(reason).toBe('table-full')
      expect(remaining).toBe(0)
      expect(retryAfterMs).toBeGreaterThan(0)
      expect(retryAfterMs).toBeLessThanOrEqual(60_000)
    }
    const { keys, capacity, evictedLive, refusedFull, denied } = limiter.stats()
    expect(refused).toBeGreaterThan(0)
    expect({ refusedFull, denied, evictedLive }).toEqual({
      refusedFull: refused,
      denied: refused,
      evictedLive: 0,
    })
    expect(keys).toBe(10 * maxKeys - refused + 100)
    expect(keys).toBeLessThanOrEqual(capacity)
    for (let i = 0; i < 100; i++) expect(limiter.peek(`blocked-${i}`).reason).toBe('blocked')
  })
})

describe.each(algorithms)('%s: as many keys as maxKeys', (algorithm) => {
  test('all fit, and none of them is forgotten', () => {
    const maxKeys = 50_000
    const limiter = open({ algorithm, maxKeys })
    for (let i = 0; i < maxKeys; i++) expect(limiter.allow(`k${i}`, 1 + (i % 100))).toBe(true)
    expect(limiter.stats()).toMatchObject({ keys: maxKeys, evictedLive: 0, refusedFull: 0 })
    const wrong = Array.from({ length: maxKeys }, (_unused, i) => i).filter(
      (i) => limiter.peek(`k${i}`).remaining !== 99 - (i % 100),
    )
    expect(wrong).toEqual([])
  })

  test('that have all ended give their places to others', () => {
    const limiter = open({ algorithm, maxKeys: 1000 })
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 1000; i++) expect(limiter.allow(`round-${round}-${i}`, 100)).toBe(true)
      clock.advance(60_000)
    }
    const { keys, capacity, evictedLive, refusedFull } = limiter.stats()
    expect({ evictedLive, refusedFull }).toEqual({ evictedLive: 0, refusedFull: 0 })
    expect(keys).toBeLessThanOrEqual(capacity)
  })
})

describe('a table that is truly full', () => {
  /** Exhausted keys in every place. */
  function fill(limiter: Limiter): string[] {
    const admitted: string[] = []
    for (let i = 0; i < 2000; i++) if (limiter.allow(`filler-${i}`, 100)) admitted.push(`filler-${i}`)
    expect(limiter.stats()).toMatchObject({ keys: limiter.stats().capacity })
    return admitted
  }

  test('refuses new keys, says when to come back, and works for the keys it has', () => {
    const limiter = open({ maxKeys: 10 })
    const fillers = fill(limiter)
    expect(limiter.allow('new')).toBe(false)
    expect(limiter.peek('new')).toMatchObject({ allowed: true, reason: 'ok', remaining: 100 })
    expect(limiter.consume('new', 0)).toMatchObject({ allowed: true, reason: 'ok' })
    expect(limiter.consume('new', 101)).toMatchObject({ reason: 'too-costly' })
    const { reason, retryAfterMs } = limiter.consume('new')
    expect({ reason, retryAfterMs }).toEqual({ reason: 'table-full', retryAfterMs: 600 })
    expect(limiter.refund(fillers[0] as string, 10)).toBe(10)
    expect(limiter.reset(fillers[1] as string)).toBe(true)
    expect(limiter.allow('new')).toBe(true)
  })

  test('after the wait it told a new key is admitted', () => {
    const limiter = open({ maxKeys: 10 })
    fill(limiter)
    const { retryAfterMs } = limiter.consume('new')
    clock.set(retryAfterMs - 0.001)
    expect(limiter.allow('new')).toBe(false)
    clock.set(retryAfterMs)
    expect(limiter.allow('new')).toBe(true)
  })

  test('says that it cannot remember a block or a penalty', () => {
    const limiter = open({ maxKeys: 10 })
    fill(limiter)
    expect(limiter.block('new', 1000)).toBe(false)
    expect(limiter.penalize('new', 5)).toBe(0)
    expect(limiter.peek('new').reason).toBe('ok')
    expect(limiter.stats().refusedFull).toBeGreaterThanOrEqual(2)
  })

  test('drops the key that has spent least, not the one that has spent most', () => {
    const limiter = open({ maxKeys: 10 })
    const { capacity } = limiter.stats()
    for (let i = 0; i < capacity; i++) limiter.consume(`k${i}`, i === 7 ? 1 : 50)
    if (limiter.stats().evictedLive > 0) throw new Error('the table was full too early for this test')
    limiter.consume('new', 99)
    expect(limiter.stats().evictedLive).toBe(1)
    expect(limiter.peek('k7').remaining).toBe(100)
    expect(limiter.peek('k8').remaining).toBe(50)
  })
})

describe('stats', () => {
  test('capacity and bytes follow maxKeys and never change', () => {
    for (const maxKeys of [1, 10, 1000, 100_000]) {
      const limiter = open({ maxKeys })
      const before = limiter.stats()
      expect(before).toMatchObject({
        keys: 0,
        maxKeys,
        allowed: 0,
        denied: 0,
        evictedLive: 0,
        refusedFull: 0,
      })
      expect(before.capacity).toBeGreaterThanOrEqual(maxKeys)
      for (let i = 0; i < 3000; i++) limiter.allow(i)
      expect(limiter.stats()).toMatchObject({ capacity: before.capacity, bytes: before.bytes, allowed: 3000 })
    }
  })

  test.each([100_000, 123_457, 1_000_000, 3_000_000])('at most 24 bytes a key of %i', (maxKeys) => {
    const { bytes } = open({ maxKeys }).stats()
    expect(bytes / maxKeys).toBeLessThanOrEqual(24)
  })

  test('the default is a million keys', () => {
    expect(open({}).stats().maxKeys).toBe(1_000_000)
  })

  test('a table knows when it was made', () => {
    const before = Date.now()
    const { createdEpochMs } = open({ maxKeys: 10 }).stats()
    expect(createdEpochMs).toBeGreaterThanOrEqual(before - 20)
    expect(createdEpochMs).toBeLessThanOrEqual(Date.now())
  })

  test('the whole of it has these fields', () => {
    const counts = ['allowed', 'denied', 'evictedLive', 'keys', 'refusedFull']
    const fields = [...counts, 'bytes', 'capacity', 'createdEpochMs', 'maxKeys'].sort()
    const limiter = open({ maxKeys: 10 })
    expect(Object.keys(limiter.stats()).sort()).toEqual(fields)
    expect(Object.keys(limiter.stats({ perProcess: false })).sort()).toEqual(fields)
    expect(Object.keys(limiter.stats({ perProcess: true })).sort()).toEqual([...fields, 'processes'].sort())
  })
})

test('a table of 2^31 keys works, or is a coded error that says how much memory it wanted', () => {
  const code = 'ERR_SLUICE_NO_MEMORY'
  const complaint = { type: 'RangeError', code, says: ['maxKeys', '2147483648', /\d{11} bytes/] } as const
  const make = () => open({ maxKeys: 2 ** 31 })
  // Where memory is promised before it is used, there is nothing to refuse.
  try {
    make().close()
  } catch {
    expectComplaint(make, complaint)
    return
  }
  const limiter = make()
  expect(limiter.stats().capacity).toBeGreaterThan(2 ** 31)
  expect(limiter.consume('k', 100)).toMatchObject({ allowed: true, remaining: 0 })
  expect(limiter.allow('k')).toBe(false)
})
