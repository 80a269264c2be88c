import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Redis from 'ioredis'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { findRedis } from '../../scripts/find-redis.mjs'
import { Guarded } from './guarded'
import { type RedisServer, type RedisServerOptions, sharedRedis, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

const started: RedisServer[] = []
const clients: Redis[] = []

afterEach(async () => {
  for (const client of clients.splice(0)) client.disconnect()
  await Promise.all(started.splice(0).map((server) => server.stop()))
})

async function start(options?: RedisServerOptions): Promise<RedisServer> {
  const server = await startRedis(options)
  started.push(server)
  return server
}

function clientOf({ url }: { url: string }, commandTimeout = 10_000): Redis {
  const client = new Redis(url, { commandTimeout, retryStrategy: () => 20 })
  client.on('error', () => undefined)
  clients.push(client)
  return client
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function folderOf(server: RedisServer): Promise<string> {
  const [, folder] = (await server.send('CONFIG', 'GET', 'dir')) as [string, string]
  return folder
}

describe('a server', () => {
  test('is ready at once, empty, on loopback only, and keeps nothing on disk', async () => {
    const server = await start()
    expect(server.url).toBe(`redis://127.0.0.1:${server.port}`)
    expect(await clientOf(server).ping()).toBe('PONG')
    expect(await server.send('DBSIZE')).toBe(0)
    expect(await server.send('CONFIG', 'GET', 'bind')).toEqual(['bind', '127.0.0.1'])
    expect(await server.send('CONFIG', 'GET', 'save')).toEqual(['save', ''])
    expect(await server.info('process_id')).toBe(String(server.pid))
    await server.send('SET', 'key', 'value')
    await server.restart()
    expect(await server.send('DBSIZE')).toBe(0)
  })

  test('is configured as told', async () => {
    const server = await start({ config: { requirepass: 'secret', maxmemory: '3mb' } })
    expect(server.url).toBe(`redis://:secret@127.0.0.1:${server.port}`)
    expect(await clientOf(server).config('GET', 'maxmemory')).toEqual(['maxmemory', String(3 * 2 ** 20)])
    const stranger = clientOf({ url: `redis://127.0.0.1:${server.port}` })
    await expect(stranger.get('key')).rejects.toThrow('NOAUTH')
  })

  test('that cannot start says why, and leaves nothing', async () => {
    await expect(startRedis({ config: { maxmemory: 'much' } })).rejects.toThrow(
      /FATAL CONFIG.*'maxmemory much'/s,
    )
  })

  test('does not answer while it is paused, and answers all afterwards', async () => {
    const server = await start()
    const [patient, impatient] = [clientOf(server), clientOf(server, 300)]
    await Promise.all([patient.ping(), impatient.ping()])
    server.pause()
    await expect(impatient.incr('count')).rejects.toThrow('Command timed out')
    server.resume()
    expect(await patient.incr('count')).toBe(2)
  })

  test('that is killed is gone, and comes back on the same port as another process', async () => {
    const server = await start()
    const client = clientOf(server)
    await client.set('key', 'value')
    const { pid, port } = server
    const lost = new Promise((resolve) => client.once('close', resolve))
    await server.kill()
    expect([server.isRunning, isAlive(pid)]).toEqual([false, false])
    await lost
    await expect(server.send('PING')).rejects.toThrow()
    await server.restart()
    expect([server.isRunning, server.port]).toEqual([true, port])
    expect(server.pid).not.toBe(pid)
    await until(async () => (await client.get('key')) === null, 'a client that has found it again')
  })

  test('with an append-only file knows after a restart what it knew, even if it was killed', async () => {
    const server = await start({ config: { appendonly: 'yes', appendfsync: 'always' } })
    await server.send('SET', 'first', 1)
    await server.restart()
    expect(await server.send('GET', 'first')).toBe('1')
    await server.send('SET', 'second', 2)
    server.pause()
    await server.kill()
    await server.restart()
    expect(await server.send('MGET', 'first', 'second')).toEqual(['1', '2'])
  })

  test.each(['running', 'paused', 'killed'])(
    'leaves no process and no file when it is stopped: %s',
    async (state) => {
      const server = await startRedis()
      const { pid } = server
      const folder = await folderOf(server)
      expect([isAlive(pid), existsSync(folder)]).toEqual([true, true])
      if (state === 'paused') server.pause()
      if (state === 'killed') await server.kill()
      await server.stop()
      await server.stop()
      expect([isAlive(pid), existsSync(folder), server.isRunning]).toEqual([false, false, false])
    },
  )
})

test('many servers start at the same time, each on a port of its own', async () => {
  const servers = await Promise.all(Array.from({ length: 8 }, () => start()))
  const ids = await Promise.all(servers.map((server) => server.info('run_id')))
  expect(new Set(ids).size).toBe(8)
})

test('a server whose port another has waits until it is free, and does not take the other for itself', async () => {
  const server = await start()
  await server.kill()
  const folder = mkdtempSync(join(tmpdir(), 'sluice-stranger-'))
  const settings = ['--bind', server.host, '--port', String(server.port), '--save', '']
  const stranger = await Guarded.start([String(findRedis()), ...settings], folder)
  await until(() => stranger.log.includes('Ready to accept'), 'a stranger')
  const back = server.restart()
  await until(() => server.log.includes('Address already in use'), 'a restart that fails')
  await stranger.stop()
  await back
  expect(await server.info('process_id')).toBe(String(server.pid))
})

describe('a server for tests that need no more', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
    vi.resetModules()
  })

  test('is one for all that ask, with a prefix of its own', async () => {
    vi.stubEnv('REDIS_URL', '')
    const { url, isOwn, prefix } = await sharedRedis()
    expect([isOwn, await sharedRedis()]).toEqual([true, { url, isOwn, prefix }])
    expect(prefix).toMatch(/^test-[0-9a-f]{12}$/)
    expect(await clientOf({ url }).ping()).toBe('PONG')
  })

  test('is that of REDIS_URL if there is one', async () => {
    vi.stubEnv('REDIS_URL', 'redis://127.0.0.1:1')
    vi.resetModules()
    const fresh = await vi.importActual<{ sharedRedis: typeof sharedRedis }>('./servers')
    expect(await fresh.sharedRedis()).toMatchObject({ url: 'redis://127.0.0.1:1', isOwn: false })
  })
})

describe('keys without a TTL', () => {
  test('are found among thousands, by URL, server or client with a prefix', async () => {
    const server = await start()
    const client = clientOf(server)
    const pipeline = client.pipeline()
    for (let i = 0; i < 3000; i++) pipeline.set(`key-${i}`, i, 'PX', 60_000)
    await pipeline.exec()
    const prefixed = new Redis(server.url, { keyPrefix: 'key-' })
    clients.push(prefixed)
    for (const keyspace of [server.url, server, client, prefixed]) {
      expect(await expectAllKeysHaveTtl(keyspace)).toBe(3000)
    }
    await client.persist('key-1234')
    await client.hset('other:é', 'field', 'value')
    for (const keyspace of [server.url, server, client, prefixed]) {
      await expect(expectAllKeysHaveTtl(keyspace)).rejects.toThrow('2 keys without a TTL')
    }
    await expect(expectAllKeysHaveTtl(server, 'key-12*')).rejects.toThrow('1 keys without a TTL: "key-1234"')
    expect(await expectAllKeysHaveTtl(server, 'key-2*')).toBe(1111)
  })

  test('are no error of an empty server', async () => {
    expect(await expectAllKeysHaveTtl(await start())).toBe(0)
  })
})

describe('servers end with the test run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-killed-'))
  const report = join(folder, 'report.json')
  afterAll(() => rmSync(folder, { recursive: true }))

  test.each(['all of vitest', 'its worker'])('even if %s is killed', async (victim) => {
    rmSync(report, { force: true })
    const vitest = startEndlessRun(report)
    await until(() => existsSync(report), 'a run that has started its servers')
    const { worker, servers, folders } = JSON.parse(readFileSync(report, 'utf8')) as EndlessRun
    expect(servers.map(isAlive)).toEqual([true, true, false])
    expect(folders.map((folder) => existsSync(folder))).toEqual([true, true, true])
    process.kill(victim === 'its worker' ? worker : Number(vitest.pid), 'SIGKILL')
    await until(() => !servers.some(isAlive), 'servers that are gone', 10_000)
    await until(
      () => !folders.slice(0, 2).some((folder) => existsSync(folder)),
      'folders that are gone',
      10_000,
    )
    vitest.kill('SIGKILL')
    rmSync(folders[2] as string, { recursive: true, force: true })
  })
})

interface EndlessRun {
  readonly worker: number
  /** Process ids: of one that runs, one that is paused, one that was killed. */
  readonly servers: number[]
  readonly folders: string[]
}

function startEndlessRun(report: string): ChildProcess {
  const cli = join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs')
  const config = join(__dirname, 'fixtures', 'killed.config.mts')
  return spawn(process.execPath, [cli, 'run', '--config', config], {
    cwd: join(__dirname, '..', '..'),
    env: { PATH: process.env['PATH'], REDIS_SERVER: process.env['REDIS_SERVER'], REPORT: report },
    stdio: 'ignore',
  })
}
