import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import type { RedisOptions } from 'ioredis'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { admitted, connect, connected, endScene, sources, watch } from './fixtures/scene'
import { startProxy, type TcpProxy } from './proxy'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

let server: RedisServer
let proxy: TcpProxy

beforeEach(async () => {
  server = await startRedis()
  proxy = await startProxy(server.port)
})

afterEach(async () => {
  proxy.pass()
  await endScene()
  await proxy.stop()
  if (server.isRunning) await expectAllKeysHaveTtl(server)
  await server.stop()
})

describe('a network that', () => {
  test('is slow, but not too slow: nothing changes', async () => {
    const watched = watch(await connected(proxy.port), { timeoutMs: 5000 })
    proxy.delay(30)
    const decisions = await watched.askAtOnce(8)
    expect([sources(decisions), admitted(decisions)]).toEqual([['exact'], 5])
    expect(watched.changes).toEqual([])
  })

  test.each<[string, () => void, { charges: boolean }]>([
    ['is too slow', () => proxy.delay(400), { charges: true }],
    ['swallows everything', () => proxy.drop(), { charges: false }],
    ['swallows replies', () => proxy.drop('replies'), { charges: true }],
    ['keeps everything back', () => proxy.hold(), { charges: true }],
    ['is gone', () => [proxy.refuse(), proxy.cut()], { charges: false }],
  ])('%s: calls are answered in time, and again by Redis when it is well', async (_, fail, { charges }) => {
    const watched = watch(await connected(proxy.port), { onUnavailable: 'deny', limit: 10 })
    expect(admitted(await watched.askEach(3))).toBe(3)
    fail()
    const away = [
      ...(await watched.askAtOnce(2)),
      ...(await watched.untilOpen()),
      ...(await watched.askAtOnce(20)),
    ]
    expect([sources(away), admitted(away)]).toEqual([['closed'], 0])
    await watched.untilTold('closed>open')

    proxy.pass()
    await watched.untilBack()
    const back = await watched.askAtOnce(12)
    expect(sources(back)).toEqual(['exact'])
    if (charges) expect(admitted(back)).toBeLessThanOrEqual(7)
    else expect(admitted(back)).toBe(7)
    await watched.untilTold('half-open>closed')
    expect(watched.limiter.state).toBe('closed')
  })

  test('breaks off in the middle of a reply: only the calls that it carried are answered without Redis', async () => {
    const breaker = { failures: 1000 }
    const watched = watch(await connected(proxy.port), { onUnavailable: 'deny', limit: 100, breaker })
    expect(admitted(await watched.askEach(3))).toBe(3)
    // A reply has 48 bytes for each call, and a few for their length.
    proxy.cutAfter(30)
    const broken = await watched.askAtOnce(10)
    expect([sources(broken), admitted(broken)]).toEqual([['closed'], 0])
    await watched.untilBack()
    expect((await watched.limiter.peek('key')).remaining).toBe(87)
  })

  test('is cut time and again: who is admitted is charged', async () => {
    const watched = watch(await connected(proxy.port), { onUnavailable: 'deny', limit: 1000 })
    let count = 0
    for (let i = 0; i < 10; i++) {
      const answers = watched.askAtOnce(20)
      if (i % 2 === 0) proxy.cut()
      else setImmediate(() => proxy.cut())
      const decisions = await answers
      expect(sources(decisions).filter((source) => source !== 'exact' && source !== 'closed')).toEqual([])
      count += admitted(decisions)
      await watched.untilBack()
      count += admitted(await watched.askEach(2))
    }
    expect((await watched.limiter.peek('key')).remaining).toBeLessThanOrEqual(1000 - count)
    expect(count).toBeGreaterThanOrEqual(20)
  })

  test('answers late: what comes after its time changes nothing', async () => {
    const watched = watch(await connected(proxy.port), { onUnavailable: 'allow' })
    await watched.ask()
    proxy.delay(150)
    const late = await watched.askAtOnce(3)
    expect(sources(late)).toEqual(['open'])
    proxy.pass()
    await watched.untilBack()
    const { exact, open } = watched.limiter.stats().sources
    expect([exact, open]).toEqual([
      { allowed: 1, denied: 0 },
      { allowed: 3, denied: 0 },
    ])
  })
})

const CLIENTS: [string, RedisOptions][] = [
  ['no options', {}],
  ['lazyConnect', { lazyConnect: true }],
  ['enableOfflineQueue: false', { enableOfflineQueue: false }],
  ['lazyConnect and enableOfflineQueue: false', { lazyConnect: true, enableOfflineQueue: false }],
  ['maxRetriesPerRequest: null', { maxRetriesPerRequest: null }],
  ['enableReadyCheck: false', { enableReadyCheck: false }],
  ['connectTimeout and commandTimeout', { connectTimeout: 50, commandTimeout: 30 }],
  ['autoResendUnfulfilledCommands: false', { autoResendUnfulfilledCommands: false }],
  ['enableAutoPipelining', { enableAutoPipelining: true }],
  ['keyPrefix', { keyPrefix: 'mine:' }],
]

describe.each(CLIENTS)('a client with %s', (_, options) => {
  test('starts before Redis does', async () => {
    await server.kill()
    const watched = watch(connect(proxy.port, options), { hosts: 2 })
    const away = [...(await watched.askAtOnce(4)), ...(await watched.askEach(4))]
    expect([sources(away), admitted(away)]).toEqual([['local'], 2])
    await server.restart()
    await watched.untilBack()
    const decisions = await watched.askAtOnce(8)
    expect(sources(decisions)).toEqual(['exact'])
    expect(admitted(decisions)).toBeLessThanOrEqual(5)
  })

  test('loses its connection', async () => {
    const watched = watch(connect(proxy.port, options), { onUnavailable: 'deny', timeoutMs: 1000 })
    await watched.untilBack()
    expect(admitted(await watched.askEach(3))).toBe(3)
    proxy.refuse()
    proxy.cut()
    const away = await watched.askEach(6)
    expect([sources(away), admitted(away)]).toEqual([['closed'], 0])
    proxy.pass()
    await watched.untilBack()
    const back = await watched.askAtOnce(4)
    expect([sources(back), admitted(back)]).toEqual([['exact'], 2])
  })
})

describe('a client that the user', () => {
  test.each<['quit' | 'disconnect']>([['quit'], ['disconnect']])(
    'ends by %s: calls are answered all the same',
    async (how) => {
      const client = await connected(server.port)
      const watched = watch(client, { onUnavailable: 'deny', limit: 100 })
      await watched.ask()
      const onTheirWay = watched.askAtOnce(20)
      const ended = once(client, 'end')
      if (how === 'quit') await client.quit()
      else client.disconnect()
      expect(sources(await onTheirWay).filter((source) => source !== 'exact' && source !== 'closed')).toEqual(
        [],
      )
      await ended
      expect(sources(await watched.askEach(10))).toEqual(['closed'])
      await expect(watched.inTime(watched.limiter.block('key', 1000))).rejects.toMatchObject({
        code: 'ERR_SLUICE_UNAVAILABLE',
      })
      // And connects again: it is still theirs.
      await client.connect()
      await watched.untilBack()
      expect((await watched.ask()).source).toBe('exact')
    },
  )

  test('ends in the same turn: calls are answered', async () => {
    const client = await connected(server.port)
    const watched = watch(client, { onUnavailable: 'deny', limit: 100 })
    const decisions = watched.askAtOnce(5)
    client.disconnect()
    expect(sources(await decisions)).toEqual(['closed'])
  })

  test('has never connected, and ends: the limiter closes', async () => {
    const client = connect(server.port, { lazyConnect: true })
    const watched = watch(client)
    client.disconnect()
    expect((await watched.ask()).source).toBe('local')
    await watched.inTime(watched.limiter.close())
    await expect(watched.limiter.consume('key')).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
  })
})

test('what answers is no Redis: calls are answered in time', async () => {
  const nonsense = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  }).listen(0, '127.0.0.1')
  await once(nonsense, 'listening')
  const watched = watch(connect((nonsense.address() as AddressInfo).port), { onUnavailable: 'deny' })
  expect(sources(await watched.askEach(6))).toEqual(['closed'])
  await endScene()
  nonsense.close()
})
