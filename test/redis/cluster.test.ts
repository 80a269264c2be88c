import { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MigrationStep, type RedisCluster, startCluster } from './cluster'
import type { RedisServer } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

const KEYS = ['{tag}1', '{tag}2', '{tag}3', '{tag}4']

function clientOf(cluster: RedisCluster): Cluster {
  const client = new Cluster(cluster.addresses, { slotsRefreshTimeout: 5000 })
  client.on('error', () => undefined)
  return client
}

function answerOf(node: RedisServer, ...command: [string, ...string[]]): Promise<string> {
  return node.send(...command).then(String, (error: Error) => error.message)
}

describe('three masters', () => {
  let cluster: RedisCluster
  let client: Cluster

  beforeAll(async () => {
    cluster = await startCluster()
    client = clientOf(cluster)
  })
  afterAll(async () => {
    client.disconnect()
    await cluster.stop()
  })

  test('share all slots, and each says so', async () => {
    expect([cluster.masters.length, cluster.replicas.length]).toEqual([3, 0])
    for (const node of cluster.nodes) {
      const slots = (await node.send('CLUSTER', 'SLOTS')) as [number, number, [string, number]][]
      const owners = slots.sort(([a], [b]) => a - b).map(([start, end, [, port]]) => [start, end, port])
      const [first, second, third] = cluster.masters.map(({ port }) => port)
      expect(owners).toEqual([
        [0, 5460, first],
        [5461, 10_921, second],
        [10_922, 16_383, third],
      ])
    }
    expect(await cluster.slotOf('{user1000}.x')).toBe(3443)
    expect(await cluster.ownerOf(3443)).toBe(cluster.masters[0])
  })

  test('keep keys that may have no TTL: it is found on whatever node', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`)
    for (const key of keys) await client.set(key, 1, 'PX', 60_000)
    for (const node of cluster.masters) expect(await node.send('DBSIZE')).toBeGreaterThan(0)
    for (const keyspace of [client, cluster]) expect(await expectAllKeysHaveTtl(keyspace)).toBe(60)
    for (const key of ['key-1', 'key-2', 'key-3']) await client.persist(key)
    for (const keyspace of [client, cluster]) {
      await expect(expectAllKeysHaveTtl(keyspace)).rejects.toThrow('3 keys without a TTL')
    }
    for (const key of keys) await client.del(key)
  })

  test('hand over a slot, with all steps between', async () => {
    const slot = await cluster.slotOf('{tag}')
    const from = await cluster.ownerOf(slot)
    const to = cluster.masters.find((node) => node !== from) as RedisServer
    for (const key of KEYS) await client.set(key, key, 'PX', 60_000)
    const steps: MigrationStep[] = []
    const answers: string[][] = []
    await cluster.migrateSlot(slot, to, async (step) => {
      steps.push(step)
      answers.push(await Promise.all([...KEYS, '{tag}new'].map((key) => answerOf(from, 'GET', key))))
      expect(await client.get('{tag}1')).toBe('{tag}1')
      expect(await client.incr(`{tag}${step}`)).toBe(1)
      expect(await client.pexpire(`{tag}${step}`, 60_000)).toBe(1)
    })
    const ask = `ASK ${slot} ${to.host}:${to.port}`
    const moved = ask.replace('ASK', 'MOVED')
    expect(steps).toEqual(['opened', 'half-moved', 'moved', 'given'])
    expect(answers[0]).toEqual([...KEYS, ask])
    expect(answers[1]?.filter((answer) => answer === ask)).toHaveLength(3)
    expect(answers[2]).toEqual([ask, ask, ask, ask, ask])
    expect([ask, moved]).toContain(answers[3]?.[0])
    expect(await answerOf(from, 'GET', '{tag}1')).toBe(moved)
    for (const key of [...KEYS, ...steps.map((step) => `{tag}${step}`)]) {
      expect(await to.send('EXISTS', key)).toBe(1)
    }
    expect(await cluster.ownerOf(slot)).toBe(to)
    expect(await expectAllKeysHaveTtl(cluster)).toBe(8)
  })

  test('are not well without one of them, and are again when it is back', async () => {
    const [lost, other] = cluster.masters as [RedisServer, RedisServer]
    await lost.kill()
    const state = () => answerOf(other, 'CLUSTER', 'INFO')
    await expect.poll(state, { timeout: 15_000 }).toContain('cluster_state:fail')
    await lost.restart()
    await cluster.untilWell()
    expect(await state()).toContain('cluster_state:ok')
  })
})

test('replicas take over, when they are asked to and when their master is killed', async () => {
  const cluster = await startCluster({ replicas: 1 })
  const client = clientOf(cluster)
  try {
    const [first, second] = cluster.masters as [RedisServer, RedisServer]
    const [heir] = cluster.replicas as [RedisServer]
    const slot = await cluster.slotOf('{06S}') // Of the first third.
    expect(await cluster.ownerOf(slot)).toBe(first)
    await client.set('{06S}', 'value', 'PX', 60_000)
    await first.send('WAIT', 1, 5000)
    expect(await cluster.failover(first, 'asked')).toBe(heir)
    expect([await heir.info('role'), await first.info('role')]).toEqual(['master', 'slave'])
    expect([await cluster.ownerOf(slot), await client.get('{06S}')]).toEqual([heir, 'value'])
    expect(await cluster.failover(second, 'killed')).toBe(cluster.replicas[1])
    expect(second.isRunning).toBe(false)
    await second.restart()
    await cluster.untilWell()
    expect(await second.info('role')).toBe('slave')
    expect(await cluster.runningMasters()).toEqual([cluster.masters[2], heir, cluster.replicas[1]])
    expect(await expectAllKeysHaveTtl(cluster)).toBe(1)
  } finally {
    client.disconnect()
    await cluster.stop()
  }
}, 60_000)
