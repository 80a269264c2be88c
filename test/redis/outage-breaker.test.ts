import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { admitted, connect, connected, endScene, LONG_MS, scriptsRun, sources, watch } from './fixtures/scene'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let server: RedisServer

beforeEach(async () => {
  server = await startRedis()
})

afterEach(async () => {
  await endScene()
  server.resume()
  await expectAllKeysHaveTtl(server)
  await server.stop()
})

/** From now on Redis answers each call with an error, and counts it. */
async function refuseWrites(): Promise<void> {
  await server.send('CONFIG', 'SET', 'maxmemory', 1)
}

async function allowWrites(): Promise<void> {
  await server.send('CONFIG', 'SET', 'maxmemory', 0)
}

describe('an open breaker', () => {
  test('lets no call reach Redis, and lets none wait', async () => {
    const timeoutMs = 20_000
    const breaker = { failures: 5, openMs: 60_000, maxOpenMs: 60_000 }
    const watched = watch(await connected(server.port), { onUnavailable: 'deny', timeoutMs, breaker })
    await watched.ask()
    await refuseWrites()
    expect(await watched.untilOpen()).toHaveLength(5)
    const before = await scriptsRun(server)
    server.pause()
    const sinceMs = performance.now()
    const decisions = [...(await watched.askAtOnce(500)), ...(await watched.askEach(100))]
    expect(performance.now() - sinceMs).toBeLessThan(timeoutMs / 2)
    expect([sources(decisions), admitted(decisions)]).toEqual([['closed'], 0])
    for (const { retryAfterMs } of decisions) {
      expect(retryAfterMs).toBeGreaterThan(30_000)
      expect(retryAfterMs).toBeLessThanOrEqual(66_000)
    }
    server.resume()
    expect(await scriptsRun(server)).toBe(before)
    expect(watched.changes).toEqual(['closed>open'])
    expect(watched.limiter.state).toBe('open')
  })

  test('tries with one call, however many come', async () => {
    const breaker = { failures: 1, openMs: 200, maxOpenMs: 60_000 }
    const watched = watch(await connected(server.port), { onUnavailable: 'deny', breaker, limit: 1000 })
    await watched.ask()
    await refuseWrites()
    await watched.untilOpen()
    for (let tries = 1; tries <= 2; tries++) {
      const before = await scriptsRun(server)
      await sleep((await watched.ask('none')).retryAfterMs + 20)
      expect(sources(await watched.askAtOnce(100))).toEqual(['closed'])
      expect(await scriptsRun(server)).toBe(before + 1)
      expect(watched.limiter.state).toBe('open')
    }
    await allowWrites()
    await sleep((await watched.ask('none')).retryAfterMs + 20)
    const before = await scriptsRun(server)
    const back = await watched.askAtOnce(100)
    expect(sources(back)).toEqual(['closed', 'exact'])
    expect(admitted(back)).toBe(1)
    expect(await scriptsRun(server)).toBe(before + 1)
    expect(sources(await watched.askAtOnce(100))).toEqual(['exact'])
    expect(watched.changes).toEqual([
      'closed>open',
      ...['open>half-open', 'half-open>open', 'open>half-open', 'half-open>open'],
      ...['open>half-open', 'half-open>closed'],
    ])
  })
})

test('a Redis that comes back is asked no more than it must be: what was admitted without it travels together', async () => {
  const KEYS = 9500
  const breaker = { failures: 3, openMs: 50, maxOpenMs: 50 }
  const watched = watch(await connected(server.port), { breaker })
  await watched.ask()
  await server.send('CONFIG', 'RESETSTAT')
  await refuseWrites()
  await watched.untilOpen('none')
  await Promise.all(Array.from({ length: KEYS }, (_, i) => watched.limiter.consume(`key-${i}`)))
  const { allowed } = watched.limiter.stats().sources.local
  expect(allowed).toBeGreaterThanOrEqual(KEYS)
  await allowWrites()
  await watched.untilBack()
  const reported = async (): Promise<number> => {
    await watched.limiter.peek('key')
    return watched.reports.reduce((sum, { tokens }) => sum + tokens, 0)
  }
  await until(async () => (await reported()) >= allowed, 'a report of all', 10_000)
  expect(await reported()).toBe(allowed)
  expect(watched.reports.reduce((sum, { lostTokens }) => sum + lostTokens, 0)).toBe(0)
  // Once it was back it stayed so.
  expect(watched.changes.filter((change) => change === 'half-open>closed')).toHaveLength(1)
  expect(watched.changes.at(-1)).toBe('half-open>closed')
  // Nobody was charged twice.
  for (const i of [0, 1, 100, 5000, KEYS - 1])
    expect((await watched.limiter.peek(`key-${i}`)).remaining).toBe(4)
})

describe('connections', () => {
  let refusing: Server
  let accepted: number

  beforeEach(async () => {
    accepted = 0
    refusing = createServer((socket: Socket) => {
      accepted++
      socket.destroy()
    }).listen(0, '127.0.0.1')
    await once(refusing, 'listening')
  })

  afterEach(() => {
    refusing.close()
  })

  test('are made when the user’s retryStrategy says so, however many calls come', async () => {
    let retries = 0
    const client = connect((refusing.address() as AddressInfo).port, {
      retryStrategy: () => {
        retries++
        return 100
      },
    })
    const watched = watch(client, { onUnavailable: 'deny' })
    const endMs = performance.now() + 400
    let calls = 0
    while (performance.now() < endMs) {
      calls += (await watched.askAtOnce(50)).length
      await sleep(1)
    }
    expect(calls).toBeGreaterThan(500)
    // The first one, and one after each time it was asked.
    expect(accepted).toBeLessThanOrEqual(1 + retries)
    expect(retries).toBeLessThanOrEqual(6)
  })

  test('are not made again if it says never', async () => {
    const client = connect((refusing.address() as AddressInfo).port, { retryStrategy: () => null })
    const watched = watch(client, { onUnavailable: 'deny' })
    expect(sources(await watched.askEach(20))).toEqual(['closed'])
    expect(accepted).toBeLessThanOrEqual(1)
  })

  test('to hear announcements are made ever more seldom', async () => {
    const client = connect((refusing.address() as AddressInfo).port, { retryStrategy: () => null })
    await until(() => client.status === 'end', 'an end')
    accepted = 0
    const watched = watch(client, { onUnavailable: 'deny', denyCache: true, windowMs: LONG_MS })
    await watched.askAtOnce(100)
    await sleep(700)
    await watched.askAtOnce(100)
    // At once, then after 0.05 s to 0.1 s, and twice as long each time.
    expect(accepted).toBeGreaterThanOrEqual(1)
    expect(accepted).toBeLessThanOrEqual(5)
  })
})
