import Redis, { Cluster } from 'ioredis'
import { afterEach, describe, expect, test } from 'vitest'
import { type RedisCluster, startCluster } from './cluster'
import { admitted, endScene, keep, sources, type Watched, watch } from './fixtures/scene'
import type { RedisServer } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let cluster: RedisCluster | undefined

afterEach(async () => {
  await endScene()
  if (cluster) await expectAllKeysHaveTtl(cluster)
  await cluster?.stop()
  cluster = undefined
})

async function connectedCluster(from: RedisCluster): Promise<Cluster> {
  const client = keep(
    new Cluster(from.addresses, { slotsRefreshTimeout: 1000, clusterRetryStrategy: () => 50 }),
  )
  await until(() => client.status === 'ready', 'a connection')
  return client
}

/** For each master a key that it has. */
async function keysOf(from: RedisCluster): Promise<string[]> {
  const keys = new Map<RedisServer, string>()
  for (let i = 0; keys.size < from.masters.length; i++) {
    const key = `key-${i}`
    const owner = await from.ownerOf(await from.slotOf(`sluice:{${key}}`))
    if (!keys.has(owner)) keys.set(owner, key)
  }
  return from.masters.map((master) => keys.get(master) as string)
}

const BREAKER = { failures: 3, openMs: 100, maxOpenMs: 200 }
const PARTIAL = { 'cluster-require-full-coverage': 'no', appendonly: 'yes', appendfsync: 'always' } as const

test('a master killed that has no replica: its keys are decided without it, all others go on', async () => {
  cluster = await startCluster({ config: PARTIAL })
  const [lost, kept, other] = (await keysOf(cluster)) as [string, string, string]
  const [master] = cluster.masters as [RedisServer]
  const client = await connectedCluster(cluster)
  const expected = { local: ['local', 3], allow: ['open', 12], deny: ['closed', 0] } as const
  const all = (['local', 'allow', 'deny'] as const).map((onUnavailable) => {
    const watched = watch(client, {
      onUnavailable,
      prefix: 'sluice',
      limit: 1000,
      hosts: 300,
      breaker: BREAKER,
    })
    return [onUnavailable, watched] as const
  })
  for (const [, watched] of all) expect(sources(await watched.askEach(2, lost))).toEqual(['exact'])
  await master.kill()
  for (const [onUnavailable, watched] of all) {
    const away = [...(await watched.askAtOnce(6, lost)), ...(await watched.askEach(6, lost))]
    expect([onUnavailable, sources(away), admitted(away)]).toEqual([
      onUnavailable,
      [expected[onUnavailable][0]],
      expected[onUnavailable][1],
    ])
    await watched.untilTold('closed>open')
    // The others are asked as ever.
    for (const key of [kept, other]) expect(sources(await watched.askAtOnce(10, key))).toEqual(['exact'])
    expect([...new Set(watched.nodes)]).toEqual([`127.0.0.1:${master.port}`])
  }
  await master.restart()
  await cluster.untilWell()
  for (const [, watched] of all) {
    await watched.untilBack(lost)
    const { remaining } = (await watched.ask(lost)) as { remaining: number }
    // What was spent before is on the disk; what the one host has admitted by itself comes besides.
    expect(remaining).toBeLessThanOrEqual(1000 - 6)
    await until(() => watched.limiter.state === 'closed', 'a state that is closed')
  }
})

test('two masters that fail: what was admitted without each is charged when that one comes back', async () => {
  cluster = await startCluster({ config: PARTIAL })
  const [first, second] = (await keysOf(cluster)) as [string, string]
  const [one, two] = cluster.masters as [RedisServer, RedisServer]
  const watched = watch(await connectedCluster(cluster), { limit: 50, breaker: BREAKER })
  expect(sources([...(await watched.askEach(1, first)), ...(await watched.askEach(1, second))])).toEqual([
    'exact',
  ])
  await one.kill()
  await two.kill()
  expect(sources([...(await watched.askEach(4, first)), ...(await watched.askEach(4, second))])).toEqual([
    'local',
  ])
  await one.restart()
  await watched.untilBack(first)
  await until(() => watched.reports.length > 0, 'a report')
  expect((await watched.limiter.peek(first)).remaining).toBe(45)
  await two.restart()
  await watched.untilBack(second)
  await until(
    async () => (await watched.limiter.peek(second)).remaining === 45,
    'the charge of the second',
    5000,
  )
  await cluster.untilWell()
})

test('a cluster that wants all of its slots: all keys fail, and all come back', async () => {
  cluster = await startCluster({ config: { appendonly: 'yes' } })
  const keys = await keysOf(cluster)
  const [master] = cluster.masters as [RedisServer]
  const watched = watch(await connectedCluster(cluster), {
    onUnavailable: 'deny',
    limit: 50,
    breaker: BREAKER,
  })
  await master.kill()
  await until(async () => {
    const decisions = await Promise.all(keys.map((key) => watched.ask(key)))
    return sources(decisions).join() === 'closed'
  }, 'a cluster that is down')
  await master.restart()
  await cluster.untilWell()
  for (const key of keys) await watched.untilBack(key)
  for (const key of keys) expect((await watched.ask(key)).source).toBe('exact')
  await until(() => watched.limiter.state === 'closed', 'a state that is closed')
})

describe('a master that has a replica', () => {
  let watched: Watched
  let key: string

  async function begin(): Promise<RedisCluster> {
    const started = await startCluster({ replicas: 1 })
    cluster = started
    key = ((await keysOf(started)) as [string])[0]
    watched = watch(await connectedCluster(started), { limit: 40, breaker: BREAKER })
    expect(admitted(await watched.askEach(10, key))).toBe(10)
    return started
  }

  test('killed: the replica takes over, what was admitted meanwhile is charged, all is as before', async () => {
    const started = await begin()
    const [master, replica] = [started.masters[0], started.replicas[0]] as [RedisServer, RedisServer]
    const name = `sluice:{${key}}`
    await until(async () => {
      const [value, copy] = await Promise.all([master.send('GET', name), readCopy(replica, name)])
      return value === copy
    }, 'a replica that has it all')
    await master.kill()
    const away = await watched.askEach(8, key)
    expect([sources(away), admitted(away)]).toEqual([['local'], 8])
    await started.untilWell()
    await watched.untilBack(key)
    await until(
      async () => (await watched.limiter.peek(key)).remaining === 22,
      'the charge of what was admitted',
      5000,
    )
    const back = await watched.askAtOnce(30, key)
    expect([sources(back), admitted(back)]).toEqual([['exact'], 22])
    // The node that failed is asked no more: it says nothing of how things are.
    const isClosed = async (): Promise<boolean> =>
      (await watched.limiter.peek(key)).source === 'exact' && watched.limiter.state === 'closed'
    await until(isClosed, 'a state that is closed', 5000)
  })

  test('asked to give way: no call fails for longer than a moment', async () => {
    const started = await begin()
    await started.failover(started.masters[0] as RedisServer, 'asked')
    await watched.untilBack(key)
    const back = await watched.askAtOnce(40, key)
    expect(sources(back)).toEqual(['exact'])
    expect(admitted(back)).toBeLessThanOrEqual(30)
  })
})

/** A replica answers for its master's keys only those who say that they want to read. */
async function readCopy(replica: RedisServer, name: string): Promise<unknown> {
  const reader = keep(new Redis(replica.port, replica.host, { readOnly: true }))
  try {
    return await reader.get(name)
  } finally {
    reader.disconnect()
  }
}
