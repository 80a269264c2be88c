import { Cluster } from 'ioredis'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { ManualClock } from '../../lib/index'
import { RedisLimitSet } from '../../lib/redis'
import { type RedisCluster, startCluster } from './cluster'
import {
  type ClientProcess,
  endClients,
  hammerAll,
  openAll,
  startClients,
  tokensOf,
} from './fixtures/clients'
import { endScene, keep, watch } from './fixtures/scene'
import { expectAllKeysHaveTtl } from './ttl'

const COMMON = { windowMs: 60_000, timeoutMs: 10_000 }

let cluster: RedisCluster
let clients: ClientProcess[]

beforeAll(async () => {
  ;[cluster, clients] = await Promise.all([startCluster(), startClients(3)])
})

afterEach(endScene)

afterAll(async () => {
  await endClients()
  await expectAllKeysHaveTtl(cluster)
  await cluster.stop()
})

test('processes that race for keys of all nodes: of each exactly the limit', async () => {
  await openAll(clients, { cluster: cluster.addresses, limiter: { ...COMMON, limit: 100 }, nowMs: 0 })
  for (const key of ['a', 'b', 'c', 'd', 'e']) {
    const hammered = await hammerAll(clients, { key, calls: 60 })
    expect([key, tokensOf(hammered)]).toEqual([key, 100])
  }
})

test('processes that move while slots do: exactly the limit', async () => {
  await openAll(clients, { cluster: cluster.addresses, limiter: { ...COMMON, limit: 600 }, nowMs: 0 })
  const slot = await cluster.slotOf('sluice:{moving}')
  const owner = await cluster.ownerOf(slot)
  const target = cluster.masters.find((master) => master !== owner) as typeof owner
  const [hammered] = await Promise.all([
    hammerAll(clients, { key: 'moving', calls: 1000 }),
    cluster.migrateSlot(slot, target),
  ])
  expect(tokensOf(hammered)).toBe(600)
})

test('processes that race for a set of one slot: exactly what the tightest has', async () => {
  const set = [
    { ...COMMON, prefix: 'loose', limit: 400 },
    { ...COMMON, prefix: 'tight', limit: 90, algorithm: 'strict-window' as const },
  ]
  await openAll(clients, { cluster: cluster.addresses, set, nowMs: 0 })
  expect(tokensOf(await hammerAll(clients, { calls: 60 }))).toBe(90)
  await openAll(clients, { cluster: cluster.addresses, limiter: set[0] as (typeof set)[0], nowMs: 0 })
  expect(tokensOf(await hammerAll(clients, { calls: 120 }))).toBe(310)
})

test('a set across slots: no more than the tightest has, and what was refused is given back', async () => {
  const client = keep(new Cluster(cluster.addresses))
  const clock = new ManualClock(0)
  const [wide, narrow] = [50, 20].map((limit, i) =>
    watch(client, { ...COMMON, prefix: `{slot-${i}}`, limit, clock }),
  ) as [ReturnType<typeof watch>, ReturnType<typeof watch>]
  const set = new RedisLimitSet([wide.limiter, narrow.limiter])
  expect(await cluster.slotOf('{slot-0}')).not.toBe(await cluster.slotOf('{slot-1}'))
  let count = 0
  for (let i = 0; i < 6; i++) {
    const answers = await Promise.all(Array.from({ length: 7 }, () => set.consume('key')))
    count += answers.filter(({ allowed }) => allowed).length
  }
  expect(count).toBe(20)
  expect((await narrow.limiter.peek('key')).remaining).toBe(0)
  const { remaining } = await wide.limiter.peek('key')
  expect(remaining).toBe(30)
})
