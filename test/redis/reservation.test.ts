import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RedisReservation } from '../../lib/redis/index'
import { useScene } from './limiter-scene'
import { until } from './until'

const scene = useScene()
let elsewhere: Redis

beforeAll(() => {
  elsewhere = scene.connect()
})
afterAll(() => elsewhere.disconnect())

/** A limiter of 100 tokens that get no more in the time of a test. */
const slow = { limit: 100, windowMs: 86_400_000 }

describe('reserve', () => {
  test('charges the estimate, and says what a decision says', async () => {
    const limiter = scene.open({ ...slow, algorithm: 'fixed-window' })
    const reservation = await limiter.reserve('k', 40, 1000)
    expect({ ...reservation }).toMatchObject({
      allowed: true,
      limit: 100,
      remaining: 60,
      retryAfterMs: 0,
      resetAfterMs: 86_400_000,
      consumed: 40,
      delayMs: 0,
      reason: 'ok',
      source: 'exact',
    })
    expect(await limiter.peek('k')).toMatchObject({ remaining: 60 })
    const refused = await limiter.reserve('k', 61, 1000)
    expect(refused).toMatchObject({ allowed: false, consumed: 0, remaining: 60, reason: 'limited' })
    await expect(refused.settle(0)).rejects.toMatchObject({ code: 'ERR_SLUICE_SETTLED', name: 'TypeError' })
    await expect(refused.cancel()).rejects.toMatchObject({ code: 'ERR_SLUICE_SETTLED' })
    expect(await limiter.reserve('k', 101, 1000)).toMatchObject({ allowed: false, reason: 'too-costly' })
  })

  test.each<[actual: number, uncharged: number, left: number]>([
    [40, 0, 60],
    [10, 0, 90],
    [0, 0, 100],
    [70, 0, 30],
    [100, 0, 0],
    // A debt of one limit at most.
    [150, 0, 0],
    [200, 0, 0],
    [230, 30, 0],
  ])('settled at %d: %d could not be charged, %d are left', async (actual, uncharged, left) => {
    const limiter = scene.open(slow)
    const reservation = await limiter.reserve('k', 40, 1000)
    expect(await reservation.settle(actual)).toBe(uncharged)
    expect(await limiter.peek('k')).toMatchObject({ remaining: left })
    // Nothing once more.
    await expect(reservation.settle(1)).rejects.toMatchObject({ code: 'ERR_SLUICE_SETTLED' })
    await expect(reservation.cancel()).rejects.toMatchObject({ code: 'ERR_SLUICE_SETTLED' })
    expect(await limiter.peek('k')).toMatchObject({ remaining: left })
  })

  test('maxDebt', async () => {
    const limiter = scene.open(slow)
    const free = await limiter.reserve('k', 40, 1000, { maxDebt: 0 })
    expect(await free.settle(150)).toBe(50)
    await limiter.reset('k')
    const some = await limiter.reserve('k', 40, 1000, { maxDebt: 7 })
    expect(await some.settle(150)).toBe(43)
    expect(await limiter.peek('k')).toMatchObject({ allowed: false, retryAfterMs: 8 * 864_000 })
  })

  test('two settle at once: one of them does', async () => {
    const limiter = scene.open(slow)
    const reservation = await limiter.reserve('k', 40, 1000)
    const done = await Promise.allSettled([
      reservation.settle(10),
      reservation.settle(10),
      reservation.cancel(),
    ])
    expect(done.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(await limiter.peek('k')).toMatchObject({ remaining: 90 })
  })

  test('bad numbers do not settle it', async () => {
    const limiter = scene.open(slow)
    const reservation = await limiter.reserve('k', 40, 1000)
    for (const [actual, code] of [
      ['1', 'TYPE'],
      [undefined, 'TYPE'],
      [-1, 'RANGE'],
      [0.5, 'RANGE'],
      [2 ** 53, 'RANGE'],
    ] as [number, string][])
      await expect(reservation.settle(actual)).rejects.toMatchObject({ code: `ERR_SLUICE_ARGUMENT_${code}` })
    await reservation.cancel()
    expect(await limiter.peek('k')).toMatchObject({ remaining: 100 })
  })

  test('after its ttl nothing comes back, but more is taken', async () => {
    const limiter = scene.open(slow)
    const late = await limiter.reserve('k', 40, 1000)
    const atTheEnd = await limiter.reserve('e', 40, 1000)
    const more = await limiter.reserve('m', 40, 1000)
    scene.clock.advance(1000)
    expect(await atTheEnd.settle(0)).toBe(0)
    scene.clock.advance(0.001)
    expect(await late.settle(0)).toBe(0)
    expect(await more.settle(50)).toBe(0)
    expect(await limiter.peek('k')).toMatchObject({ remaining: 60 })
    expect(await limiter.peek('m')).toMatchObject({ remaining: 50 })
    expect(await limiter.peek('e')).toMatchObject({ remaining: 100 })
  })

  test('gives back into the window it was charged to, and into no later one', async () => {
    const limiter = scene.open({ algorithm: 'fixed-window', limit: 10, windowMs: 1000 })
    const first = await limiter.reserve('k', 8, 60_000)
    scene.clock.advance(1000)
    await limiter.consume('k', 3)
    await first.cancel()
    expect(await limiter.peek('k')).toMatchObject({ remaining: 7 })
  })

  test('of a tier, and settled by an object that has its policy changed meanwhile', async () => {
    const limiter = scene.open({ algorithm: 'fixed-window', limit: 10, tiers: { paid: { limit: 50 } } })
    const reservation = await limiter.tier('paid').reserve('k', 40, 60_000)
    expect(reservation).toMatchObject({ allowed: true, limit: 50 })
    limiter.setPolicy({ limit: 5 })
    await reservation.settle(15)
    expect(await limiter.tier('paid').peek('k')).toMatchObject({ remaining: 35 })
  })

  test('of bytes that their owner changes before it is settled', async () => {
    const limiter = scene.open(slow)
    const key = Uint8Array.of(1)
    const reservation = await limiter.reserve(key, 40, 60_000)
    key[0] = 2
    await reservation.cancel()
    expect(await limiter.peek(Uint8Array.of(1))).toMatchObject({ remaining: 100 })
  })

  test('many at once on one key', async () => {
    const limiter = scene.open(slow)
    const made = await Promise.all(Array.from({ length: 12 }, () => limiter.reserve('k', 10, 60_000)))
    expect(made.filter(({ allowed }) => allowed)).toHaveLength(10)
    const settled = made
      .filter(({ allowed }) => allowed)
      .map((reservation: RedisReservation, i) => reservation.settle(i))
    expect(await Promise.all(settled)).toEqual(Array(10).fill(0))
    expect(await limiter.peek('k')).toMatchObject({ remaining: 55 })
  })

  test('a key that was reset meanwhile gets nothing twice', async () => {
    const limiter = scene.open(slow)
    const other = scene.open({ ...slow, client: elsewhere })
    const reservation = await limiter.reserve('k', 40, 60_000)
    await other.reset('k')
    await reservation.settle(10)
    expect(await limiter.peek('k')).toMatchObject({ remaining: 100 })
  })

  test.each(['sliding-log', 'sliding-window', 'strict-window', 'fixed-window', 'token-bucket'] as const)(
    'of a %s',
    async (algorithm) => {
      const limiter = scene.open({ algorithm, limit: 20, windowMs: 60_000 })
      const reservation = await limiter.reserve('k', 8, 10_000)
      expect(await limiter.peek('k')).toMatchObject({ remaining: 12 })
      expect(await reservation.settle(5)).toBe(0)
      expect(await limiter.peek('k')).toMatchObject({ remaining: 15 })
    },
  )

  test('of a leaky bucket: a place that was given away is not taken back', async () => {
    const limiter = scene.open({ algorithm: 'leaky-bucket', limit: 10, queue: 19 })
    const reservation = await limiter.reserve('k', 8, 10_000)
    expect(reservation).toMatchObject({ allowed: true, consumed: 8 })
    expect(await limiter.peek('k')).toMatchObject({ remaining: 12 })
    expect(await reservation.settle(5)).toBe(0)
    expect(await limiter.peek('k')).toMatchObject({ remaining: 12 })
  })

  test('while Redis is gone settling rejects, and can be done later', async () => {
    const client = scene.connect()
    const limiter = scene.open({ ...slow, client, timeoutMs: 200, breaker: { failures: 1000 } })
    const reservation = await limiter.reserve('k', 40, 60_000)
    client.disconnect()
    await until(() => client.status === 'end', 'the end of the connection')
    await expect(reservation.settle(10)).rejects.toMatchObject({ code: 'ERR_SLUICE_UNAVAILABLE' })
    await client.connect()
    expect(await reservation.settle(10)).toBe(0)
    expect(await limiter.peek('k')).toMatchObject({ remaining: 90 })
    client.disconnect()
  })

  test("of the host's own share what is not needed goes back to it, and is not reported", async () => {
    const client = scene.connect()
    const limiter = scene.open({ ...slow, client, timeoutMs: 200, onUnavailable: 'local' })
    await limiter.allow('other')
    client.disconnect()
    const reservation = await limiter.reserve('k', 40, 60_000)
    expect(reservation).toMatchObject({ allowed: true, source: 'local', consumed: 40 })
    expect(await reservation.settle(10)).toBe(0)
    expect(await limiter.peek('k')).toMatchObject({ source: 'local', remaining: 90 })
    const reported = new Promise((resolve) => limiter.on('reconciled', resolve))
    await client.connect()
    await limiter.allow('other')
    expect(await reported).toMatchObject({ tokens: 10, keys: 1, lostTokens: 0 })
    expect(await limiter.peek('k')).toMatchObject({ source: 'exact', remaining: 90 })
    client.disconnect()
  })
})
