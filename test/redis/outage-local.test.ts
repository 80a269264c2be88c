import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Algorithm, type Decision, ManualClock } from '../../lib/index'
import { RedisLimitSet } from '../../lib/redis'
import { Courier } from '../../lib/redis/courier'
import { Hosts } from '../../lib/redis/hosts'
import { endClients, hammerAll, openAll, startClients, tokensOf } from './fixtures/clients'
import { admitted, connected, endScene, LONG_MS, sources, watch } from './fixtures/scene'
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
  await endClients()
  await proxy.stop()
  if (server.isRunning) await expectAllKeysHaveTtl(server)
  await server.stop()
})

/** From now on nothing reaches Redis, and everybody knows at once. */
function disconnect(): void {
  proxy.refuse()
  proxy.cut()
}

describe('hosts without Redis', () => {
  const ALGORITHMS: [Algorithm, share: number][] = [
    ['token-bucket', 100],
    ['fixed-window', 100],
    ['sliding-window', 100],
    ['strict-window', 100],
    ['sliding-log', 20],
    // Those that wait, and those that go out at once.
    ['leaky-bucket', 101],
    ['concurrency', 100],
  ]

  test('together admit no more than the limit: each has its share', async () => {
    const clients = await startClients(3)
    for (const [algorithm, share] of ALGORITHMS) {
      const span = algorithm === 'concurrency' ? { holdMs: LONG_MS } : { windowMs: LONG_MS }
      const limit = algorithm === 'sliding-log' ? 60 : 300
      const limiter = { prefix: algorithm, algorithm, limit, ...span, hosts: 3, timeoutMs: 5000 } as const
      proxy.pass()
      await openAll(clients, { url: proxy.url, limiter, nowMs: 0 })
      disconnect()
      const hammered = await hammerAll(clients, { calls: 2 * share })
      expect([algorithm, ...hammered.map(({ tokens }) => tokens)]).toEqual([algorithm, share, share, share])
      for (const report of hammered) {
        expect(report.sources).toEqual({ local: 2 * share })
        expect(report.slowestMs).toBeLessThan(6000)
      }
    }
  })

  test('are counted: with two known each has half', async () => {
    const clients = await startClients(2)
    const limiter = { limit: 100, windowMs: LONG_MS, timeoutMs: 5000 }
    await openAll(clients, { url: proxy.url, limiter })
    const counts = async (): Promise<number[]> => Promise.all(clients.map((client) => client.hosts()))
    await until(async () => (await counts()).every((count) => count === 2), 'hosts that know each other')
    disconnect()
    const hammered = await hammerAll(clients, { calls: 80 })
    expect(hammered.map(({ tokens }) => tokens)).toEqual([50, 50])
  })

  test('one of them killed: the others keep their shares', async () => {
    const clients = await startClients(2)
    await openAll(clients, {
      url: proxy.url,
      limiter: { limit: 100, windowMs: LONG_MS, hosts: 2, timeoutMs: 5000 },
    })
    disconnect()
    expect(tokensOf(await hammerAll(clients, { calls: 10 }))).toBe(20)
    await clients[0]?.kill()
    expect(tokensOf(await hammerAll(clients.slice(1), { calls: 80 }))).toBe(40)
  })
})

test('a Redis that has lost its data has lost the hosts too: none takes the others for gone, and their shares', async () => {
  const hosts = await Promise.all(
    [1, 2, 3].map(async () => {
      const client = await connected(server.port)
      return new Hosts(Courier.of(client), { prefix: 'sluice', least: 1, everyMs: 200 })
    }),
  )
  for (const host of hosts) host.start()
  const counts = (): string => hosts.map(({ count }) => count).join()
  await until(() => counts() === '3,3,3', 'hosts that know each other')
  await server.send('FLUSHALL')
  const seen = new Set<string>()
  await until(async () => {
    seen.add(counts())
    return Number(await server.send('ZCARD', 'sluice:hosts')) === 3
  }, 'hosts that are known again')
  expect([...seen]).toEqual(['3,3,3'])
  await Promise.all(hosts.map((host) => host.stop()))
})

describe('what was admitted without Redis', () => {
  test('is charged there afterwards, once', async () => {
    const watched = watch(await connected(proxy.port), { limit: 20, hosts: 2 })
    expect(sources(await watched.askEach(4))).toEqual(['exact'])
    disconnect()
    expect(sources(await watched.askEach(5))).toEqual(['local'])
    expect(sources(await watched.askEach(2, 'other'))).toEqual(['local'])
    await watched.untilOpen()
    proxy.pass()
    await watched.untilBack()
    await until(() => watched.reports.length > 0, 'a report')
    const tokens = watched.limiter.stats().sources.local.allowed
    expect(watched.reports).toEqual([{ tokens, keys: 2, lostTokens: 0 }])
    expect((await watched.limiter.peek('key')).remaining).toBe(20 - 4 - (tokens - 2))
    expect((await watched.limiter.peek('other')).remaining).toBe(18)
    // And not again.
    disconnect()
    await watched.untilOpen('third')
    proxy.pass()
    await watched.untilBack()
    // It is looked at when a call succeeds, at most once a second.
    await until(
      async () => (await watched.limiter.peek('key')) && watched.reports.length > 1,
      'a second report',
    )
    expect((await watched.limiter.peek('other')).remaining).toBe(18)
  })

  test('is charged in each of the limits of a set, and what one of them refused in none', async () => {
    const client = await connected(proxy.port)
    const [wide, narrow] = [
      watch(client, { prefix: 'wide', limit: 10 }),
      watch(client, { prefix: 'narrow', limit: 3 }),
    ]
    const set = new RedisLimitSet([wide.limiter, narrow.limiter])
    expect((await set.consume('key')).allowed).toBe(true)
    disconnect()
    const decisions = []
    for (let i = 0; i < 8; i++) decisions.push(await wide.inTime(set.consume('key')))
    expect(decisions.map(({ allowed }) => allowed)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
      false,
      false,
    ])
    await wide.untilOpen('none')
    await narrow.untilOpen('none')
    proxy.pass()
    await wide.untilBack()
    await narrow.untilBack()
    const left = async (): Promise<number[]> =>
      Promise.all([wide, narrow].map(async ({ limiter }) => (await limiter.peek('key')).remaining))
    await until(async () => (await left()).join() === '6,0', 'what was admitted is charged')
  })

  test('is charged even if the breaker never opened', async () => {
    const watched = watch(await connected(proxy.port), { limit: 20, breaker: { failures: 1000 } })
    await watched.ask()
    disconnect()
    expect(sources(await watched.askEach(5))).toEqual(['local'])
    expect(watched.changes).toEqual([])
    proxy.pass()
    await watched.untilBack()
    await until(
      async () => (await watched.limiter.peek('key')).remaining === 14,
      'what was admitted is charged',
    )
  })

  test('in ten short outages is not more than in one', async () => {
    const watched = watch(await connected(proxy.port), {
      limit: 20,
      hosts: 2,
      breaker: { failures: 1, openMs: 10, maxOpenMs: 10 },
    })
    const decisions: Decision[] = []
    for (let i = 0; i < 10; i++) {
      decisions.push(...(await watched.askEach(3)))
      disconnect()
      const away = await watched.askEach(3)
      expect(sources(away)).toEqual(['local'])
      decisions.push(...away)
      proxy.pass()
      await watched.untilBack()
    }
    const local = decisions.filter(({ source }) => source === 'local')
    expect(admitted(local)).toBe(10)
    expect(admitted(decisions)).toBeLessThanOrEqual(20 + 10)
    // All of it is charged in the end, as far as Redis has not spent it already.
    await until(
      async () => (await watched.limiter.peek('key')).remaining === 0,
      'what was admitted is charged',
    )
    const charged = watched.reports.reduce((sum, { tokens }) => sum + tokens, 0)
    expect(charged).toBeLessThanOrEqual(10)
    expect((await watched.ask()).allowed).toBe(false)
  })

  test('comes back with time, and is not charged then', async () => {
    const clock = new ManualClock(1e12)
    const watched = watch(await connected(proxy.port), { limit: 10, windowMs: 1000, clock })
    await watched.askEach(2)
    disconnect()
    expect(admitted(await watched.askEach(12))).toBe(10)
    clock.advance(500)
    expect(admitted(await watched.askEach(12))).toBe(5)
    clock.advance(1000)
    proxy.pass()
    await watched.untilBack()
    expect((await watched.limiter.peek('key')).remaining).toBe(10)
    expect(watched.reports).toEqual([])
  })
})

test('tokens that were borrowed are spent first, then the share', async () => {
  const watched = watch(await connected(proxy.port), {
    mode: 'leased',
    limit: 100_000,
    hosts: 1000,
    lease: { leaseMs: 10_000 },
  })
  const { limiter } = watched
  await until(async () => {
    await watched.askAtOnce(20)
    return limiter.stats().sources.lease.allowed > 0
  }, 'a loan')
  disconnect()
  const decisions = await watched.askEach(1)
  while (decisions.at(-1)?.source === 'lease' || admitted(decisions.slice(-1)) === 1)
    decisions.push(await watched.ask())
  const order = decisions.map(({ source }) => source)
  const firstLocal = order.indexOf('local')
  expect(firstLocal).toBeGreaterThan(0)
  expect(new Set(order.slice(0, firstLocal))).toEqual(new Set(['lease']))
  expect(new Set(order.slice(firstLocal))).toEqual(new Set(['local']))
  expect(admitted(decisions.slice(firstLocal))).toBe(100)
})
