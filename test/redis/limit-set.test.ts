import { Cluster, type Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SetDecision } from '../../lib/index'
import { type RedisLimiter, type RedisLimiterOptions, RedisLimitSet } from '../../lib/redis/index'
import { expectComplaint } from '../unit/coded'
import { type RedisCluster, startCluster } from './cluster'
import { UNHURRIED_MS, useScene } from './limiter-scene'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

const scene = useScene()
let elsewhere: Redis

beforeAll(() => {
  elsewhere = scene.connect()
})
afterAll(() => elsewhere.disconnect())

function openMember(name: string, options: Partial<RedisLimiterOptions> = {}): RedisLimiter {
  return scene.open({ prefix: `${scene.prefix}-${name}`, ...options })
}

function secondAndDay(
  options: Partial<RedisLimiterOptions> = {},
): [RedisLimiter, RedisLimiter, RedisLimitSet] {
  const second = openMember('second', { limit: 3, windowMs: 1000, ...options })
  const day = openMember('day', { algorithm: 'fixed-window', limit: 5, windowMs: 86_400_000, ...options })
  return [
    second,
    day,
    new RedisLimitSet([
      { name: 'second', limiter: second },
      { name: 'day', limiter: day },
    ]),
  ]
}

async function left(limiters: RedisLimiter[], keys: string | string[] = 'k'): Promise<number[]> {
  const peeks = limiters.map((limiter, i) =>
    limiter.peek(typeof keys === 'string' ? keys : (keys[i] as string)),
  )
  return (await Promise.all(peeks)).map(({ remaining }) => remaining)
}

describe('a set that cannot be', () => {
  test('members', () => {
    const one = openMember('1', { tiers: { paid: { limit: 20 } } })
    const two = openMember('2')
    const leased = openMember('leased', { mode: 'leased' })
    const make = (members: unknown) => () => new RedisLimitSet(members as RedisLimiter[])
    for (const members of [undefined, null, 5, {}, [], [one], Array(9).fill(one)])
      expect(make(members)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^ERR_SLUICE_OPTION_/) }),
      )
    for (const member of [undefined, null, 5, {}, { limiter: {} }, { limiter: null }, scene.redis])
      expect(make([one, member])).toThrow(expect.objectContaining({ name: 'TypeError' }))
    const range = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const
    expectComplaint(
      make([
        { name: 'a', limiter: one },
        { name: 'a', limiter: two },
      ]),
      { ...range, says: ['"a"'] },
    )
    expectComplaint(make([one, one]), { ...range, says: ['prefix', scene.prefix] })
    expectComplaint(make([one, one.tier('paid')]), { ...range, says: ['prefix'] })
    expectComplaint(make([one, leased]), {
      type: 'RangeError',
      code: 'ERR_SLUICE_UNSUPPORTED',
      says: ['leased', 'exact'],
    })
    expectComplaint(make([one, { limiter: two, nam: 'x' }]), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says: ['name'],
    })
    expect(make([one, two])().names).toEqual(['0', '1'])
    expect(make([one, openMember('1', { client: elsewhere })])().names).toHaveLength(2)
  })
})

describe('all or nothing', () => {
  test('what all admit is spent from all', async () => {
    const [second, day, set] = secondAndDay()
    const decision = await set.consume('k', 2)
    expect(decision).toEqual({
      allowed: true,
      limit: 3,
      remaining: 1,
      retryAfterMs: 0,
      resetAfterMs: expect.closeTo(666.667, 2),
      consumed: 2,
      delayMs: 0,
      reason: 'ok',
      source: 'exact',
      limitedBy: undefined,
      decisions: { second: await decisionOf(decision, 'second'), day: await decisionOf(decision, 'day') },
    })
    expect(decision.decisions['day']).toMatchObject({
      allowed: true,
      remaining: 3,
      consumed: 2,
      source: 'exact',
    })
    expect(await left([second, day])).toEqual([1, 3])
  })

  function decisionOf({ decisions }: SetDecision, name: string): object {
    return expect.objectContaining({ limit: decisions[name]?.limit })
  }

  test('what one refuses is spent nowhere, and it says who', async () => {
    const [second, day, set] = secondAndDay()
    await second.consume('k', 2)
    expect(await set.consume('k', 2)).toMatchObject({
      allowed: false,
      limitedBy: 'second',
      reason: 'limited',
      consumed: 0,
      decisions: {
        second: { allowed: false, remaining: 1, consumed: 0 },
        day: { allowed: true, remaining: 5, consumed: 0, source: 'exact' },
      },
    })
    expect(await left([second, day])).toEqual([1, 5])
    await day.consume('k', 5)
    const { limitedBy, retryAfterMs } = await set.consume('k', 2)
    expect([limitedBy, retryAfterMs]).toEqual(['day', 86_400_000])
    expect(await set.consume('k', 4)).toMatchObject({
      limitedBy: 'second',
      retryAfterMs: Number.POSITIVE_INFINITY,
    })
    expect(await set.allow('k')).toBe(false)
    expect(await left([second, day])).toEqual([1, 0])
  })

  test('a key and a cost for each, peek and refund', async () => {
    const [second, day, set] = secondAndDay()
    expect(await set.allow(['user', 7], [2, 4])).toBe(true)
    expect(await set.peek(['user', 7])).toMatchObject({
      allowed: true,
      decisions: { second: { remaining: 1 }, day: { remaining: 1 } },
    })
    expect(await set.consume(['user', 7], [0, 2])).toMatchObject({ allowed: false, limitedBy: 'day' })
    await set.refund(['user', 7], [2, 3])
    expect(await second.peek('user')).toMatchObject({ remaining: 3 })
    expect(await day.peek(7)).toMatchObject({ remaining: 4 })
    expect(await set.consume(['user', 7], [0, 0])).toMatchObject({ allowed: true, consumed: 0 })
  })

  test('tiers of limiters, and eight members of all algorithms', async () => {
    const tiered = openMember('tiered', {
      algorithm: 'fixed-window',
      limit: 1,
      tiers: { paid: { limit: 9 } },
    })
    const others = (
      [
        'token-bucket',
        'sliding-window',
        'sliding-log',
        'strict-window',
        'leaky-bucket',
        'fixed-window',
      ] as const
    ).map((algorithm) => openMember(algorithm, { algorithm, limit: 10 }))
    const places = openMember('places', {
      algorithm: 'concurrency',
      limit: 4,
      holdMs: 1000,
      windowMs: undefined,
    } as never)
    const set = new RedisLimitSet([tiered.tier('paid'), ...others, places])
    expect(await set.consume('k', 3)).toMatchObject({ allowed: true, remaining: 1, limit: 4 })
    expect(await set.consume('k', 3)).toMatchObject({ allowed: false, limitedBy: '7' })
    expect(await left(others)).toEqual(others.map((_, i) => (i === 4 ? 8 : 7)))
  })

  test('one command for each decision, and those of one tick go out together', async () => {
    const [second, , set] = secondAndDay()
    await set.consume('warm')
    const before = second.stats().client.scriptCalls
    await set.consume('k')
    await set.peek('k')
    expect(second.stats().client.scriptCalls - before).toBe(2)
  })

  test('five hundred at once: each member has spent what was admitted', async () => {
    const [second, day, set] = secondAndDay({ limit: 40 })
    const again = new RedisLimitSet([
      openMember('day', { client: elsewhere, algorithm: 'fixed-window', limit: 40, windowMs: 86_400_000 }),
      openMember('second', { client: elsewhere, limit: 40, windowMs: 1000 }),
    ])
    const calls = Array.from({ length: 500 }, (_, i) => (i % 2 === 0 ? set : again).allow('k', 1 + (i % 3)))
    const admitted = await Promise.all(calls)
    const spent = admitted.reduce((sum, isAdmitted, i) => sum + (isAdmitted ? 1 + (i % 3) : 0), 0)
    expect(spent).toBe(40)
    expect(await left([second, day])).toEqual([0, 0])
  })

  test('of two clients: asked at the same time, and given back', async () => {
    const second = openMember('second', { limit: 3 })
    const day = openMember('day', { client: elsewhere, algorithm: 'fixed-window', limit: 5 })
    const set = new RedisLimitSet([second, day])
    expect(await set.consume('k', 2)).toMatchObject({
      allowed: true,
      decisions: { 0: { remaining: 1 }, 1: { remaining: 3 } },
    })
    expect(await set.consume('k', 2)).toMatchObject({
      allowed: false,
      limitedBy: '0',
      decisions: { 1: { allowed: true, remaining: 3, consumed: 0 } },
    })
    await until(async () => (await left([day]))[0] === 3, 'what was admitted comes back')
    expect(await left([second])).toEqual([1])
  })
})

describe('without Redis', () => {
  test.each(['allow', 'deny', 'local'] as const)('%s', async (onUnavailable) => {
    const client = scene.connect()
    const options = { client, onUnavailable, timeoutMs: 200 }
    const [, , set] = secondAndDay(options)
    client.disconnect()
    const source = { allow: 'open', deny: 'closed', local: 'local' }[onUnavailable]
    const decision = await set.consume('k', 2)
    expect(decision).toMatchObject({ allowed: onUnavailable !== 'deny', source })
    expect(decision.decisions['day']).toMatchObject({ source })
    const more = await set.consume('k', 2)
    expect(more.allowed).toBe(onUnavailable === 'allow')
    // Spent nowhere: the day has 3 left by itself.
    const { day } = (await set.peek(['other', 'k'])).decisions
    if (onUnavailable === 'local') expect(day).toMatchObject({ remaining: 3 })
  })

  test('one member refuses: what the others had admitted by themselves is given back', async () => {
    const client = scene.connect()
    const local = openMember('local', { client, timeoutMs: 200, algorithm: 'fixed-window', limit: 5 })
    const closed = openMember('closed', { client, timeoutMs: 200, onUnavailable: 'deny' })
    const set = new RedisLimitSet([local, closed])
    client.disconnect()
    for (let i = 0; i < 3; i++) {
      expect(await set.consume('k', 5)).toMatchObject({
        allowed: false,
        limitedBy: '1',
        decisions: { 0: { allowed: true, consumed: 0, remaining: 5 }, 1: { reason: 'unavailable' } },
      })
    }
    expect(await left([local])).toEqual([5])
  })
})

describe('on a cluster', () => {
  let cluster: RedisCluster
  let client: Cluster

  beforeAll(async () => {
    cluster = await startCluster()
    client = new Cluster(cluster.addresses)
  })
  afterAll(async () => {
    client.disconnect()
    await expectAllKeysHaveTtl(cluster)
    await cluster.stop()
  })

  /** On the cluster; closed by the scene. */
  function openSet(): [RedisLimiter[], RedisLimitSet] {
    const limits = [30, 20, 10].map((limit, i) =>
      openMember(`c${i}`, { client, algorithm: 'fixed-window', limit, timeoutMs: UNHURRIED_MS }),
    )
    return [limits, new RedisLimitSet(limits)]
  }

  test('one key: one slot, one script call', async () => {
    const [limits, set] = openSet()
    await set.consume('warm')
    const before = (limits[0] as RedisLimiter).stats().client.scriptCalls
    expect(await set.consume('k', 6)).toMatchObject({ allowed: true, remaining: 4 })
    expect(await set.consume('k', 6)).toMatchObject({ allowed: false, limitedBy: '2' })
    expect((limits[0] as RedisLimiter).stats().client.scriptCalls - before).toBe(2)
    expect(await left(limits)).toEqual([24, 14, 4])
  })

  test('keys of several nodes: all or nothing in the end, and never too much', async () => {
    const [limits, set] = openSet()
    const keys = ['a', 'b', 'c']
    expect(new Set(await Promise.all(keys.map((key) => cluster.slotOf(key)))).size).toBe(3)
    const calls = await Promise.all(Array.from({ length: 60 }, () => set.consume(keys)))
    const admitted = calls.filter(({ allowed }) => allowed).length
    expect(admitted).toBe(10)
    const isSettled = async (): Promise<boolean> => (await left(limits, keys)).join() === '20,10,0'
    await until(isSettled, 'what was admitted by some only comes back')
    expect(await set.peek(keys)).toMatchObject({ allowed: false, limitedBy: '2' })
    await set.refund(keys, 4)
    expect(await left(limits, keys)).toEqual([24, 14, 4])
    expect(await set.allow(keys, 4)).toBe(true)
  })

  test('members on a server and on a cluster', async () => {
    const [[first]] = openSet()
    const second = openMember('server', { limit: 2 })
    const set = new RedisLimitSet([first as RedisLimiter, second])
    expect([await set.allow('k'), await set.allow('k'), await set.allow('k')]).toEqual([true, true, false])
    await until(async () => (await left([first as RedisLimiter]))[0] === 28, 'what was admitted comes back')
  })
})
