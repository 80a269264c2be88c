import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RedisLimiter, RedisLimiterOptions } from '../../lib/redis/index'
import { useScene } from './limiter-scene'
import { until } from './until'

const scene = useScene()
let elsewhere: Redis

beforeAll(() => {
  elsewhere = scene.connect()
})
afterAll(() => elsewhere.disconnect())

function openPlaces(options: Partial<RedisLimiterOptions> = {}): RedisLimiter {
  const { limit = 3, holdMs = 60_000, ...others } = options
  // The scene's own windowMs does not belong to this algorithm.
  return scene.open({
    algorithm: 'concurrency',
    limit,
    holdMs,
    windowMs: undefined,
    ...others,
  } as Partial<RedisLimiterOptions>)
}

async function free(limiter: RedisLimiter, key = 'k'): Promise<number> {
  return (await limiter.peek(key)).remaining
}

describe('acquire', () => {
  test('a place is held until it is released, and counts on all hosts', async () => {
    const limiter = openPlaces()
    const other = openPlaces({ client: elsewhere })
    const lease = await limiter.acquire('k', 2)
    expect({ ...lease }).toMatchObject({
      allowed: true,
      limit: 3,
      remaining: 1,
      consumed: 2,
      source: 'exact',
      reason: 'ok',
    })
    expect(await other.acquire('k', 2)).toMatchObject({ allowed: false, remaining: 1, reason: 'limited' })
    expect(await other.acquire('k')).toMatchObject({ allowed: true, remaining: 0 })
    expect(await lease.release()).toBe(true)
    expect([await free(limiter), await free(other)]).toEqual([2, 2])
  })

  test('of calls at once as many are admitted as there are places', async () => {
    const limiter = openPlaces({ limit: 10 })
    const other = openPlaces({ limit: 10, client: elsewhere })
    const leases = await Promise.all(
      Array.from({ length: 40 }, (_, i) => (i % 2 ? limiter : other).acquire('k')),
    )
    const held = leases.filter(({ allowed }) => allowed)
    expect(held).toHaveLength(10)
    expect(await Promise.all(held.map((lease) => lease.release()))).toEqual(Array(10).fill(true))
    expect(await scene.keys()).toEqual([])
  })

  test('released twice: the second time is a mistake, and gives nothing back', async () => {
    const limiter = openPlaces()
    const lease = await limiter.acquire('k')
    await limiter.acquire('k')
    expect(await lease.release()).toBe(true)
    await expect(lease.release()).rejects.toMatchObject({ code: 'ERR_SLUICE_RELEASED', name: 'TypeError' })
    await lease[Symbol.asyncDispose]()
    expect(await free(limiter)).toBe(2)
    const both = await limiter.acquire('k')
    const done = await Promise.allSettled([both.release(), both.release()])
    expect(done.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(await free(limiter)).toBe(2)
  })

  test('a refused one has nothing to release', async () => {
    const limiter = openPlaces({ limit: 1 })
    await limiter.acquire('k')
    const refused = await limiter.acquire('k')
    expect(await refused.release()).toBe(false)
    await expect(refused.release()).rejects.toMatchObject({ code: 'ERR_SLUICE_RELEASED' })
    expect(await free(limiter)).toBe(0)
  })

  test('no place at all', async () => {
    const limiter = openPlaces()
    const none = await limiter.acquire('k', 0)
    expect(none).toMatchObject({ allowed: true, consumed: 0 })
    expect(await none.release()).toBe(false)
    expect(await limiter.acquire('k', 4)).toMatchObject({ allowed: false, reason: 'too-costly' })
    expect(await scene.keys()).toEqual([])
  })

  test('it lapses after holdMs, and at most a twelfth more; then there is nothing to release', async () => {
    const limiter = openPlaces({ holdMs: 1200 })
    const lease = await limiter.acquire('k')
    scene.clock.advance(1199.999)
    expect(await free(limiter)).toBe(2)
    scene.clock.advance(100.001)
    expect(await free(limiter)).toBe(3)
    await limiter.acquire('k')
    expect(await lease.release()).toBe(false)
    expect(await free(limiter)).toBe(2)
  })

  test('after a reset it gives nothing back to those who came later', async () => {
    const limiter = openPlaces()
    const lease = await limiter.acquire('k', 2)
    expect(await limiter.reset('k')).toBe(true)
    await limiter.acquire('k', 2)
    expect(await lease.release()).toBe(false)
    expect(await free(limiter)).toBe(1)
  })

  test('a block lets no more in, and leases go on', async () => {
    const limiter = openPlaces()
    const lease = await limiter.acquire('k')
    await limiter.block('k', 1000)
    expect(await limiter.acquire('k')).toMatchObject({
      allowed: false,
      reason: 'blocked',
      retryAfterMs: 1000,
    })
    expect(await lease.release()).toBe(true)
    scene.clock.advance(1000)
    expect(await limiter.acquire('k', 3)).toMatchObject({ allowed: true })
  })

  test('tiers share the places', async () => {
    const limiter = openPlaces({ limit: 1, tiers: { paid: { limit: 3 } } })
    const lease = await limiter.tier('paid').acquire('k', 2)
    expect(await limiter.acquire('k')).toMatchObject({ allowed: false, limit: 1, remaining: 0 })
    expect(await limiter.tier('paid').acquire('k')).toMatchObject({ allowed: true, remaining: 0 })
    expect(await lease.release()).toBe(true)
  })

  test('of a key that its owner changes', async () => {
    const limiter = openPlaces()
    const key = Uint8Array.of(1)
    const acquiring = limiter.acquire(key)
    key[0] = 2
    const lease = await acquiring
    expect((await limiter.peek(Uint8Array.of(1))).remaining).toBe(2)
    expect(await lease.release()).toBe(true)
    expect((await limiter.peek(Uint8Array.of(1))).remaining).toBe(3)
  })
})

describe('await using', () => {
  test('releases at the end of the block, once, also after an error', async () => {
    const limiter = openPlaces()
    {
      await using lease = await limiter.acquire('k')
      expect(lease.allowed).toBe(true)
      expect(await free(limiter)).toBe(2)
    }
    expect(await free(limiter)).toBe(3)
    const failing = async (): Promise<void> => {
      await using _lease = await limiter.acquire('k')
      throw new Error('of the work')
    }
    await expect(failing()).rejects.toThrow('of the work')
    expect(await free(limiter)).toBe(3)
  })

  test('one that was released before, or refused, is left alone', async () => {
    const limiter = openPlaces({ limit: 1 })
    {
      await using lease = await limiter.acquire('k')
      await lease.release()
      await limiter.acquire('k')
      await using refused = await limiter.acquire('k')
      expect(refused.allowed).toBe(false)
    }
    expect(await free(limiter)).toBe(0)
  })

  test('while Redis is gone it does not hide what went wrong; release says so, and may be tried again', async () => {
    const client = scene.connect()
    const limiter = openPlaces({ client, timeoutMs: 200, breaker: { failures: 1000 } })
    const first = await limiter.acquire('k')
    const second = await limiter.acquire('k')
    client.disconnect()
    await until(() => client.status === 'end', 'the end of the connection')
    await second[Symbol.asyncDispose]()
    await expect(first.release()).rejects.toMatchObject({ code: 'ERR_SLUICE_UNAVAILABLE' })
    await client.connect()
    expect(await first.release()).toBe(true)
    expect(await free(limiter)).toBe(2)
    client.disconnect()
  })
})
