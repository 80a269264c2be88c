import Redis, { Cluster } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { Announcements, type AnnouncementsOptions } from '../../lib/redis/announcements'
import type { RedisClient } from '../../lib/redis/client'
import { startCluster } from './cluster'
import { connect, disconnectAll } from './courier-scene'
import { startProxy } from './proxy'
import { startSentinel } from './sentinel'
import { type RedisServer, startRedis } from './servers'
import { until } from './until'

let server: RedisServer
const opened: Announcements[] = []
const unhandled: unknown[] = []
const note = (error: unknown) => unhandled.push(error)
// Where ioredis puts errors that nobody listens to.
const logged = vi.spyOn(console, 'error')

beforeAll(async () => {
  process.on('unhandledRejection', note)
  server = await startRedis()
})
afterAll(async () => {
  process.off('unhandledRejection', note)
  await server.stop()
})
afterEach(() => {
  for (const announcements of opened.splice(0)) announcements.close()
  disconnectAll()
  expect(unhandled).toEqual([])
  expect(logged).not.toHaveBeenCalled()
})

interface Scene {
  announcements: Announcements
  /** What was to be forgotten: keys, or `all`. */
  forgotten: string[]
  changes: boolean[]
}

function open(client: RedisClient, options: AnnouncementsOptions = {}, prefix = 'app'): Scene {
  const forgotten: string[] = []
  const changes: boolean[] = []
  const onChange = (isHeard: boolean) => changes.push(isHeard)
  const announcements = new Announcements(client, prefix, (key) => forgotten.push(key ?? 'all'), {
    onChange,
    ...options,
  })
  opened.push(announcements)
  return { announcements, forgotten, changes }
}

async function opening(client: RedisClient, options?: AnnouncementsOptions, prefix?: string): Promise<Scene> {
  const scene = open(client, options, prefix)
  await until(() => scene.announcements.isHeard, 'it is subscribed')
  return scene
}

async function subscribers(channel = 'app:denials'): Promise<number> {
  return ((await server.send('PUBSUB', 'NUMSUB', channel)) as [string, number])[1]
}

describe('on one node', () => {
  test('what one announces all hear, in its order, and nobody of another prefix', async () => {
    const [a, b, other] = await Promise.all([
      opening(connect(server.port)),
      opening(connect(server.port, { keyPrefix: 'mine:', db: 1 })),
      opening(connect(server.port), {}, 'other'),
    ])
    const keys = ['app:{k}', 'app:{é 日本 😀}', 'app:n{5}', 'app:b{00ff}', 'app:{*}']
    for (const key of keys) a.announcements.publish(key)
    a.announcements.publish(undefined)
    await until(() => a.forgotten.length === 7 && b.forgotten.length === 7, 'both have heard')
    expect(a.forgotten).toEqual(['all', ...keys, 'all'])
    expect(b.forgotten).toEqual(['all', ...keys, 'all'])
    expect(other.forgotten).toEqual(['all'])
    expect(a.changes).toEqual([true])
  })

  test('one that does not listen has no connection, and is heard', async () => {
    const { forgotten } = await opening(connect(server.port))
    const client = connect(server.port)
    const mute = open(client, { listens: false })
    mute.announcements.publish('app:{k}')
    await until(() => forgotten.length === 2, 'it was heard')
    expect(await subscribers()).toBe(1)
    expect(mute.announcements.isHeard).toBe(false)
    expect(mute.forgotten).toEqual([])
  })

  test('a lost connection is made anew, and then all is forgotten', async () => {
    const { announcements, forgotten, changes } = await opening(connect(server.port))
    for (let round = 1; round <= 3; round++) {
      await server.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await until(() => forgotten.length === round + 1, 'it is subscribed again')
      expect(announcements.isHeard).toBe(true)
    }
    expect(forgotten).toEqual(['all', 'all', 'all', 'all'])
    expect(changes).toEqual([true, false, true, false, true, false, true])
    expect(await subscribers()).toBe(1)
  })

  test('a server that was away, and knows nobody any more', async () => {
    const own = await startRedis()
    try {
      const { announcements, forgotten } = await opening(connect(own.port))
      await own.kill()
      await until(() => !announcements.isHeard, 'it is lost')
      announcements.publish('app:{lost}')
      await own.restart()
      await until(() => announcements.isHeard, 'it is back')
      expect(forgotten).toEqual(['all', 'all'])
    } finally {
      await own.stop()
    }
  })

  test('a server that is not there at first', async () => {
    const own = await startRedis()
    await own.kill()
    try {
      const { announcements, forgotten } = open(connect(own.port))
      expect(announcements.isHeard).toBe(false)
      await own.restart()
      await until(() => announcements.isHeard, 'it is subscribed')
      expect(forgotten).toEqual(['all'])
    } finally {
      await own.stop()
    }
  })

  test('a connection that is gone without a word is noticed', async () => {
    const proxy = await startProxy(server.port)
    try {
      const { announcements, changes } = await opening(connect(proxy.port), { checkMs: 50 })
      proxy.drop()
      await until(() => !announcements.isHeard, 'nobody answers')
      proxy.pass()
      await until(() => announcements.isHeard, 'it is subscribed again')
      expect(changes.slice(0, 3)).toEqual([true, false, true])
    } finally {
      await proxy.stop()
    }
  })

  test('a password is passed on; a wrong one is no unhandled error', async () => {
    const own = await startRedis({ config: { requirepass: 'secret' } })
    try {
      await opening(connect(own.port, { password: 'secret' }))
      const refused = open(connect(own.port, { password: 'wrong', maxRetriesPerRequest: 0 }))
      refused.announcements.publish('app:{k}')
      const refusals = async () => ((await own.send('ACL', 'LOG')) as unknown[]).length
      await until(async () => (await refusals()) > 0, 'it was refused')
      expect(refused.announcements.isHeard).toBe(false)
    } finally {
      await own.stop()
    }
  })

  test.each([
    ['no offline queue', { enableOfflineQueue: false }],
    ['automatic pipelining', { enableAutoPipelining: true }],
    ['lazy', { lazyConnect: true }],
    ['a timeout for commands', { commandTimeout: 50 }],
    ['no ready check', { enableReadyCheck: false }],
    ['read-only', { readOnly: true }],
  ])("the user's client may be set up otherwise: %s", async (_, options) => {
    const { announcements, forgotten } = await opening(connect(server.port, options))
    await server.send('PUBLISH', 'app:denials', 'app:{k}')
    await until(() => forgotten.length === 2, 'it was heard')
    expect(announcements.isHeard).toBe(true)
  })

  test('closed, it hears nothing, connects no more, and has left the server', async () => {
    const client = connect(server.port)
    const subscribed = await opening(client)
    const early = open(client)
    early.announcements.close()
    subscribed.announcements.close()
    subscribed.announcements.close()
    await until(async () => (await subscribers()) === 0, 'nobody is subscribed')
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(await subscribers()).toBe(0)
    expect(early.forgotten).toEqual([])
    expect(subscribed.changes).toEqual([true])
    expect(await client.ping()).toBe('PONG')
  })

  test('hearing alone keeps no process alive', async () => {
    const sockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP')).length
    const client = connect(server.port)
    await client.ping()
    const before = sockets()
    expect(before).toBeGreaterThan(0)
    await opening(client)
    expect(sockets()).toBe(before)
  })

  test('what forgetting throws does not matter', async () => {
    let calls = 0
    const announcements = new Announcements(connect(server.port), 'app', () => {
      calls++
      throw new Error('no time')
    })
    opened.push(announcements)
    await until(() => announcements.isHeard, 'it is subscribed')
    announcements.publish('app:{k}')
    await until(() => calls === 2, 'it was heard')
  })

  test("nothing is left on the user's client", async () => {
    const client = connect(server.port)
    const listeners = () => client.eventNames().map((name) => [name, client.listenerCount(name)])
    const { announcements } = open(client)
    announcements.publish('app:{k}')
    await until(() => announcements.isHeard, 'it is subscribed')
    const before = listeners()
    for (let i = 0; i < 20; i++) {
      const more = await opening(client)
      more.announcements.publish('app:{k}')
      more.announcements.close()
    }
    expect(listeners()).toEqual(before)
  })
})

test('in a Cluster, wherever one listens, and when that node is gone, at another', async () => {
  const cluster = await startCluster()
  const client = new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port })))
  client.on('error', () => undefined)
  try {
    const scenes = await Promise.all([0, 1, 2, 3, 4].map(() => opening(client)))
    scenes[0]?.announcements.publish('app:{k}')
    await until(() => scenes.every(({ forgotten }) => forgotten.at(-1) === 'app:{k}'), 'all have heard')
    await cluster.nodes[0]?.kill()
    await until(() => scenes.every(({ announcements }) => announcements.isHeard), 'all are subscribed')
    await cluster.nodes[1]?.send('PUBLISH', 'app:denials', 'app:{next}')
    await until(() => scenes.every(({ forgotten }) => forgotten.at(-1) === 'app:{next}'), 'all have heard')
  } finally {
    for (const announcements of opened.splice(0)) announcements.close()
    client.disconnect()
    await cluster.stop()
  }
})

test('with Sentinel, at the new primary after a failover', async () => {
  const group = await startSentinel()
  const client = new Redis({ sentinels: [...group.sentinels], name: group.name, retryStrategy: () => 50 })
  client.on('error', () => undefined)
  try {
    const { announcements, forgotten } = await opening(client)
    await group.failover('killed')
    await until(async () => {
      await client.publish('app:denials', 'app:{k}')
      return forgotten.at(-1) === 'app:{k}' && forgotten.filter((key) => key === 'all').length > 1
    }, 'it is heard at the new primary')
    expect(announcements.isHeard).toBe(true)
  } finally {
    for (const announcements of opened.splice(0)) announcements.close()
    client.disconnect()
    await group.stop()
  }
})
