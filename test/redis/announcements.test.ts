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

describe('many on one client', () => {
  /** How many channels each connection of that name listens to. */
  async function heardBy(name: string): Promise<number[]> {
    const list = String(await server.send('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n')
    return list
      .filter((line) => line.includes(` name=${name} `))
      .map((line) => Number(/ sub=(\d+)/.exec(line)?.[1]))
  }

  /** Each with a prefix of its own: p0, p1 and so on. */
  async function openingMany(client: RedisClient, count: number): Promise<Scene[]> {
    const scenes = Array.from({ length: count }, (_, i) => open(client, {}, `p${i}`))
    await until(() => scenes.every(({ announcements }) => announcements.isHeard), 'all are subscribed')
    return scenes
  }

  const tellEach = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => server.send('PUBLISH', `p${i}:denials`, `k${i}`)))

  test('they make one connection, and each hears what is of its prefix', async () => {
    const client = connect(server.port, { connectionName: 'fifty' })
    const duplicate = vi.spyOn(client, 'duplicate')
    const scenes = await openingMany(client, 50)
    scenes.push(...(await openingMany(client, 1)))
    expect(await heardBy('fifty')).toEqual([50])
    expect(duplicate).toHaveBeenCalledTimes(1)
    await tellEach(50)
    await until(() => scenes.every(({ forgotten }) => forgotten.length === 2), 'all have heard')
    for (const [i, scene] of scenes.entries()) {
      expect(scene.forgotten).toEqual(['all', `k${i % 50}`])
      expect(scene.changes).toEqual([true])
    }
  })

  test('when some are closed the others stay, and with the last the connection ends', async () => {
    const client = connect(server.port, { connectionName: 'some' })
    const scenes = await openingMany(client, 10)
    for (const { announcements } of scenes.slice(3)) announcements.close()
    await until(async () => (await heardBy('some'))[0] === 3, 'seven channels are left')
    await tellEach(10)
    await until(() => scenes.slice(0, 3).every(({ forgotten }) => forgotten.length === 2), 'they have heard')
    for (const { announcements } of scenes.slice(0, 3)) announcements.close()
    await until(async () => (await heardBy('some')).length === 0, 'the connection is gone')
    for (const [i, { forgotten, changes, announcements }] of scenes.entries()) {
      expect(forgotten).toEqual(i < 3 ? ['all', `k${i}`] : ['all'])
      expect(changes).toEqual([true])
      expect(announcements.isHeard).toBe(false)
    }
  })

  test('opened again, at once and later, they make one again', async () => {
    const client = connect(server.port, { connectionName: 'again' })
    const old = await openingMany(client, 3)
    for (const { announcements } of old) announcements.close()
    for (const { announcements } of await openingMany(client, 3)) announcements.close()
    await until(async () => (await heardBy('again')).length === 0, 'the connection is gone')
    const scenes = await openingMany(client, 3)
    expect(await heardBy('again')).toEqual([3])
    await tellEach(3)
    await until(() => scenes.every(({ forgotten }) => forgotten.length === 2), 'all have heard')
    expect(old.map(({ forgotten }) => forgotten)).toEqual([['all'], ['all'], ['all']])
  })

  test('all are told of a lost connection, and of the next', async () => {
    const client = connect(server.port, { connectionName: 'lost' })
    const scenes = await openingMany(client, 20)
    await server.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await until(() => scenes.every(({ changes }) => changes.length === 3), 'all are subscribed again')
    expect(await heardBy('lost')).toEqual([20])
    for (const { forgotten, changes } of scenes) {
      expect(forgotten).toEqual(['all', 'all'])
      expect(changes).toEqual([true, false, true])
    }
  })

  test('those of one prefix are each told, whoever comes and goes', async () => {
    const client = connect(server.port, { connectionName: 'same' })
    const [a, b] = await Promise.all([opening(client), opening(client)])
    await server.send('PUBLISH', 'app:denials', 'k1')
    await until(() => b.forgotten.length === 2, 'it was heard')
    a.announcements.close()
    const late = await opening(client)
    await server.send('PUBLISH', 'app:denials', 'k2')
    await until(() => late.forgotten.length === 2, 'it was heard')
    expect(await heardBy('same')).toEqual([1])
    expect([a, b, late].map(({ forgotten }) => forgotten)).toEqual([
      ['all', 'k1'],
      ['all', 'k1', 'k2'],
      ['all', 'k2'],
    ])
    expect([a, b, late].map(({ changes }) => changes)).toEqual([[true], [true], [true]])
  })

  test('what one throws hurts no other, and shows', async () => {
    const thrown: unknown[] = []
    const later = vi.spyOn(globalThis, 'queueMicrotask').mockImplementation((action) => {
      try {
        action()
      } catch (error) {
        thrown.push((error as Error).message)
      }
    })
    try {
      const client = connect(server.port)
      const onChange = (isHeard: boolean) => {
        throw new Error(`mine: ${isHeard}`)
      }
      open(client, { onChange })
      const other = await opening(client)
      await server.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await until(() => other.changes.length === 3, 'it is subscribed again')
      expect(other.changes).toEqual([true, false, true])
      expect(thrown).toEqual(['mine: true', 'mine: false', 'mine: true'])
    } finally {
      later.mockRestore()
    }
  })

  test('one may close others, and open more, while it is told', async () => {
    const client = connect(server.port)
    const more: Scene[] = []
    const first: Scene = open(client, {
      onChange: (isHeard) => {
        if (isHeard) return
        second.announcements.close()
        more.push(open(client))
      },
    })
    const second = open(client)
    await until(() => first.announcements.isHeard && second.announcements.isHeard, 'both are subscribed')
    await server.send('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await until(() => more[0]?.announcements.isHeard === true && first.announcements.isHeard, 'the next')
    expect(second).toMatchObject({ changes: [true], forgotten: ['all'] })
    expect(more.map(({ changes }) => changes)).toEqual([[true]])
  })

  test('a connection that is gone without a word: who comes then hears nothing before there is another', async () => {
    const proxy = await startProxy(server.port)
    try {
      const client = connect(proxy.port)
      const quick = await opening(client, { checkMs: 50 }, 'quick')
      const patient = await opening(client)
      proxy.drop()
      const late = open(client)
      // Long before the patient one would have looked.
      await until(() => patient.changes.length === 2 && quick.changes.length === 2, 'nobody answers', 4000)
      expect(late).toMatchObject({ changes: [], forgotten: [] })
      proxy.pass()
      await until(() => late.announcements.isHeard && patient.announcements.isHeard, 'the next connection')
      expect(patient.changes.slice(0, 3)).toEqual([true, false, true])
    } finally {
      await proxy.stop()
    }
  })

  test('one that goes and comes while its subscription is under way is told once', async () => {
    const proxy = await startProxy(server.port)
    try {
      const client = connect(proxy.port)
      const other = await opening(client)
      proxy.hold()
      const [early, gone] = [open(client, {}, 'late'), open(client, {}, 'gone')]
      early.announcements.close()
      gone.announcements.close()
      const late = open(client, {}, 'late')
      proxy.pass()
      await until(() => late.announcements.isHeard, 'it is subscribed')
      await until(async () => (await subscribers('gone:denials')) === 0, 'nobody is left there')
      await server.send('PUBLISH', 'late:denials', 'k')
      await until(() => late.forgotten.length === 2, 'it was heard')
      expect(early).toMatchObject({ changes: [], forgotten: [] })
      expect(late).toMatchObject({ changes: [true], forgotten: ['all', 'k'] })
      expect(other.changes).toEqual([true])
    } finally {
      await proxy.stop()
    }
  })

  test('a channel that the server refuses costs the others nothing, and is heard once it is allowed', async () => {
    const rules = ['on', '>pass', '~*', '+@all', '-unsubscribe', 'resetchannels', '&app:denials']
    await server.send('ACL', 'SETUSER', 'narrow', ...rules)
    const client = connect(server.port, { username: 'narrow', password: 'pass' })
    const refused = open(client, {}, 'refused')
    const allowed = await opening(client, { checkMs: 20 })
    const refusals = async () => {
      const log = (await server.send('ACL', 'LOG')) as unknown[][]
      return log.filter((entry) => entry.includes('refused:denials')).map((entry) => Number(entry[1]))[0] ?? 0
    }
    await until(async () => (await refusals()) > 2, 'it was asked for again and again')
    const closed = await opening(client)
    closed.announcements.close()
    await server.send('ACL', 'SETUSER', 'narrow', '&refused:denials')
    await until(() => refused.announcements.isHeard, 'it is subscribed')
    // It may not unsubscribe: what comes to nobody does no harm.
    refused.announcements.close()
    await server.send('PUBLISH', 'refused:denials', 'k1')
    await server.send('PUBLISH', 'app:denials', 'k2')
    await until(() => allowed.forgotten.length === 2, 'it was heard')
    expect(refused).toMatchObject({ changes: [true], forgotten: ['all'] })
    expect(allowed).toMatchObject({ changes: [true], forgotten: ['all', 'k2'] })
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
    const lists = await Promise.all(cluster.nodes.map((node) => node.send('PUBSUB', 'NUMSUB', 'app:denials')))
    const counts = lists.map((list) => (list as [string, number])[1])
    expect(counts.toSorted()).toEqual([...counts.slice(1).map(() => 0), 1])
    const at = counts.indexOf(1)
    await cluster.nodes[at]?.kill()
    await until(() => scenes.every(({ changes }) => changes.length === 3), 'all are subscribed again')
    await cluster.nodes[at === 0 ? 1 : 0]?.send('PUBLISH', 'app:denials', 'app:{next}')
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
