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

/** How many script calls the server has had for this prefix's limiters; beats of hosts are EVALs, too. */
async function scriptCalls(): Promise<number> {
  const info = await scene.redis.info('commandstats')
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1] ?? 0)
}

/** How many script calls reach Redis meanwhile. */
async function counted(action: () => Promise<unknown>): Promise<number> {
  const before = await scriptCalls()
  await action()
  return (await scriptCalls()) - before
}

/** One that hears of what others announce. */
async function openListening(options: Partial<RedisLimiterOptions> = {}): Promise<RedisLimiter> {
  const limiter = scene.open({ denyCache: true, ...options })
  let isHeard = false
  limiter.on('announcements', (isConnected) => {
    isHeard = isConnected
  })
  await until(() => isHeard, 'the subscription')
  return limiter
}

describe('after a denial', () => {
  test('no command reaches Redis until its time, and every answer is exact', async () => {
    const limiter = scene.open({ limit: 1, windowMs: 500 })
    expect(await counted(async () => void (await limiter.allow('k')))).toBe(1)
    expect(await limiter.consume('k')).toMatchObject({ allowed: false, source: 'exact', retryAfterMs: 500 })
    const asked = await counted(async () => {
      for (let i = 0; i < 499; i++) {
        scene.clock.advance(1)
        const left = 499 - i
        expect(await limiter.consume('k')).toEqual({
          allowed: false,
          limit: 1,
          remaining: 0,
          retryAfterMs: left,
          resetAfterMs: left,
          consumed: 0,
          delayMs: 0,
          reason: 'limited',
          source: 'cache',
        })
        expect(await limiter.allow('k')).toBe(false)
        expect(await limiter.peek('k')).toMatchObject({ source: 'cache', retryAfterMs: left })
      }
      scene.clock.advance(0.999)
      expect(await limiter.consume('k')).toMatchObject({
        allowed: false,
        source: 'cache',
        retryAfterMs: 0.001,
      })
    })
    expect(asked).toBe(0)
    scene.clock.advance(0.001)
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, source: 'exact' })
  })

  test('thousands of calls at once take no command either', async () => {
    const limiter = scene.open({ limit: 1 })
    await limiter.consumeMany(['k', 'k'])
    const asked = await counted(async () => {
      const answers = await Promise.all(Array.from({ length: 5000 }, () => limiter.allow('k')))
      expect(answers).not.toContain(true)
    })
    expect(asked).toBe(0)
  })

  test('of calls that were under way at once, all are denied by one note', async () => {
    const limiter = scene.open({ limit: 2 })
    expect(
      (await Promise.all(Array.from({ length: 50 }, () => limiter.allow('k')))).filter(Boolean),
    ).toHaveLength(2)
    expect(await counted(() => limiter.allow('k'))).toBe(0)
  })

  test('another cost, another tier and another key are asked for', async () => {
    const limiter = scene.open({ burst: 5, tiers: { paid: { limit: 10, burst: 8 } } })
    await limiter.consume('k', 2)
    expect(await limiter.consume('k', 5)).toMatchObject({
      allowed: false,
      source: 'exact',
      retryAfterMs: 200,
    })
    expect(await limiter.consume('k', 5)).toMatchObject({
      allowed: false,
      source: 'cache',
      retryAfterMs: 200,
    })
    expect(await limiter.consume('k', 4)).toMatchObject({
      allowed: false,
      source: 'exact',
      retryAfterMs: 100,
    })
    expect(await limiter.consume('k', 3)).toMatchObject({ allowed: true, source: 'exact' })
    expect(await limiter.consume('k')).toMatchObject({ allowed: false, source: 'exact' })
    expect(await limiter.consume('k')).toMatchObject({ allowed: false, source: 'cache' })
    expect(await limiter.consume('k', 0)).toMatchObject({ allowed: true, source: 'exact' })
    expect(await limiter.consume('k', 3, { partial: true })).toMatchObject({
      allowed: false,
      source: 'exact',
    })
    expect(await limiter.tier('paid').consume('k')).toMatchObject({ allowed: true, source: 'exact' })
    expect(await limiter.consume('other')).toMatchObject({ allowed: true, source: 'exact' })
    // Of a tier, too, and of a view by its numbers.
    for (const view of [limiter.tier('paid'), limiter.with({ limit: 20, burst: 6 })]) {
      const key = `of ${(await view.peek('new')).limit}`
      expect(await view.consume(key, 6)).toMatchObject({ allowed: true })
      for (const cost of [6, 5]) {
        expect(await view.consume(key, cost)).toMatchObject({ allowed: false, source: 'exact' })
        expect(await view.consume(key, cost)).toMatchObject({ allowed: false, source: 'cache' })
      }
    }
    for (const key of ['1', 1, Uint8Array.of(1)]) {
      await limiter.consume(key, 5)
      expect(await limiter.consume(key)).toMatchObject({ allowed: false, source: 'exact' })
      expect(await limiter.consume(key)).toMatchObject({ allowed: false, source: 'cache' })
    }
  })

  test('a refund, a reset and another policy of the same object are noticed at once', async () => {
    const limiter = scene.open({ burst: 1 })
    await limiter.consumeMany(['k', 'k', 'r', 'r', 'p', 'p', 's', 's'])
    await limiter.refund('k', 1)
    expect(await limiter.allow('k')).toBe(true)
    await limiter.reset('r')
    expect(await limiter.allow('r')).toBe(true)
    limiter.setPolicy({ limit: 20, burst: 3 })
    expect(await limiter.consume('p')).toMatchObject({ allowed: true, limit: 3 })
    limiter.setPolicy({ limit: 10, burst: 1 })
    expect(await limiter.consume('s')).toMatchObject({ allowed: false, limit: 1, source: 'exact' })
  })

  test('a settled reservation gives back to whoever was denied', async () => {
    const limiter = scene.open({ burst: 5 })
    const reservation = await limiter.reserve('k', 5, 10_000)
    expect(await limiter.allow('k')).toBe(false)
    await reservation.settle(2)
    expect(await limiter.consume('k', 3)).toMatchObject({ allowed: true })
    expect(await limiter.allow('k')).toBe(false)
  })

  test('too costly, and denied for less than a millisecond: not worth a note', async () => {
    const limiter = scene.open({ limit: 10, windowMs: 5, burst: 10 })
    await limiter.consume('k', 10)
    for (let i = 0; i < 2; i++) {
      expect(await limiter.consume('k')).toMatchObject({ source: 'exact', retryAfterMs: 0.5 })
      expect(await limiter.consume('k', 11)).toMatchObject({ source: 'exact', reason: 'too-costly' })
    }
  })

  test.each(['leaky-bucket', 'concurrency'] as const)('%s has no such memory', async (algorithm) => {
    const options =
      algorithm === 'concurrency'
        ? { algorithm, holdMs: 10_000, windowMs: undefined }
        : { algorithm, queue: 1 }
    const limiter = scene.open({ ...options, limit: 1 } as Partial<RedisLimiterOptions>)
    for (let i = 0; i < 4; i++) await limiter.consume('k')
    expect((await limiter.consume('k')).source).toBe('exact')
    expect(limiter.stats().sources.cache.denied).toBe(0)
  })

  test('nor has one that is told not to', async () => {
    const limiter = scene.open({ limit: 1, denyCache: false })
    for (let i = 0; i < 3; i++) expect((await limiter.consume('k')).source).toBe('exact')
  })

  test('more denials than maxKeys: the rest is asked for, and none is confused', async () => {
    const limiter = scene.open({ limit: 1, denyCache: { maxKeys: 16, announce: false } })
    const keys = Array.from({ length: 200 }, (_, i) => `key ${i}`)
    await limiter.consumeMany([...keys, ...keys])
    const again = await limiter.consumeMany(keys)
    expect(again.filter(({ allowed }) => allowed)).toEqual([])
    expect(again.filter(({ source }) => source === 'cache').length).toBeLessThanOrEqual(16)
    expect(again.filter(({ retryAfterMs }) => retryAfterMs !== 1000)).toEqual([])
    expect((await limiter.consumeMany(['new 1', 'new 2'])).map(({ allowed }) => allowed)).toEqual([
      true,
      true,
    ])
  })
})

describe('a denial that somebody else lifts', () => {
  test('reset elsewhere cuts it short at once', async () => {
    const limiter = await openListening({ limit: 1, windowMs: 60_000, tiers: { paid: { limit: 2 } } })
    const other = scene.open({ client: elsewhere, limit: 1, windowMs: 60_000 })
    await limiter.consumeMany(['k', 'k', 'stays', 'stays'])
    await limiter.consume('k', 1)
    await limiter.tier('paid').consumeMany(['k', 'k', 'k'])
    expect(await limiter.peek('k')).toMatchObject({ source: 'cache' })
    await other.reset('k')
    await until(async () => (await limiter.peek('k')).allowed, 'the reset is heard of')
    expect(await limiter.tier('paid').peek('k')).toMatchObject({ allowed: true, source: 'exact' })
    expect(await limiter.consume('k')).toMatchObject({ allowed: true })
    expect(await limiter.consume('stays')).toMatchObject({ source: 'cache' })
  })

  test.each<[string, string | number | Uint8Array]>([
    ['a number', -7],
    ['bytes', Uint8Array.of(0, 255, 125)],
    ['half a character', 'a\ud800}'],
    ['braces', '{a}:{b}'],
    ['all', '*'],
  ])('reset of a key that is %s', async (_, key) => {
    const limiter = await openListening({ limit: 1, windowMs: 60_000 })
    const other = scene.open({ client: elsewhere, limit: 1, windowMs: 60_000 })
    await limiter.consumeMany([key, key, 'stays', 'stays'])
    await other.reset(key)
    await until(async () => (await limiter.peek(key)).allowed, 'the reset is heard of')
    expect(await limiter.peek('stays')).toMatchObject({ source: 'cache' })
  })

  test('block elsewhere is noticed at once, by those who were denied for less', async () => {
    const limiter = await openListening({ limit: 1, windowMs: 60_000 })
    const other = scene.open({ client: elsewhere, limit: 1, windowMs: 60_000 })
    await limiter.consumeMany(['k', 'k'])
    await other.block('k', 3_600_000)
    await until(async () => (await limiter.peek('k')).reason === 'blocked', 'the block is heard of')
    expect(await limiter.consume('k')).toMatchObject({
      allowed: false,
      retryAfterMs: 3_600_000,
      source: 'cache',
    })
    await other.reset('k')
    await until(() => limiter.allow('k'), 'the reset is heard of')
  })

  test('without a word it is believed for maxAgeMs, and not for longer', async () => {
    const limiter = scene.open({ limit: 1, windowMs: 60_000, denyCache: { maxAgeMs: 200, announce: false } })
    const other = scene.open({ client: elsewhere, limit: 1, windowMs: 60_000 })
    await limiter.consumeMany(['k', 'k'])
    await other.reset('k')
    scene.clock.advance(199.999)
    expect(await limiter.consume('k')).toMatchObject({
      allowed: false,
      source: 'cache',
      retryAfterMs: 59_800.001,
    })
    scene.clock.advance(0.001)
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, source: 'exact' })
    // Calls do not make it younger.
    await limiter.consume('k')
    await other.reset('k')
    for (let i = 0; i < 4; i++) {
      scene.clock.advance(40)
      expect((await limiter.consume('k')).source).toBe('cache')
    }
    scene.clock.advance(40)
    expect(await limiter.allow('k')).toBe(true)
  })

  test('a refund elsewhere is noticed after maxAgeMs', async () => {
    const limiter = await openListening({ limit: 1, windowMs: 60_000 })
    const other = scene.open({ client: elsewhere, limit: 1, windowMs: 60_000 })
    await limiter.consumeMany(['k', 'k'])
    await other.refund('k', 1)
    scene.clock.advance(1000)
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, source: 'exact' })
  })

  test('when the subscription was lost, nothing is believed any more', async () => {
    const limiter = await openListening({ limit: 1, windowMs: 60_000 })
    await limiter.consumeMany(['k', 'k'])
    const heard: boolean[] = []
    limiter.on('announcements', (isConnected) => heard.push(isConnected))
    await scene.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await scene.redis.del(`${scene.prefix}:{k}`)
    await until(() => heard.length === 2, 'the next subscription')
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, source: 'exact' })
  })
})

describe('offences', () => {
  const escalate = { blockMs: [2000, 5000], forgetMs: 60_000 }

  test('a peek that was refused hides none', async () => {
    const limiter = scene.open({ limit: 1, windowMs: 1000, escalate })
    await limiter.consume('k')
    expect(await limiter.peek('k')).toMatchObject({ allowed: false, reason: 'limited' })
    expect(await limiter.consume('k')).toMatchObject({
      reason: 'blocked',
      retryAfterMs: 2000,
      source: 'exact',
    })
    expect(await limiter.consume('k')).toMatchObject({
      reason: 'blocked',
      retryAfterMs: 2000,
      source: 'cache',
    })
    scene.clock.advance(2000)
    expect(await limiter.allow('k')).toBe(true)
    expect(await limiter.consume('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 5000 })
  })

  test('nor does a wait that was given up', async () => {
    const limiter = scene.open({ limit: 1, windowMs: 1000, escalate })
    await limiter.consume('k')
    await expect(limiter.wait('k', 1, { maxWaitMs: 10 })).rejects.toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
    expect(await limiter.consume('k')).toMatchObject({
      reason: 'blocked',
      retryAfterMs: 2000,
      source: 'exact',
    })
  })
})
