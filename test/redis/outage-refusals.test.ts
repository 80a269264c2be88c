import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { UnavailablePolicy } from '../../lib/redis'
import { RedisLimitSet } from '../../lib/redis'
import { admitted, connect, connected, endScene, sources, watch } from './fixtures/scene'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let server: RedisServer
const others: RedisServer[] = []

beforeEach(async () => {
  server = await startRedis()
})

afterEach(async () => {
  await endScene()
  await expectAllKeysHaveTtl(server)
  await Promise.all([server, ...others.splice(0)].map((each) => each.stop()))
})

const EXPECTED: [UnavailablePolicy, string, number][] = [
  ['local', 'local', 2],
  ['allow', 'open', 12],
  ['deny', 'closed', 0],
]

describe('out of memory', () => {
  test.each(EXPECTED)(
    '%s: what would have to be written is answered so',
    async (onUnavailable, source, count) => {
      const watched = watch(await connected(server.port), { onUnavailable, hosts: 2 })
      expect(admitted(await watched.askEach(3))).toBe(3)
      await server.send('CONFIG', 'SET', 'maxmemory', 1)
      const away = [...(await watched.askEach(6)), ...(await watched.askAtOnce(6))]
      expect([sources(away), admitted(away)]).toEqual([[source], count])
      await watched.untilTold('closed>open')
      expect(watched.error?.message).toMatch(/OOM/)
      await server.send('CONFIG', 'SET', 'maxmemory', 0)
      await watched.untilBack()
      const back = await watched.askAtOnce(5)
      expect(sources(back)).toEqual(['exact'])
      // What the host has admitted by itself is charged now, or later.
      if (onUnavailable === 'local') expect(admitted(back)).toBeLessThanOrEqual(2)
      else expect(admitted(back)).toBe(2)
    },
  )

  test('nothing is charged by halves: a set spends from all of its limits or from none', async () => {
    const client = await connected(server.port)
    const members = ['a', 'b'].map((prefix) => watch(client, { prefix, onUnavailable: 'deny' }).limiter)
    const set = new RedisLimitSet(members)
    expect((await set.consume('key')).allowed).toBe(true)
    await server.send('CONFIG', 'SET', 'maxmemory', 1)
    expect(await set.consume('key')).toMatchObject({ allowed: false, reason: 'unavailable' })
    await server.send('CONFIG', 'SET', 'maxmemory', 0)
    await until(async () => (await set.peek('key')).allowed, 'Redis decides again')
    expect(await Promise.all(members.map(async (limiter) => (await limiter.peek('key')).remaining))).toEqual([
      4, 4,
    ])
  })
})

describe('a replica, which only reads', () => {
  test.each(EXPECTED)('%s: until it is made a primary', async (onUnavailable, source, count) => {
    const primary = await startRedis({ config: { 'repl-diskless-sync-delay': 0 } })
    others.push(primary)
    const watched = watch(await connected(server.port), { onUnavailable, hosts: 2 })
    await server.send('REPLICAOF', primary.host, primary.port)
    await until(async () => (await server.info('master_link_status')) === 'up', 'a replica')
    const away = [...(await watched.askEach(6)), ...(await watched.askAtOnce(6))]
    expect([sources(away), admitted(away)]).toEqual([[source], count])
    await watched.untilTold('closed>open')
    expect(watched.error?.message).toMatch(/READONLY/)
    await server.send('REPLICAOF', 'NO', 'ONE')
    await watched.untilBack()
    const back = await watched.askAtOnce(8)
    expect([sources(back), admitted(back)]).toEqual([
      ['exact'],
      onUnavailable === 'local' ? admitted(back) : 5,
    ])
    expect(admitted(back)).toBeLessThanOrEqual(5)
  })
})

describe('a password', () => {
  test.each(EXPECTED)(
    '%s: set while the client is away, and taken back',
    async (onUnavailable, source, count) => {
      const watched = watch(await connected(server.port), { onUnavailable, hosts: 2 })
      expect(admitted(await watched.askEach(3))).toBe(3)
      await server.send('CONFIG', 'SET', 'requirepass', 'secret')
      const admin = await connected(server.port, { password: 'secret' })
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      const away = [...(await watched.askEach(6)), ...(await watched.askAtOnce(6))]
      expect([sources(away), admitted(away)]).toEqual([[source], count])
      await watched.untilTold('closed>open')
      await admin.config('SET', 'requirepass', '')
      await watched.untilBack()
      const back = await watched.askAtOnce(5)
      expect(sources(back)).toEqual(['exact'])
      expect(admitted(back)).toBeLessThanOrEqual(2)
    },
  )

  test('that is wrong: calls are answered in time, until it is right', async () => {
    await server.send('CONFIG', 'SET', 'requirepass', 'secret')
    const watched = watch(connect(server.port, { password: 'wrong' }), { onUnavailable: 'deny' })
    expect(sources([...(await watched.askAtOnce(5)), ...(await watched.askEach(6))])).toEqual(['closed'])
    const admin = await connected(server.port, { password: 'secret' })
    await admin.config('SET', 'requirepass', 'wrong')
    await watched.untilBack()
    const back = await watched.askAtOnce(8)
    expect([sources(back), admitted(back)]).toEqual([['exact'], 5])
    await admin.config('SET', 'requirepass', '')
  })

  test('that allows no scripts: calls are answered in time, and no breaker is fooled by what it does allow', async () => {
    await server.send('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '&*', '+@all', '-@scripting')
    const client = await connected(server.port, { username: 'reader', password: 'secret' })
    const watched = watch(client, { onUnavailable: 'deny' })
    expect(sources(await watched.askEach(8))).toEqual(['closed'])
    await watched.untilTold('closed>open')
    expect(watched.error?.message).toMatch(/NOPERM/)
    await server.send('ACL', 'SETUSER', 'reader', '+@scripting')
    await watched.untilBack()
  })
})

describe('a key that holds something else', () => {
  const GARBAGE: [string, string[]][] = [
    ['a list', ['RPUSH', 'sluice:{bad}', 'x']],
    ['a hash', ['HSET', 'sluice:{bad}', 'field', 'x']],
    ['a stream', ['XADD', 'sluice:{bad}', '*', 'field', 'x']],
    ['an empty text', ['SET', 'sluice:{bad}', '']],
    ['words', ['SET', 'sluice:{bad}', 'hello, world']],
    ['a number', ['SET', 'sluice:{bad}', '42']],
    ['bytes', ['SET', 'sluice:{bad}', '\u0000\u0001\ufffd']],
    ['what looks like ours', ['SET', 'sluice:{bad}', '1790000000000000 1 2 three 4']],
    ['more than ours', ['SET', 'sluice:{bad}', '1790000000000000 1 2 3 4 5 6 7 8 9']],
    ['numbers beyond all bounds', ['SET', 'sluice:{bad}', `${'9'.repeat(400)} ${'9'.repeat(400)} 0 1 1`]],
    ['half of ours', ['SET', 'sluice:{bad}', '1790000000000000 1790']],
  ]

  test.each(GARBAGE)(
    '%s: it alone is answered without Redis, and stays as it is',
    async (_, [name = '', ...args]) => {
      await server.send(name, ...args)
      await server.send('PEXPIRE', 'sluice:{bad}', 600_000)
      const before = await server.send('DUMP', 'sluice:{bad}')
      const watched = watch(await connected(server.port), { onUnavailable: 'deny' })
      for (let i = 0; i < 6; i++) {
        const together = await Promise.all(['good', 'bad', 'better'].map((key) => watched.ask(key)))
        expect(together.map(({ source }) => source)).toEqual(['exact', 'closed', 'exact'])
        expect(together.map(({ allowed }) => allowed)).toEqual([i < 5, false, i < 5])
      }
      await expect(watched.limiter.refund('bad', 1)).rejects.toMatchObject({
        code: 'ERR_SLUICE_UNAVAILABLE',
        message: expect.stringContaining('sluice:{bad}'),
      })
      expect(watched.changes).toEqual([])
      expect(await server.send('DUMP', 'sluice:{bad}')).toBe(before)
      await server.send('DEL', 'sluice:{bad}')
      expect((await watched.ask('bad')).source).toBe('exact')
    },
  )

  test.each([
    'fixed-window',
    'sliding-window',
    'strict-window',
    'sliding-log',
    'leaky-bucket',
    'concurrency',
  ] as const)('a %s: all of that, and what another algorithm has written', async (algorithm) => {
    const client = await connected(server.port)
    const watched = watch(client, { onUnavailable: 'deny', algorithm })
    await watch(client).ask('other')
    for (const [, [name = '', ...args]] of GARBAGE) {
      await server.send('DEL', 'sluice:{bad}')
      await server.send(name, ...args)
      await server.send('PEXPIRE', 'sluice:{bad}', 600_000)
      const before = await server.send('DUMP', 'sluice:{bad}')
      const together = await Promise.all(['bad', 'other', `good-${name}`].map((key) => watched.ask(key)))
      expect(together.map(({ source }) => source)).toEqual(['closed', expect.any(String), 'exact'])
      expect(await server.send('DUMP', 'sluice:{bad}')).toBe(before)
    }
    expect(watched.changes).toEqual([])
  })
})
