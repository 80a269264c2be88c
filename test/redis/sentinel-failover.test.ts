import { setTimeout as sleep } from 'node:timers/promises'
import Redis from 'ioredis'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Decision } from '../../lib/index'
import { admitted, endScene, keep, sources, type Watched, watch } from './fixtures/scene'
import { type SentinelGroup, startSentinel } from './sentinel'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let group: SentinelGroup

beforeEach(async () => {
  group = await startSentinel()
})

afterEach(async () => {
  await endScene()
  await expectAllKeysHaveTtl(group.primary)
  await group.stop()
})

async function connectedBySentinel(): Promise<Redis> {
  const client = keep(
    new Redis({
      sentinels: group.sentinels,
      name: group.name,
      retryStrategy: () => 20,
      sentinelRetryStrategy: () => 20,
    }),
  )
  await until(() => client.status === 'ready', 'a connection')
  return client
}

/** Asks now and then, until it is told to stop, and once more. */
function askOn(watched: Watched): () => Promise<Decision[]> {
  let isOver = false
  const decisions: Decision[] = []
  const done = (async () => {
    while (!isOver) {
      decisions.push(...(await watched.askAtOnce(3)))
      await sleep(10)
    }
  })()
  return async () => {
    isOver = true
    await done
    return decisions
  }
}

/** Until the replica has what the primary has. */
async function untilReplicated(key: string): Promise<void> {
  const [from, to] = [group.primary, group.replica]
  await until(
    async () => (await from.send('GET', key)) === (await to.send('GET', key)),
    'a replica that has it all',
  )
}

describe('a failover', () => {
  test('after the primary was killed: the client goes on with the new one, and nothing is minted', async () => {
    const watched = watch(await connectedBySentinel(), { onUnavailable: 'deny', limit: 40 })
    expect(admitted(await watched.askEach(25))).toBe(25)
    await untilReplicated('sluice:{key}')
    await group.primary.kill()
    const away = await watched.untilOpen()
    const stop = askOn(watched)
    await group.failover('killed')
    await watched.untilBack('none')
    const rest = [...away, ...(await stop()), ...(await watched.askAtOnce(40))]
    expect(sources(rest)).toEqual(['closed', 'exact'])
    expect(admitted(rest)).toBe(15)
    expect(watched.changes.slice(0, 2)).toEqual(['closed>open', 'open>half-open'])
    await watched.untilTold('half-open>closed')
    expect(watched.limiter.state).toBe('closed')
    expect((await watched.ask('another')).source).toBe('exact')
  })

  test('that was asked for: so it is, and what was admitted meanwhile is charged', async () => {
    const watched = watch(await connectedBySentinel(), { limit: 1000, hosts: 100 })
    expect(admitted(await watched.askEach(5))).toBe(5)
    const stop = askOn(watched)
    await group.failover('asked')
    await watched.untilBack()
    const meanwhile = await stop()
    const { local, exact } = watched.limiter.stats().sources
    expect(sources(meanwhile).filter((source) => source !== 'exact' && source !== 'local')).toEqual([])
    expect(local.allowed).toBeLessThanOrEqual(10)
    expect(exact.allowed + local.allowed).toBeGreaterThanOrEqual(10)
    await watched.untilBack()
    expect((await watched.ask()).source).toBe('exact')
    expect(watched.limiter.state).toBe('closed')
  })

  test('with no replica that could: it is as without Redis, until the primary comes back', async () => {
    const watched = watch(await connectedBySentinel(), { onUnavailable: 'allow' })
    await group.replica.kill()
    await group.primary.kill()
    const away = [...(await watched.askAtOnce(5)), ...(await watched.askEach(5))]
    expect([sources(away), admitted(away)]).toEqual([['open'], 10])
    await group.primary.restart()
    await watched.untilBack()
    const back = await watched.askAtOnce(8)
    expect([sources(back), admitted(back)]).toEqual([['exact'], 5])
  })

  test('of the sentinels themselves: nobody notices', async () => {
    const watched = watch(await connectedBySentinel(), { onUnavailable: 'deny' })
    for (const sentinel of group.sentinelServers) await sentinel.kill()
    const decisions = await watched.askAtOnce(8)
    expect([sources(decisions), admitted(decisions)]).toEqual([['exact'], 5])
    expect(watched.changes).toEqual([])
  })
})
