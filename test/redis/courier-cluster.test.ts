import { once } from 'node:events'
import { Cluster, type ClusterOptions } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Courier } from '../../lib/redis/courier'
import { hashSlot } from '../../lib/redis/slots'
import { type RedisCluster, startCluster } from './cluster'
import { Probe } from './courier-scene'
import type { RedisServer } from './servers'

let cluster: RedisCluster
let client: Cluster

beforeAll(async () => {
  cluster = await startCluster()
}, 60_000)

beforeEach(async () => {
  for (const master of cluster.masters) await master.send('FLUSHALL')
})

afterEach(() => client.disconnect())

afterAll(() => cluster.stop())

async function connected(options: ClusterOptions = {}): Promise<Cluster> {
  client = new Cluster(cluster.addresses, options as object)
  client.on('error', () => undefined)
  if (client.status !== 'ready' && !options.lazyConnect) await once(client, 'ready')
  return client
}

function send(key: string, timeoutMs = 10_000): Probe {
  const probe = new Probe(key, { timeoutMs })
  Courier.of(client).send(probe)
  return probe
}

async function expectCounts(probes: readonly Probe[], counts: readonly number[]): Promise<void> {
  await Promise.all(probes.map(({ done }) => done))
  expect(probes.map(({ error }) => error)).toEqual(probes.map(() => undefined))
  expect(probes.map(({ count }) => count)).toEqual(counts)
  expect(new Set(probes.map(({ told }) => told))).toEqual(new Set([1]))
}

test.each<ClusterOptions>([
  {},
  { lazyConnect: true },
  { enableOfflineQueue: false },
  { scaleReads: 'slave' },
  { keyPrefix: 'pré{x:' },
  { redisOptions: { keyPrefix: 'x:' } },
  { enableAutoPipelining: true },
])('calls of one tick go to their nodes, one script call for each slot, with %j', async (options) => {
  const { keyPrefix = options.redisOptions?.keyPrefix ?? '' } = await connected(options).then(() => options)
  const keys = Array.from({ length: 300 }, (_, i) => `user ${i % 150}`)
  await expectCounts(
    keys.map((key) => send(key)),
    keys.map((_, i) => (i < 150 ? 1 : 2)),
  )
  const slots = new Set(keys.map((key) => hashSlot(keyPrefix + key)))
  expect(Courier.of(client).stats).toMatchObject({ scriptCalls: slots.size, calls: 300, timeouts: 0 })
  for (const key of keys.slice(0, 20)) {
    const owner = await cluster.ownerOf(hashSlot(keyPrefix + key))
    expect(Courier.of(client).route(key)).toBe(`${owner.host}:${owner.port}`)
    expect(await owner.send('GET', keyPrefix + key)).not.toBeNull()
  }
})

test('keys share a slot by their hash tags', async () => {
  await connected()
  const courier = Courier.of(client)
  expect(courier.shareSlot(['a{1}', 'b{1}', 'c{1}'])).toBe(true)
  expect(courier.shareSlot(['a{1}', 'b{2}'])).toBe(false)
})

test('command goes to the node of its keys, or to any', async () => {
  await connected({ keyPrefix: 'x:' })
  const courier = Courier.of(client)
  for (let i = 0; i < 20; i++)
    expect(await courier.command('eval', ['return KEYS[1]', '1', `k${i}`], 10_000)).toBe(`x:k${i}`)
  expect(await courier.command('publish', ['channel', 'x'], 10_000)).toBe(0)
})

describe('while a slot moves', () => {
  const keys = Array.from({ length: 8 }, (_, i) => `${i}{moving}`)

  async function other(slot: number): Promise<RedisServer> {
    const owner = await cluster.ownerOf(slot)
    return cluster.masters.find((master) => master !== owner) as RedisServer
  }

  test('calls of one key, and of several at once, are answered, and no count is lost', async () => {
    await connected()
    const slot = hashSlot(keys[0] as string)
    let expected = 0
    const callAll = async (): Promise<void> => {
      expected++
      for (const key of keys) await expectCounts([send(key)], [expected])
      expected++
      await expectCounts(
        keys.map((key) => send(key)),
        keys.map(() => expected),
      )
    }
    await callAll()
    await cluster.migrateSlot(slot, await other(slot), callAll)
    await callAll()
    expect(Courier.of(client).stats.timeouts).toBe(0)
  })
})

test('a node that has stopped fails its own keys only, in time', async () => {
  await connected()
  const keys = Array.from({ length: 60 }, (_, i) => `user ${i}`)
  await expectCounts(
    keys.map((key) => send(key)),
    keys.map(() => 1),
  )
  const [stopped] = cluster.masters as [RedisServer]
  stopped.pause()
  const probes = keys.map((key) => send(key, 100))
  await Promise.all(probes.map(({ done }) => done))
  stopped.resume()
  const name = `${stopped.host}:${stopped.port}`
  for (const { key, error } of probes) {
    if (Courier.of(client).route(key) === name) expect(error).toMatchObject({ kind: 'timeout' })
    else expect(error).toBeUndefined()
  }
  expect(probes.filter(({ error }) => error).length).toBeGreaterThan(5)
})

test('a client that its user closes fails calls', async () => {
  await connected()
  await expectCounts([send('a')], [1])
  client.disconnect()
  const probe = send('a')
  await probe.done
  expect([probe.told, probe.error]).toEqual([1, expect.objectContaining({ kind: 'unsent' })])
})
