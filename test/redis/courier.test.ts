import { tracingChannel } from 'node:diagnostics_channel'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Courier } from '../../lib/redis/courier'
import { COUNT, connected, disconnectAll, Probe, script, send } from './courier-scene'
import { type RedisServer, startRedis } from './servers'

let server: RedisServer

/** Answers what it was given, instead of an answer: in a key. */
const ECHO = script(`
redis.call('SET', KEYS[1], cjson.encode({ KEYS, ARGV }), 'PX', 600000)
return string.rep('\\0', 48 * #KEYS)`)

beforeAll(async () => {
  server = await startRedis()
})

beforeEach(async () => {
  await server.send('FLUSHALL')
})

afterEach(disconnectAll)

afterAll(() => server.stop())

async function evalshaCalls(): Promise<number> {
  const line = String(await server.send('INFO', 'commandstats'))
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(line)?.[1] ?? 0)
}

async function done(probes: readonly Probe[]): Promise<void> {
  await Promise.all(probes.map((probe) => probe.done))
  expect(probes.filter(({ told }) => told !== 1)).toEqual([])
}

describe('calls of one tick', () => {
  test('go as one script call, and each has its own answer', async () => {
    const client = await connected(server.port)
    await done([send(client, 'warm')])
    const before = await evalshaCalls()
    const keys = ['a', 'b', 'a', 'c', 'a']
    const items = ['1', 'l 1', 'k 1', 'l 2', '7']
    const probes = keys.map((key, i) => {
      const isLong = (items[i] as string).startsWith('l')
      return send(client, key, { item: items[i] as string, replyBytes: isLong ? 72 : 48 })
    })
    await done(probes)
    expect(probes.map(({ count }) => count)).toEqual([1, 1, 2, 1, 3])
    expect(await evalshaCalls()).toBe(before + 1)
  })

  test('go together whether they come at once or from promises that are settled by then', async () => {
    const client = await connected(server.port)
    await done([send(client, 'warm')])
    const before = Courier.of(client).stats
    const probes = [send(client, 'a')]
    const later = async (depth: number): Promise<void> => {
      for (let i = 0; i < depth; i++) await undefined
      probes.push(send(client, 'a'))
    }
    await Promise.all([later(1), later(5), later(30)])
    await done(probes)
    const { scriptCalls, calls } = Courier.of(client).stats
    expect([scriptCalls - before.scriptCalls, calls - before.calls]).toEqual([1, 4])
  })

  test('carry at most 128 keys each, in order', async () => {
    await server.send('SCRIPT', 'LOAD', COUNT.text)
    const client = await connected(server.port)
    const probes = Array.from({ length: 300 }, () => send(client, 'one key'))
    await done(probes)
    expect(probes.map(({ count }) => count)).toEqual(probes.map((_, i) => i + 1))
    expect(Courier.of(client).stats).toEqual({ scriptCalls: 3, calls: 300, evals: 0, timeouts: 0 })
  })

  test('go apart if script, clock or timeout differ', async () => {
    const client = await connected(server.port)
    const other = script(`${COUNT.text} `)
    const kinds = [{}, { script: other }, { now: '5' }, { timeoutMs: 1999 }]
    const probes = [...kinds, ...kinds].map((kind) => send(client, 'a', kind))
    await done(probes)
    expect(Courier.of(client).stats.scriptCalls).toBe(4)
    expect(probes.map(({ count }) => count).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  test.each([
    [{ keyPrefix: undefined }, ''],
    [{ keyPrefix: 'pré:' }, 'pré:'],
  ])('arrive as they are meant to, with the options %j of the client', async (options, prefix) => {
    const client = await connected(server.port, options)
    const keys = ['plain', 'é', '中𝄞', '', 'x'.repeat(3000), '\r\n$1\r\n', '\0']
    const policies = ['P', 'Q é', 'P', 'P', 'Q é', 'R', 'P']
    const probes = keys.map((key, i) =>
      send(client, key, { script: ECHO, policy: policies[i] as string, item: `i${i}`, now: '-17' }),
    )
    await done(probes)
    expect(probes.map(({ error }) => error)).toEqual(keys.map(() => undefined))
    const seen = JSON.parse(String(await server.send('GET', `${prefix}plain`)))
    const items = ['1:i0', '2:i1', '1:i2', '1:i3', '2:i4', '3:i5', '1:i6']
    expect(seen).toEqual([keys.map((key) => prefix + key), ['-17', '3', 'P', 'Q é', 'R', ...items]])
  })

  test('have one item for all, if it is the same', async () => {
    const client = await connected(server.port)
    await done(['same a', 'same b', 'same c'].map((key) => send(client, key, { script: ECHO, item: '7' })))
    const [keys, args] = JSON.parse(String(await server.send('GET', 'same a')))
    expect([keys, args.slice(1)]).toEqual([
      ['same a', 'same b', 'same c'],
      ['1', 'p', '7'],
    ])
  })

  test('of one policy have no index', async () => {
    const client = await connected(server.port)
    await done([
      send(client, 'a', { script: ECHO, item: 'k 1' }),
      send(client, 'b', { script: ECHO, item: '' }),
    ])
    expect(JSON.parse(String(await server.send('GET', 'a')))).toEqual([
      ['a', 'b'],
      ['', '1', 'p', 'k 1', ''],
    ])
  })
})

describe('a script that the server does not know', () => {
  test('is sent whole, once', async () => {
    const client = await connected(server.port)
    await server.send('SCRIPT', 'FLUSH')
    for (const expected of [1, 2]) {
      const probe = send(client, 'a')
      await done([probe])
      expect(probe.count).toBe(expected)
    }
    expect(Courier.of(client).stats).toMatchObject({ scriptCalls: 2, evals: 1 })
    await server.send('SCRIPT', 'FLUSH')
    const probes = Array.from({ length: 400 }, () => send(client, 'a'))
    await done(probes)
    expect(probes.map(({ count }) => count)).toEqual(probes.map((_, i) => i + 3))
  })

  test('and may not be told of fails', async () => {
    await server.send('SCRIPT', 'FLUSH')
    await server.send('ACL', 'SETUSER', 'limited', 'on', '>pw', '~*', '+@all', '-eval')
    const client = await connected(server.port, { username: 'limited', password: 'pw' })
    const probe = send(client, 'a')
    await done([probe])
    expect(probe.error?.message).toMatch(/^NOPERM/)
  })
})

describe('a reply that is no answer', () => {
  test.each([
    ['an error of the script', `return redis.error_reply('OOM no memory')`, /^OOM/],
    ['too short', `return '12345'`, /expected form/],
    ['too long', `return string.rep('x', 97)`, /expected form/],
    ['a number', 'return 48', /expected form/],
    ['nothing', 'return nil', /expected form/],
    ['a list', 'return {1, 2}', /expected form/],
    ['a script that does not compile', 'return (', /compil/],
  ])('%s: all calls of the script call fail', async (_, text, message) => {
    const client = await connected(server.port)
    const bad = script(text)
    const probes = [send(client, 'a', { script: bad }), send(client, 'b', { script: bad }), send(client, 'c')]
    await done(probes)
    expect(probes[0]?.error?.message).toMatch(message)
    expect(probes[1]?.error).toBe(probes[0]?.error)
    expect(probes[2]?.count).toBe(1)
  })

  test('inside MULTI', async () => {
    const client = await connected(server.port)
    await done([send(client, 'a')])
    await client.multi({ pipeline: false })
    const probe = send(client, 'a')
    await done([probe])
    expect(probe.error?.message).toMatch(/inside MULTI/)
    await client.discard()
    const after = send(client, 'a')
    await done([after])
    expect(after.count).toBe(2)
  })
})

describe('sendSet', () => {
  test('sends one script call with its own arguments, and repeats it if the script is unknown', async () => {
    const client = await connected(server.port, { keyPrefix: 'x:' })
    const text = `redis.call('SET', KEYS[1], cjson.encode({ KEYS, ARGV }), 'PX', 600000)
    return struct.pack('<dddddddddddd', 5, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0)`
    const probe = new Probe('')
    const { now, timeoutMs } = probe
    const call = {
      script: script(text),
      now,
      timeoutMs,
      keys: ['{k}1', '{k}é'],
      args: ['1 p', '2 q', 'c', '1', '2'],
      replyBytes: 96,
      answer: (reply: Buffer, offset: number) => probe.answer(reply, offset + 48),
      fail: (error: Error) => probe.fail(error),
    }
    Courier.of(client).sendSet(call)
    await done([probe])
    expect(probe.count).toBe(6)
    const seen = JSON.parse(String(await server.send('GET', 'x:{k}1')))
    expect(seen).toEqual([
      ['x:{k}1', 'x:{k}é'],
      ['', '1 p', '2 q', 'c', '1', '2'],
    ])
    const short = new Probe('')
    Courier.of(client).sendSet({ ...call, replyBytes: 48, fail: (error) => short.fail(error) })
    await done([short])
    expect(short.error?.message).toMatch(/expected form/)
  })
})

describe('command', () => {
  test('resolves with the reply, bytes as strings', async () => {
    const courier = Courier.of(await connected(server.port, { keyPrefix: 'x:' }))
    expect(await courier.command('PUBLISH', ['channel', 'é'], 2000)).toBe(0)
    expect(await courier.command('echo', ['é'], 2000)).toBe('é')
    expect(await courier.command('EVAL', [`return {KEYS[1], ARGV[1], {7}}`, '1', 'k', 'a'], 2000)).toEqual([
      'x:k',
      'a',
      [7],
    ])
  })

  test('rejects with what the server says, and repeats nothing', async () => {
    const courier = Courier.of(await connected(server.port))
    await expect(courier.command('NONSENSE', [], 2000)).rejects.toThrow(/unknown command/)
    await expect(courier.command('evalsha', ['0'.repeat(40), '0'], 2000)).rejects.toThrow(/NOSCRIPT/)
    expect(courier.stats.evals).toBe(0)
  })
})

test('whoever traces or wraps commands sees them like any other', async () => {
  const traced: unknown[] = []
  const channel = tracingChannel<string, { command: string; args: string[]; error?: Error }>(
    'ioredis:command',
  )
  const subscribers = {
    start: ({ command, args }: { command: string; args: string[] }) => traced.push(['start', command, args]),
    asyncEnd: ({ error }: { error?: Error }) => traced.push(['end', error?.message.slice(0, 8)]),
  }
  channel.subscribe(subscribers as unknown as Parameters<typeof channel.subscribe>[0])
  try {
    const client = await connected(server.port, { disableClientInfo: true })
    await server.send('SCRIPT', 'FLUSH')
    traced.length = 0
    // As instrumentation does: they call the former functions without `this`, and return promises of their own.
    const sendCommand = client.sendCommand.bind(client)
    client.sendCommand = (async (command: { resolve: (reply: unknown) => void; promise: unknown }) => {
      const { resolve } = command
      command.resolve = (reply) => resolve(reply)
      sendCommand(command as never)
      return command.promise
    }) as never
    const probe = send(client, 'a')
    await done([probe])
    expect(probe.count).toBe(1)
    const args = ['1', 'a', '', '1', 'p', '1']
    expect(traced).toEqual([
      ['start', 'evalsha', [COUNT.sha, ...args]],
      ['start', 'eval', [COUNT.text, ...args]],
      ['end', 'NOSCRIPT'],
      ['end', undefined],
    ])
  } finally {
    channel.unsubscribe(subscribers as unknown as Parameters<typeof channel.unsubscribe>[0])
  }
})

test('there is one courier, and a fixed number of listeners, for each client', async () => {
  const client = await connected(server.port)
  const listeners = (): number[] => client.eventNames().map((name) => client.listenerCount(name))
  const courier = Courier.of(client)
  const before = listeners()
  expect(before.reduce((a, b) => a + b)).toBeLessThanOrEqual(8)
  for (let i = 0; i < 50; i++) await done([send(client, 'a')])
  expect(Courier.of(client)).toBe(courier)
  expect(listeners()).toEqual(before)
  const another = await connected(server.port)
  expect(Courier.of(another)).not.toBe(courier)
  expect([courier.isReady, courier.route('a')]).toEqual([true, ''])
})
