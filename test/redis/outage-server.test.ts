import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { UnavailablePolicy } from '../../lib/redis'
import { admitted, connected, endScene, sources, type Watched, watch } from './fixtures/scene'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let server: RedisServer

beforeEach(async () => {
  server = await startRedis({ config: { appendonly: 'yes', appendfsync: 'always' } })
})

afterEach(async () => {
  await endScene()
  await expectAllKeysHaveTtl(server)
  await server.stop()
})

async function limiterOf(onUnavailable: UnavailablePolicy): Promise<Watched> {
  return watch(await connected(server.port), { onUnavailable })
}

test('SCRIPT FLUSH: nobody notices', async () => {
  const watched = await limiterOf('deny')
  let count = 0
  for (let i = 0; i < 4; i++) {
    const decisions = await watched.askAtOnce(2)
    expect(sources(decisions)).toEqual(['exact'])
    count += admitted(decisions)
    await server.send('SCRIPT', 'FLUSH')
  }
  expect(count).toBe(5)
  expect(watched.limiter.stats().client.evals).toBe(4)
  expect(watched.changes).toEqual([])
})

test('FLUSHALL: what was spent is forgotten, and nothing else', async () => {
  const watched = watch(await connected(server.port), { denyCache: { maxAgeMs: 50 } })
  expect(admitted(await watched.askEach(7))).toBe(5)
  await server.send('FLUSHALL')
  // A denial is believed for as long as it may be.
  const decisions = []
  while (admitted(decisions) === 0) decisions.push(await watched.ask())
  decisions.push(...(await watched.askEach(7)))
  expect(admitted(decisions)).toBe(5)
  expect(sources(decisions).filter((source) => source !== 'cache')).toEqual(['exact'])
  expect(watched.changes).toEqual([])
})

describe('a restart', () => {
  test.each([
    ['from disk: nothing is forgotten', false, 2],
    ['without data: a new limit', true, 5],
  ])('%s', async (_, isEmptied, left) => {
    const watched = await limiterOf('deny')
    expect(admitted(await watched.askEach(3))).toBe(3)
    if (isEmptied) await server.send('FLUSHALL')
    await server.kill()
    const away = await watched.untilOpen()
    expect([sources(away), admitted(away)]).toEqual([['closed'], 0])
    await server.restart()
    await watched.untilBack()
    const back = await watched.askAtOnce(8)
    expect([sources(back), admitted(back)]).toEqual([['exact'], left])
    expect(watched.limiter.state).toBe('closed')
    await watched.untilTold('half-open>closed')
  })
})

const AWAY: Record<UnavailablePolicy, { source: string; admitted: number }> = {
  local: { source: 'local', admitted: 2 },
  allow: { source: 'open', admitted: 20 },
  deny: { source: 'closed', admitted: 0 },
}

describe.each(['kill -9', 'SIGSTOP'])('%s', (how) => {
  test.each(Object.entries(AWAY))('%s: answers in time, then as before', async (policy, expected) => {
    const onUnavailable = policy as UnavailablePolicy
    // Two hosts share the limit, so that one has 2 of 5.
    const watched = watch(await connected(server.port), { onUnavailable, hosts: 2 })
    expect(admitted(await watched.askEach(3))).toBe(3)
    if (how === 'SIGSTOP') server.pause()
    else await server.kill()

    const away = [...(await watched.askAtOnce(10)), ...(await watched.askEach(10))]
    expect([sources(away), admitted(away)]).toEqual([[expected.source], expected.admitted])
    for (const decision of away.filter(({ allowed }) => !allowed))
      expect(decision.retryAfterMs).toBeGreaterThan(0)
    await watched.untilTold('closed>open')
    expect(watched.error?.message).toMatch(/did not answer within 100 ms|connection/i)
    expect(watched.limiter.stats().sources).toMatchObject({
      [expected.source]: { allowed: expected.admitted, denied: 20 - expected.admitted },
    })
    await expect(watched.inTime(watched.limiter.reset('key'))).rejects.toMatchObject({
      code: 'ERR_SLUICE_UNAVAILABLE',
    })

    if (how === 'SIGSTOP') server.resume()
    else await server.restart()
    await watched.untilBack()
    // What was on its way to the stopped server may have been charged: never is more left than was.
    const back = await watched.askAtOnce(8)
    expect(sources(back)).toEqual(['exact'])
    expect(admitted(back)).toBeLessThanOrEqual(2)
    if (how === 'kill -9' && policy !== 'local') expect(admitted(back)).toBe(2)
    await watched.untilTold('half-open>closed')
    expect(watched.limiter.state).toBe('closed')
  })
})

test('killed with hundreds of calls on their way: each is answered once, in time', async () => {
  const watched = watch(await connected(server.port), { onUnavailable: 'deny', limit: 1000 })
  const answers = Array.from({ length: 20 }, async (_, i) => {
    if (i === 10) await server.kill()
    return watched.askAtOnce(25, `key-${i}`)
  })
  const decisions = (await Promise.all(answers)).flat()
  expect(decisions).toHaveLength(500)
  expect(sources(decisions).filter((source) => source !== 'exact' && source !== 'closed')).toEqual([])
  expect(sources(decisions)).toContain('closed')
  await server.restart()
  await watched.untilBack()
})

test('stopped again and again: each time it comes back, and no more is admitted than there is', async () => {
  const watched = watch(await connected(server.port), { onUnavailable: 'deny', limit: 12 })
  let count = 0
  for (let i = 0; i < 5; i++) {
    server.pause()
    const away = await watched.askAtOnce(4)
    expect(sources(away)).toEqual(['closed'])
    server.resume()
    await watched.untilBack()
    count += admitted(await watched.askEach(3))
  }
  expect(count).toBeLessThanOrEqual(12)
  expect((await watched.limiter.peek('key')).remaining).toBeLessThanOrEqual(12 - count)
})

test('stopped for seconds in the midst of traffic: every call is answered in time', async () => {
  const watched = watch(await connected(server.port), { limit: 1000, hosts: 10 })
  const decisions = await watched.askAtOnce(5)
  server.pause()
  const endMs = performance.now() + 2000
  while (performance.now() < endMs) {
    decisions.push(...(await watched.askAtOnce(5)))
    await sleep(5)
  }
  const local = decisions.filter(({ source }) => source === 'local')
  expect(local.length).toBe(decisions.length - 5)
  expect(admitted(local)).toBe(100)
  server.resume()
  await watched.untilBack()
  const charged = async (): Promise<boolean> => (await watched.limiter.peek('key')).remaining <= 1000 - 105
  await until(charged, 'the charge of what was admitted')
  expect(sources(await watched.askAtOnce(20))).toEqual(['exact'])
})
