import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Decision } from '../../lib/index'
import { RedisLimitSet } from '../../lib/redis'
import { type MigrationStep, type RedisCluster, startCluster } from './cluster'
import { admitted, endScene, keep, sources, watch } from './fixtures/scene'
import type { RedisServer } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

/** A redirection costs some trips; a busy machine takes its time for them. */
const TIMEOUT_MS = 5000
const STEPS: MigrationStep[] = ['opened', 'half-moved', 'moved', 'given']

let cluster: RedisCluster

beforeAll(async () => {
  cluster = await startCluster()
})

afterEach(endScene)

afterAll(async () => {
  await expectAllKeysHaveTtl(cluster)
  await cluster.stop()
})

async function connectedCluster(): Promise<Cluster> {
  const client = keep(new Cluster(cluster.addresses, { slotsRefreshTimeout: 5000 }))
  await until(() => client.status === 'ready', 'a connection')
  return client
}

/** Another master than the one that has the slot. */
async function otherMaster(slot: number): Promise<RedisServer> {
  const owner = await cluster.ownerOf(slot)
  return cluster.masters.find((master) => master !== owner) as RedisServer
}

test('of one key, step by step: each call is decided by Redis, exactly the limit is admitted', async () => {
  const watched = watch(await connectedCluster(), { limit: 20, onUnavailable: 'deny', timeoutMs: TIMEOUT_MS })
  const slot = await cluster.slotOf('sluice:{key}')
  const decisions: Decision[] = await watched.askEach(3)
  const seen: MigrationStep[] = []
  await cluster.migrateSlot(slot, await otherMaster(slot), async (step) => {
    seen.push(step)
    decisions.push(...(await watched.askAtOnce(2)), ...(await watched.askEach(2)))
  })
  decisions.push(...(await watched.askEach(5)))
  expect(seen).toEqual(STEPS)
  expect([sources(decisions), admitted(decisions)]).toEqual([['exact'], 20])
  expect(watched.changes).toEqual([])
})

test('of many keys of one slot, asked for at once: some here, some there, of each exactly the limit', async () => {
  // A hash tag in the prefix puts all keys on one slot, and so in one script call.
  const prefix = '{many}'
  const watched = watch(await connectedCluster(), {
    prefix,
    limit: 6,
    onUnavailable: 'deny',
    timeoutMs: TIMEOUT_MS,
  })
  const keys = Array.from({ length: 12 }, (_, i) => `key-${i}`)
  const count = new Map<string, number>(keys.map((key) => [key, 0]))
  const askAll = async (): Promise<void> => {
    // What is new comes besides to where it does not exist yet.
    const decisions = await Promise.all([...keys, `new-${Math.random()}`].map((key) => watched.ask(key)))
    expect(sources(decisions)).toEqual(['exact'])
    keys.forEach((key, i) => {
      count.set(key, (count.get(key) ?? 0) + Number(decisions[i]?.allowed))
    })
  }
  await askAll()
  const slot = await cluster.slotOf('{many}')
  const scriptsBefore = watched.limiter.stats().client.scriptCalls
  await cluster.migrateSlot(slot, await otherMaster(slot), askAll)
  expect(watched.limiter.stats().client.scriptCalls - scriptsBefore).toBeGreaterThan(STEPS.length)
  for (let i = 0; i < 4; i++) await askAll()
  expect([...count.values()]).toEqual(keys.map(() => 6))
  expect(watched.changes).toEqual([])
})

test('in the midst of traffic: nothing fails, nothing is minted', async () => {
  const watched = watch(await connectedCluster(), { limit: 3000, prefix: '{busy}', timeoutMs: TIMEOUT_MS })
  const slot = await cluster.slotOf('{busy}')
  let isOver = false
  const decisions: Decision[] = []
  const traffic = Array.from({ length: 3 }, async () => {
    while (!isOver) {
      decisions.push(...(await Promise.all(['a', 'b', 'a', 'c'].map((key) => watched.ask(key)))))
      await sleep(2)
    }
  })
  for (let i = 0; i < 3; i++) await cluster.migrateSlot(slot, await otherMaster(slot), () => sleep(20))
  isOver = true
  await Promise.all(traffic)
  expect(sources(decisions)).toEqual(['exact'])
  const left = await Promise.all(
    ['a', 'b', 'c'].map(async (key) => (await watched.limiter.peek(key)).remaining),
  )
  expect(left.reduce((sum, remaining) => sum + remaining, 0)).toBe(3 * 3000 - admitted(decisions))
  expect(watched.changes).toEqual([])
})

test('of the slot of a set: all or nothing, at each step', async () => {
  const client = await connectedCluster()
  const options = { timeoutMs: TIMEOUT_MS, onUnavailable: 'deny' as const }
  const members = [
    watch(client, { ...options, prefix: 'one', limit: 30 }).limiter,
    watch(client, { ...options, prefix: 'two', limit: 8 }).limiter,
  ]
  const set = new RedisLimitSet(members)
  const slot = await cluster.slotOf('one:{key}')
  let count = 0
  const ask = async (): Promise<void> => {
    for (let i = 0; i < 2; i++) count += Number((await set.consume('key')).allowed)
  }
  await ask()
  await cluster.migrateSlot(slot, await otherMaster(slot), ask)
  for (let i = 0; i < 5; i++) await ask()
  const left = await Promise.all(members.map(async (limiter) => (await limiter.peek('key')).remaining))
  expect(count).toBe(8)
  expect(left).toEqual([22, 0])
})
