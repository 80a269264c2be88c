import Redis, { type RedisOptions } from 'ioredis'
import { describe, expect, test } from 'vitest'
import type { Decision } from '../../lib/index'
import type { RedisLimiter, RedisView } from '../../lib/redis/index'
import { useScene } from './limiter-scene'
import { until } from './until'

const scene = useScene()

function summary({ allowed, remaining, reason, source }: Decision): string {
  return `${allowed ? 'yes' : 'no'} ${remaining} ${reason} ${source}`
}

async function left(view: RedisView, key = 'k'): Promise<number> {
  return (await view.peek(key)).remaining
}

describe('decisions', () => {
  test('consume says all there is to say', async () => {
    const limiter = scene.open({ burst: 3 })
    expect(await limiter.consume('k', 2)).toEqual({
      allowed: true,
      limit: 3,
      remaining: 1,
      retryAfterMs: 0,
      resetAfterMs: 200,
      consumed: 2,
      delayMs: 0,
      reason: 'ok',
      source: 'exact',
    })
    expect(await limiter.consume('k', 2)).toEqual({
      allowed: false,
      limit: 3,
      remaining: 1,
      retryAfterMs: 100,
      resetAfterMs: 200,
      consumed: 0,
      delayMs: 0,
      reason: 'limited',
      source: 'exact',
    })
    expect(await limiter.consume('k', 4)).toMatchObject({
      allowed: false,
      reason: 'too-costly',
      retryAfterMs: Number.POSITIVE_INFINITY,
    })
    expect(await limiter.consume('k', 4, { partial: true })).toMatchObject({
      allowed: true,
      consumed: 1,
      remaining: 0,
    })
    expect(await limiter.consume('k', 0)).toMatchObject({ allowed: true, consumed: 0 })
  })

  test('allow says whether, peek spends nothing, keys are apart', async () => {
    const limiter = scene.open({ burst: 2 })
    expect(await limiter.allow('k')).toBe(true)
    expect(summary(await limiter.peek('k'))).toBe('yes 1 ok exact')
    expect(summary(await limiter.peek('k'))).toBe('yes 1 ok exact')
    expect([await limiter.allow('k'), await limiter.allow('k'), await limiter.allow('other')]).toEqual([
      true,
      false,
      true,
    ])
  })

  test('calls made at once are decided in their order', async () => {
    const limiter = scene.open({ burst: 5 })
    const calls = Array.from({ length: 8 }, (_, i) =>
      i % 2 === 0 ? limiter.allow('k') : limiter.consume('k'),
    )
    const admitted = (await Promise.all(calls)).map((answer) =>
      typeof answer === 'boolean' ? answer : answer.allowed,
    )
    expect(admitted).toEqual([true, true, true, true, true, false, false, false])
  })

  test('every kind of key is its own', async () => {
    const limiter = scene.open({ burst: 1, denyCache: false })
    const keys = [
      '5',
      5,
      -5,
      Uint8Array.of(5),
      Buffer.from('5'),
      '',
      '{5}',
      'n{5}',
      'ключ',
      '\ud800',
      '\udc00',
      '\0',
      'a}b{c',
      '5'.repeat(600),
    ]
    for (const key of keys) expect(await limiter.allow(key)).toBe(true)
    for (const key of keys) expect(await limiter.allow(key)).toBe(false)
    expect(await limiter.allow(Uint8Array.from(Buffer.from('5')))).toBe(false)
    expect(await limiter.allow(-0)).toBe(true)
    expect(await limiter.allow(0)).toBe(false)
    expect(await scene.keys()).toHaveLength(keys.length + 1)
  })

  test('a key that its owner changes later is the one that was given', async () => {
    const limiter = scene.open({ burst: 1, denyCache: false })
    const key = Uint8Array.of(1)
    const first = limiter.allow(key)
    const held = limiter.reserve(key, 0, 1000)
    key[0] = 2
    expect(await first).toBe(true)
    expect((await held).allowed).toBe(true)
    expect(await limiter.allow(Uint8Array.of(1))).toBe(false)
    expect(await limiter.allow(key)).toBe(true)
  })

  test('refund, penalize, block and reset', async () => {
    const limiter = scene.open({ burst: 5 })
    await limiter.consume('k', 4)
    expect(await limiter.refund('k', 3)).toBe(3)
    expect(await limiter.refund('k', 3)).toBe(1)
    expect(await limiter.penalize('k', 2)).toBe(2)
    expect(await limiter.penalize('k', 9)).toBe(3)
    expect(await limiter.penalize('k', 1)).toBe(0)
    scene.clock.advance(400)
    expect(await limiter.refund('k', 5, 400)).toBe(1)
    expect(await limiter.block('k', 700)).toBe(true)
    expect(await limiter.consume('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 700, remaining: 0 })
    await limiter.block('k', 10)
    scene.clock.advance(699)
    expect(await limiter.allow('k')).toBe(false)
    expect(await limiter.reset('k')).toBe(true)
    expect(await limiter.reset('k')).toBe(false)
    expect(await left(limiter)).toBe(5)
    expect(await scene.keys()).toEqual([])
  })

  test('the clock of the server, if there is no other', async () => {
    const limiter = scene.openReal({ limit: 1, windowMs: 86_400_000 })
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, resetAfterMs: 86_400_000 })
    const { retryAfterMs, source } = await limiter.consume('k')
    expect(source).toBe('exact')
    expect(retryAfterMs).toBeGreaterThan(86_340_000)
    expect(retryAfterMs).toBeLessThanOrEqual(86_400_000)
    const [key] = await scene.keys()
    expect(await scene.redis.pttl(key as string)).toBeLessThanOrEqual(86_400_001)
  })
})

describe('consumeMany', () => {
  test('all in their order, each with its cost', async () => {
    const limiter = scene.open({ burst: 3 })
    const answers = await limiter.consumeMany(['a', 'b', 'a', 7, 'a', 'a'], { cost: [2, 1, 2, 3, 1, 0] })
    expect(answers.map(summary)).toEqual([
      'yes 1 ok exact',
      'yes 2 ok exact',
      'no 1 limited exact',
      'yes 0 ok exact',
      'yes 0 ok exact',
      'yes 0 ok exact',
    ])
    expect(await limiter.consumeMany([])).toEqual([])
    expect((await limiter.consumeMany(['c', 'c'], { cost: 2 })).map(({ allowed }) => allowed)).toEqual([
      true,
      false,
    ])
  })

  test('a thousand keys in as many script calls as have to be', async () => {
    const limiter = scene.open({ burst: 2 })
    const keys = Array.from({ length: 1000 }, (_, i) => `key ${i % 500}`)
    const before = limiter.stats().client
    const answers = await limiter.consumeMany(keys)
    expect(answers.map(({ remaining }) => remaining)).toEqual(keys.map((_, i) => (i < 500 ? 1 : 0)))
    const { scriptCalls, calls } = limiter.stats().client
    expect([scriptCalls - before.scriptCalls, calls - before.calls]).toEqual([8, 1000])
  })
})

describe('policies', () => {
  test('tiers look at the same keys', async () => {
    const limiter = scene.open({
      algorithm: 'fixed-window',
      limit: 3,
      tiers: { paid: { limit: 5 }, free: { limit: 1 } },
    })
    const paid = limiter.tier('paid')
    expect(limiter.tier('paid')).toBe(paid)
    for (let i = 0; i < 3; i++) expect(await limiter.allow('k')).toBe(true)
    expect(await limiter.allow('k')).toBe(false)
    expect(await limiter.tier('free').consume('k')).toMatchObject({ allowed: false, limit: 1, remaining: 0 })
    expect(await paid.consume('k')).toMatchObject({ allowed: true, limit: 5, remaining: 1 })
    expect(() => limiter.tier('piad')).toThrow(/no tier "piad"; did you mean 'paid'/)
    expect(() => limiter.tier('toString')).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_TIER_UNKNOWN' }),
    )
    expect(() => scene.open().tier('paid')).toThrow(/has no tiers/)
  })

  test('calls under several policies, made at once', async () => {
    const limiter = scene.open({ algorithm: 'fixed-window', limit: 2, tiers: { paid: { limit: 4 } } })
    const paid = limiter.tier('paid')
    const calls = [
      limiter.allow('k'),
      paid.allow('k'),
      limiter.allow('k'),
      paid.allow('k'),
      paid.allow('k'),
      paid.allow('k'),
    ]
    expect(await Promise.all(calls)).toEqual([true, true, false, true, true, false])
  })

  test('with: the same numbers give the same view, and 1023 different ones can be made', async () => {
    const limiter = scene.open()
    const view = limiter.with({ limit: 20 })
    expect(limiter.with({ limit: 20 })).toBe(view)
    expect(limiter.with({ limit: 20, burst: 20, windowMs: 1000 })).toBe(view)
    expect(limiter.with({ limit: 20, burst: 21 })).not.toBe(view)
    await limiter.consume('k', 10)
    expect(await view.consume('k')).toMatchObject({ limit: 20, remaining: 9 })
    for (let limit = 1000; limit < 1000 + 1021; limit++) limiter.with({ limit })
    expect(() => limiter.with({ limit: 5000 })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_POLICY', name: 'RangeError' }),
    )
    expect(limiter.with({ limit: 1000 })).toBe(limiter.with({ limit: 1000 }))
    expect(await limiter.with({ limit: 2020 }).consume('fresh')).toMatchObject({
      limit: 2020,
      remaining: 2019,
    })
  })

  test('setPolicy: what is spent stays, also in other limiter objects, which go on as they were', async () => {
    const limiter = scene.open({ algorithm: 'fixed-window', limit: 4, tiers: { paid: { limit: 6 } } })
    const other = scene.open({ algorithm: 'fixed-window', limit: 4 })
    await limiter.consume('k', 4)
    expect(await limiter.allow('k')).toBe(false)
    limiter.setPolicy({ limit: 5 })
    expect(limiter.policy).toMatchObject({ algorithm: 'fixed-window', limit: 5, windowMs: 1000 })
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, limit: 5, remaining: 0 })
    expect(await other.peek('k')).toMatchObject({ allowed: false, limit: 4, remaining: 0 })
    expect(await limiter.tier('paid').consume('k')).toMatchObject({ allowed: true, limit: 6 })
    limiter.setPolicy({ limit: 2 })
    expect(await limiter.consume('k')).toMatchObject({ allowed: false, limit: 2, remaining: 0 })
    expect(() => limiter.setPolicy({ limit: 0 })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_OPTION_RANGE' }),
    )
    expect(() => limiter.setPolicy({ windowMs: 2000 })).toThrow(/policy\.windowMs/)
    expect(limiter.policy).toMatchObject({ limit: 2, windowMs: 1000 })
  })

  test('setPolicy of a bucket: as much as was spent is missing under the new one', async () => {
    const limiter = scene.open({ limit: 10, burst: 10 })
    await limiter.consume('k', 6)
    limiter.setPolicy({ limit: 100, burst: 100 })
    expect(await left(limiter)).toBe(94)
    limiter.setPolicy({ limit: 10, burst: 8 })
    expect(await left(limiter)).toBe(2)
  })

  test('setPolicy again and again: policies that were had before cost nothing', async () => {
    const limiter = scene.open()
    for (let i = 0; i < 3000; i++) limiter.setPolicy({ limit: 10 + (i % 2) })
    expect(limiter.policy).toMatchObject({ limit: 11 })
    expect(await limiter.consume('k')).toMatchObject({ limit: 11, remaining: 10 })
  })
})

describe('what it tells of itself', () => {
  test('stats: by who decided; peeks and corrections do not count', async () => {
    const limiter = scene.open({ burst: 2, tiers: { paid: { limit: 10, burst: 3 } } })
    expect(limiter.stats()).toMatchObject({ allowed: 0, denied: 0, hosts: 1, state: 'closed' })
    await limiter.allow('k')
    await limiter.consumeMany(['k', 'k'])
    await limiter.consume('k')
    await limiter.allow('k')
    await limiter.peek('k')
    await limiter.peek('other')
    await limiter.refund('other', 1)
    await limiter.tier('paid').consume('k')
    expect(limiter.stats().sources).toEqual({
      exact: { allowed: 3, denied: 1 },
      cache: { allowed: 0, denied: 2 },
      local: { allowed: 0, denied: 0 },
      lease: { allowed: 0, denied: 0 },
      open: { allowed: 0, denied: 0 },
      closed: { allowed: 0, denied: 0 },
    })
    expect(limiter.stats()).toMatchObject({ allowed: 3, denied: 3 })
  })

  test('events: hosts as they come and go; a listener that is taken away hears nothing', async () => {
    const limiter = scene.open({ hosts: 1 })
    const heard: number[] = []
    const unheard: number[] = []
    const listener = (count: number) => unheard.push(count)
    expect(limiter.on('hosts', (count) => heard.push(count))).toBe(limiter)
    expect(limiter.on('hosts', listener).off('hosts', listener)).toBe(limiter)
    await until(async () => (await scene.redis.zcard(`${scene.prefix}:hosts`)) === 1, 'the first host')
    const second = scene.open()
    await until(() => second.stats().hosts === 2, 'the second host knows of both')
    await second.close()
    expect(await scene.redis.zcard(`${scene.prefix}:hosts`)).toBe(1)
    expect(unheard).toEqual([])
    expect(limiter.stats().hosts).toBe(1)
    expect(heard).toEqual([])
  })

  test('events: announcements are heard once the connection is there, and no more after it is cut', async () => {
    const limiter = scene.open({ denyCache: true })
    const heard: boolean[] = []
    limiter.on('announcements', (isConnected) => heard.push(isConnected))
    await until(() => heard.length === 1, 'the subscription')
    await scene.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await until(() => heard.length === 3, 'the next subscription')
    expect(heard).toEqual([true, false, true])
  })
})

describe('of a client whose user has set', () => {
  test.each<[string, RedisOptions]>([
    ['nothing', {}],
    ['a key prefix', { keyPrefix: 'app:' }],
    ['a key prefix with a hash tag', { keyPrefix: '{app}' }],
    ['automatic pipelining', { enableAutoPipelining: true }],
    ['replies as of RESP3', { replyMapping: 'resp3' } as RedisOptions],
    ['numbers as strings', { stringNumbers: true }],
    ['no ready check, and no queue', { enableReadyCheck: false, enableOfflineQueue: false }],
    ['no connection before the first command', { lazyConnect: true }],
    ['another database', { db: 3 }],
    ['a timeout of its own', { commandTimeout: 10_000 }],
    ['names and traces', { connectionName: 'mine', showFriendlyErrorStack: true }],
  ])('%s', async (_, options) => {
    const connect = (): Redis => new Redis(scene.server.url, options as object) as Redis
    const clients = [connect(), connect()] as const
    const settings = { limit: 2, windowMs: 60_000, denyCache: true } as const
    const [limiter, other] = clients.map((client) => scene.open({ client, ...settings })) as [
      RedisLimiter,
      RedisLimiter,
    ]
    let isHeard = false
    limiter.on('announcements', (isConnected) => {
      isHeard = isConnected
    })
    expect((await limiter.consumeMany(['k', 'k', 'k'])).map(summary)).toEqual([
      'yes 1 ok exact',
      'yes 0 ok exact',
      'no 0 limited exact',
    ])
    expect(summary(await other.peek('k'))).toBe('no 0 limited exact')
    await until(() => isHeard, 'the subscription')
    await limiter.consume('k')
    expect(summary(await limiter.consume('k'))).toBe('no 0 limited cache')
    await other.reset('k')
    await until(async () => (await limiter.peek('k')).allowed, 'the reset is heard of')
    // All that was written has the user's prefix, and a time to live.
    const plain = new Redis(scene.server.url, { db: options.db ?? 0 })
    const name = `${options.keyPrefix ?? ''}${scene.prefix}:hosts`
    await until(async () => (await plain.zcard(name)) === 2, 'both hosts')
    const keys = await plain.keys(`*${scene.prefix}*`)
    expect(keys).toEqual([name])
    expect(await plain.pttl(name)).toBeGreaterThan(0)
    for (const client of [...clients, plain]) client.disconnect()
  })
})

test('there is no listening to what is never told', () => {
  const limiter = scene.open({ limit: 1, windowMs: 1000 })
  const on = limiter.on.bind(limiter) as (name: unknown, listener: unknown) => unknown
  expect(() => on('stat', () => {})).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_ARGUMENT_RANGE' }))
  expect(() => on('state', 5)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_ARGUMENT_TYPE' }))
  expect(on('state', () => {})).toBe(limiter)
})
