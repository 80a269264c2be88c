import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { RedisOptions } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Courier } from '../../lib/redis/courier'
import { connect, connected, cut, disconnectAll, type Probe, send, untilReady } from './courier-scene'
import { type RedisServer, startRedis } from './servers'

/** How late a timer may be on a busy machine. */
const LATENESS_MS = 1000

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})

beforeEach(async () => {
  server.resume()
  await server.send('FLUSHALL')
})

afterEach(disconnectAll)

afterAll(() => server.stop())

async function countOf(key: string): Promise<number> {
  return Number(await server.send('GET', key))
}

async function expectTimeout(probe: Probe): Promise<void> {
  await probe.done
  expect(probe.error).toMatchObject({ name: 'TransportError', kind: 'timeout' })
  expect(probe.tookMs).toBeGreaterThan(probe.timeoutMs - 2)
  expect(probe.tookMs).toBeLessThan(probe.timeoutMs + LATENESS_MS)
  expect(probe.told).toBe(1)
}

async function expectLost(probe: Probe): Promise<void> {
  await probe.done
  expect(probe.error).toMatchObject({
    name: 'TransportError',
    kind: expect.stringMatching(/^(connection|unsent)$/),
  })
  expect(probe.tookMs).toBeLessThan(LATENESS_MS)
  expect(probe.told).toBe(1)
}

async function expectCount(probe: Probe, count: number): Promise<void> {
  await probe.done
  expect([probe.error, probe.count, probe.told]).toEqual([undefined, count, 1])
}

describe('before the first connection', () => {
  test.each<[string, RedisOptions]>([
    ['no options', {}],
    ['lazyConnect', { lazyConnect: true }],
    ['enableOfflineQueue: false', { enableOfflineQueue: false }],
    ['enableReadyCheck: false', { enableReadyCheck: false }],
    ['protocol 2', { protocol: 2 }],
  ])('calls wait for it (%s)', async (_, options) => {
    const client = connect(server.port, options)
    expect(Courier.of(client).isReady).toBe(false)
    const probes = [send(client, 'a', { timeoutMs: 10_000 }), send(client, 'a', { timeoutMs: 10_000 })]
    await expectCount(probes[0] as Probe, 1)
    await expectCount(probes[1] as Probe, 2)
    expect(Courier.of(client).isReady).toBe(true)
  })

  test('calls wait no longer than they may, and are never sent', async () => {
    const swallowed: Socket[] = []
    const hole = createServer((socket) => swallowed.push(socket)).listen(0, '127.0.0.1')
    await once(hole, 'listening')
    const client = connect((hole.address() as AddressInfo).port, { maxRetriesPerRequest: null })
    await expectTimeout(send(client, 'a', { timeoutMs: 60 }))
    const command = Courier.of(client).command('PUBLISH', ['a', 'b'], 60)
    await expect(command).rejects.toMatchObject({ kind: 'timeout' })
    expect(queued(client)).toBe(0)
    client.disconnect()
    for (const socket of swallowed) socket.destroy()
    hole.close()
  })

  test('calls fail when it fails', async () => {
    const refusing = await startRedis()
    await refusing.stop()
    const client = connect(refusing.port)
    await expectLost(send(client, 'a', { timeoutMs: 20_000 }))
    await expectLost(send(client, 'a', { timeoutMs: 20_000 }))
  })
})

/** Commands that ioredis keeps until it is connected. */
function queued(client: object): number {
  return (client as { offlineQueue: { length: number } }).offlineQueue.length
}

describe('a server that has stopped', () => {
  test('calls fail in time; its late answers are nobody’s', async () => {
    const client = await connected(server.port)
    await expectCount(send(client, 'a'), 1)
    server.pause()
    const late = [send(client, 'a', { timeoutMs: 50 }), send(client, 'a', { timeoutMs: 80 })]
    for (const probe of late) await expectTimeout(probe)
    expect(Courier.of(client).stats.timeouts).toBe(2)
    server.resume()
    await expectCount(send(client, 'a', { timeoutMs: 10_000 }), 4)
    expect(late.map(({ told }) => told)).toEqual([1, 1])
  })

  test('calls that were given up are not charged when ioredis sends them again', async () => {
    const client = await connected(server.port)
    await expectCount(send(client, 'a'), 1)
    server.pause()
    // What is on its way to the stopped server is charged; what ioredis keeps for the next connection must not be.
    const late = send(client, 'a', { timeoutMs: 50 })
    await expectTimeout(late)
    cut(client)
    server.resume()
    await untilReadyAgain(client)
    await expectCount(send(client, 'b', { timeoutMs: 10_000 }), 1)
    expect(await countOf('a')).toBe(2)
    expect(late.told).toBe(1)
  })
})

async function untilReadyAgain(client: ReturnType<typeof connect>): Promise<void> {
  if (client.status === 'ready') await once(client, 'close')
  await untilReady(client)
}

describe('a connection that is cut', () => {
  test.each<[string, RedisOptions]>([
    ['no options', {}],
    ['autoResendUnfulfilledCommands: false', { autoResendUnfulfilledCommands: false }],
    ['maxRetriesPerRequest: 0', { maxRetriesPerRequest: 0 }],
    ['enableOfflineQueue: false', { enableOfflineQueue: false }],
    ['enableAutoPipelining', { enableAutoPipelining: true }],
    ['commandTimeout', { commandTimeout: 1 }],
  ])('calls in flight fail at once and are charged at most once (%s)', async (_, options) => {
    const client = await connected(server.port, options)
    await expectCount(send(client, 'a'), 1)
    server.pause()
    const inFlight = send(client, 'a', { timeoutMs: 30_000 })
    await new Promise(setImmediate)
    cut(client)
    await expectLost(inFlight)
    const after = send(client, 'a', { timeoutMs: 30_000 })
    await expectLost(after)
    server.resume()
    await untilReadyAgain(client)
    await expectCount(send(client, 'b'), 1)
    expect(await countOf('a')).toBeLessThanOrEqual(2)
  })
})

describe('a client that is closed by its user', () => {
  test.each(['disconnect', 'quit'] as const)('%s: calls in flight and later ones are told', async (how) => {
    const client = await connected(server.port, { disconnectTimeout: 50 })
    await expectCount(send(client, 'a'), 1)
    server.pause()
    const inFlight = send(client, 'a', { timeoutMs: 30_000 })
    await new Promise(setImmediate)
    const closed = client[how]()
    const behind = send(client, 'a', { timeoutMs: 30_000 })
    if (how === 'quit') server.resume()
    await Promise.all([inFlight.done, behind.done, closed])
    if (how === 'quit') await expectCount(inFlight, 2)
    else await expectLost(inFlight)
    expect([inFlight.told, behind.told, behind.count]).toEqual([1, 1, undefined])
    if (client.status !== 'end') await once(client, 'end')
    await expectLost(send(client, 'a', { timeoutMs: 30_000 }))
    await expect(Courier.of(client).command('PING', [], 30_000)).rejects.toMatchObject({ kind: 'unsent' })
  })

  test('before it was ever connected', async () => {
    const client = connect(server.port, { lazyConnect: true })
    client.disconnect()
    await expectLost(send(client, 'a', { timeoutMs: 30_000 }))
  })
})

describe('a client that does something else', () => {
  test.each<[string, RedisOptions, RegExp]>([
    ['a subscriber', { protocol: 2 }, /subscriber mode/],
    ['a monitor', { monitor: true }, /monitor/],
  ])('%s fails calls', async (kind, options, message) => {
    const client = connect(server.port, options)
    if (kind === 'a subscriber') await client.subscribe('channel')
    else await once(client, 'monitoring')
    const probe = send(client, 'a')
    await probe.done
    expect([probe.told, String(probe.error)]).toEqual([1, expect.stringMatching(message)])
  })

  test('a subscriber that may do other things meanwhile answers calls', async () => {
    const client = connect(server.port, { protocol: 3 })
    await client.subscribe('channel')
    await expectCount(send(client, 'a'), 1)
  })

  test('commandTimeout is not theirs', async () => {
    const client = await connected(server.port, { commandTimeout: 1 })
    server.pause()
    const probe = send(client, 'a', { timeoutMs: 10_000 })
    await new Promise((resolve) => setTimeout(resolve, 30))
    server.resume()
    await expectCount(probe, 1)
  })

  test('reconnectOnError that sends again does not charge again', async () => {
    await server.send('SET', 'text', 'x')
    const client = await connected(server.port, { reconnectOnError: () => 2 })
    const probe = send(client, 'text')
    await probe.done
    expect([probe.told, probe.count]).toEqual([1, undefined])
    await untilReadyAgain(client)
    await expectCount(send(client, 'a'), 1)
  })
})

test('an answer that has come in time is heard though the event loop was busy until after the deadline', async () => {
  const client = await connected(server.port)
  await expectCount(send(client, 'a'), 1)
  const probe = send(client, 'a', { timeoutMs: 20 })
  await new Promise(setImmediate)
  const untilMs = performance.now() + 150
  while (performance.now() < untilMs);
  await expectCount(probe, 2)
})

test('nothing keeps the process alive when all calls are answered', async () => {
  const client = await connected(server.port)
  await expectCount(send(client, 'a', { timeoutMs: 60_000 }), 1)
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  server.pause()
  const probe = send(client, 'a', { timeoutMs: 60_000 })
  await new Promise(setImmediate)
  expect(timers()).toBe(before + 1)
  server.resume()
  await expectCount(probe, 2)
  expect(timers()).toBe(before)
  await expectCount(send(client, 'a', { timeoutMs: 50_000 }), 3)
  expect(timers()).toBe(before)
})

test('whatever happens to connections, each call is told once and in time, and then counts are right', async () => {
  const client = await connected(server.port, { retryStrategy: () => 1 })
  const random = sequence(5)
  const probes: Probe[] = []
  for (let round = 0; round < 60; round++) {
    for (let i = random(40); i >= 0; i--) {
      probes.push(send(client, `key ${random(5)}`, { timeoutMs: 20 + 20 * random(3) }))
      if (random(4) === 0) await undefined
      if (random(9) === 0) await new Promise(setImmediate)
    }
    const fate = random(5)
    if (fate === 0) cut(client)
    else if (fate === 1) server.pause()
    else if (fate === 2) await server.send('SCRIPT', 'FLUSH')
    await new Promise((resolve) => setTimeout(resolve, random(30)))
    server.resume()
  }
  for (const probe of probes) await probe.done
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(probes.filter(({ told }) => told !== 1)).toEqual([])
  expect(probes.filter(({ tookMs, timeoutMs }) => tookMs > timeoutMs + LATENESS_MS)).toEqual([])
  const answered = probes.filter(({ count }) => count !== undefined)
  expect(answered.length).toBeGreaterThan(100)
  const seen = new Set(answered.map(({ key, count }) => `${key} ${count}`))
  expect(seen.size).toBe(answered.length)
  for (const key of new Set(probes.map((probe) => probe.key)))
    expect(await countOf(key)).toBeLessThanOrEqual(probes.filter((probe) => probe.key === key).length)
})

function sequence(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
