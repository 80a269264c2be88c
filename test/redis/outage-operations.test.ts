import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RedisLimitSet, type UnavailablePolicy } from '../../lib/redis'
import { connected, endScene, type Watched, watch } from './fixtures/scene'
import { startProxy, type TcpProxy } from './proxy'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let server: RedisServer
let proxy: TcpProxy

beforeEach(async () => {
  server = await startRedis()
  proxy = await startProxy(server.port)
})

afterEach(async () => {
  proxy.pass()
  await endScene()
  await proxy.stop()
  await expectAllKeysHaveTtl(server)
  await server.stop()
})

const UNAVAILABLE = { code: 'ERR_SLUICE_UNAVAILABLE' }
const SOURCES: [UnavailablePolicy, { source: string; allowed: boolean }][] = [
  ['local', { source: 'local', allowed: true }],
  ['allow', { source: 'open', allowed: true }],
  ['deny', { source: 'closed', allowed: false }],
]

/** How Redis is away: it is known that a call was not done, or nobody knows, as it may have been when its time is up. */
const WAYS: [string, () => void, { isKnown: boolean }][] = [
  ['gone', () => [proxy.refuse(), proxy.cut()], { isKnown: true }],
  ['silent', () => proxy.drop(), { isKnown: false }],
]

async function limiterOf(options: Parameters<typeof watch>[1] = {}): Promise<Watched> {
  // The breaker does not spare a call from finding out.
  return watch(await connected(proxy.port), { limit: 20, breaker: { failures: 1000 }, ...options })
}

describe.each(WAYS)('Redis is %s', (_, leave, { isKnown }) => {
  describe.each(SOURCES)('%s', (onUnavailable, expected) => {
    test('every decision is made so, in time', async () => {
      const watched = await limiterOf({ onUnavailable, tiers: { more: { limit: 40 } } })
      const { limiter } = watched
      await limiter.consume('key')
      leave()
      expect(await watched.inTime(limiter.allow('key'))).toBe(expected.allowed)
      const decisions = await watched.inTime(
        Promise.all([
          limiter.consume('key', 2),
          limiter.consume('key', 3, { partial: true }),
          limiter.peek('key'),
          limiter.tier('more').consume('key'),
          limiter.with({ limit: 30 }).consume('key'),
          limiter.reserve('key', 2, 60_000),
          limiter.consumeMany(['a', 'b']).then(([first]) => first),
        ]),
      )
      for (const decision of decisions) expect(decision).toMatchObject(expected)
      for (const { reason } of decisions.filter((d) => d?.source !== 'local') as { reason: string }[])
        expect(reason).toBe('unavailable')
    })

    test('sets too', async () => {
      const client = await connected(proxy.port)
      const [one, other] = ['one', 'other'].map((prefix) => watch(client, { prefix, onUnavailable })) as [
        Watched,
        Watched,
      ]
      const set = new RedisLimitSet([one.limiter, other.limiter])
      await set.consume('key')
      leave()
      const decision = await one.inTime(set.consume('key'))
      expect(decision.allowed).toBe(expected.allowed)
      expect(Object.values(decision.decisions).map(({ source }) => source)).toEqual([
        expected.source,
        expected.source,
      ])
      expect((await one.inTime(set.peek('key'))).allowed).toBe(expected.allowed)
    })

    test('places too; one that Redis gave is given back when it is there again', async () => {
      const watched = await limiterOf({ onUnavailable, algorithm: 'concurrency', limit: 2 })
      const { limiter } = watched
      const held = await limiter.acquire('key')
      expect(held.source).toBe('exact')
      leave()
      const lease = await watched.inTime(limiter.acquire('key'))
      expect(lease).toMatchObject(expected)
      await expect(watched.inTime(held.release())).rejects.toMatchObject(UNAVAILABLE)
      await watched.inTime(lease[Symbol.asyncDispose]())
      proxy.pass()
      await watched.untilBack()
      // What may have been done is not done again: it could free somebody else's place.
      if (isKnown) expect(await held.release()).toBe(true)
      await expect(held.release()).rejects.toMatchObject({ code: 'ERR_SLUICE_RELEASED' })
      expect((await limiter.peek('key')).remaining).toBe(isKnown ? 2 : 1)
    })
  })

  test('what is no decision is rejected in time, with a reason', async () => {
    const watched = await limiterOf()
    const { limiter } = watched
    const reservation = await limiter.reserve('key', 5, 60_000)
    leave()
    // Now the client knows, if it can.
    await watched.ask('other')
    const operations: Promise<unknown>[] = [
      limiter.refund('key', 1),
      limiter.penalize('key', 1),
      limiter.block('key', 1000),
      limiter.reset('key'),
      reservation.settle(2),
    ]
    for (const operation of operations)
      await expect(watched.inTime(operation)).rejects.toMatchObject(UNAVAILABLE)
    proxy.pass()
    await watched.untilBack()
    if (isKnown) expect(await reservation.settle(2)).toBe(0)
    else await expect(reservation.settle(2)).rejects.toMatchObject({ code: 'ERR_SLUICE_SETTLED' })
    expect((await limiter.peek('key')).remaining).toBe(isKnown ? 18 : 15)
  })

  test('close takes no longer than it may, and the client goes on', async () => {
    const client = await connected(proxy.port)
    const watched = watch(client, { mode: 'leased', limit: 1000, timeoutMs: 1000 })
    for (let i = 0; i < 5; i++) await watched.askAtOnce(50)
    leave()
    const decisions = watched.askAtOnce(5)
    // A beat of the host may take a second.
    await watched.inTime(watched.limiter.close())
    expect((await decisions).length).toBe(5)
    proxy.pass()
    await until(async () => (await client.ping()) === 'PONG', 'an answer')
  })
})

describe('those who wait', () => {
  test('deny: are admitted when Redis is back', async () => {
    const watched = await limiterOf({ onUnavailable: 'deny' })
    await watched.ask()
    proxy.refuse()
    proxy.cut()
    let isOver = false
    const waiting = [1, 2, 3].map((cost) => watched.limiter.wait('key', cost, { maxWaitMs: 20_000 }))
    const all = Promise.all(waiting).finally(() => {
      isOver = true
    })
    all.catch(() => undefined)
    await watched.askEach(3)
    expect(isOver).toBe(false)
    proxy.pass()
    const decisions = await all
    expect(decisions.map(({ source, consumed }) => [source, consumed])).toEqual([
      ['exact', 1],
      ['exact', 2],
      ['exact', 3],
    ])
    expect((await watched.limiter.peek('key')).remaining).toBe(13)
  })

  test('deny: are told when their time is up', async () => {
    const watched = await limiterOf({ onUnavailable: 'deny' })
    proxy.drop()
    await expect(watched.inTime(watched.limiter.wait('key', 1, { maxWaitMs: 150 }))).rejects.toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
  })

  test.each([
    ['local', 'local'],
    ['allow', 'open'],
  ] as const)('%s: do not wait', async (onUnavailable, source) => {
    const watched = await limiterOf({ onUnavailable })
    proxy.drop()
    expect(await watched.inTime(watched.limiter.wait('key'))).toMatchObject({ allowed: true, source })
  })
})

test('a denial that is remembered holds, with Redis or without', async () => {
  const watched = await limiterOf({ limit: 3, denyCache: { maxAgeMs: 60_000 } })
  await watched.askEach(4)
  expect((await watched.ask()).source).toBe('cache')
  proxy.drop()
  expect(await watched.ask()).toMatchObject({ source: 'cache', allowed: false, reason: 'limited' })
  expect((await watched.ask('other')).source).toBe('local')
})
