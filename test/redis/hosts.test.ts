import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Courier } from '../../lib/redis/courier'
import { type Commander, Hosts, type HostsOptions } from '../../lib/redis/hosts'
import { connect, disconnectAll } from './courier-scene'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'
import { until } from './until'

let server: RedisServer
const running: Hosts[] = []
const fakes: Fake[] = []

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.stop())
afterEach(async () => {
  for (const fake of fakes.splice(0)) fake.end()
  await Promise.all(running.splice(0).map((hosts) => hosts.stop()))
  disconnectAll()
  await server.send('FLUSHALL')
})

function open(options: Partial<HostsOptions> = {}, commander?: Commander): Hosts {
  const way = commander ?? Courier.of(connect(server.port))
  const hosts = new Hosts(way, { prefix: 'app', least: 1, everyMs: 400, ...options })
  running.push(hosts)
  return hosts
}

async function members(): Promise<string[]> {
  return (await server.send('ZRANGE', 'app:hosts', '0', '-1')) as string[]
}

/** Redis, as far as this test lets it answer. */
class Fake implements Commander {
  readonly asked: string[] = []
  readonly open: { resolve(reply: unknown): void; reject(error: Error): void }[] = []

  #isOver = false

  constructor() {
    fakes.push(this)
  }

  /** Answers nothing any more. */
  end(): void {
    this.#isOver = true
    while (this.open.length > 0) this.answer(new Error('over'))
  }

  command(_name: string, args: readonly string[]): Promise<unknown> {
    if (this.#isOver) return Promise.reject(new Error('over'))
    this.asked.push(args.at(-1) as string)
    return new Promise((resolve, reject) => this.open.push({ resolve, reject }))
  }

  answer(reply: unknown): void {
    const call = this.open.shift()
    if (reply instanceof Error) call?.reject(reply)
    else call?.resolve(reply)
  }
}

test('hosts come and go, and all count them', async () => {
  const [a, b, c] = [open(), open(), open()]
  expect(a.count).toBe(1)
  for (const hosts of [a, b, c]) hosts.start()
  await until(() => [a, b, c].every(({ count }) => count === 3), 'all know of all')
  expect(await expectAllKeysHaveTtl(server.url)).toBe(1)
  await c.stop()
  await until(() => a.count === 2 && b.count === 2, 'one is gone')
  await b.stop()
  await a.stop()
  expect(await members()).toEqual([])
})

test('one that is not heard of any more lapses after three beats, and the last one with its key', async () => {
  const a = open({ everyMs: 500, id: 'a' })
  await server.send('ZADD', 'app:hosts', Date.now(), 'killed')
  await server.send('ZADD', 'app:hosts', Date.now() - 2000, 'killed before')
  a.start()
  await until(() => a.count === 2, 'the first counts')
  await until(() => a.count === 1, 'it does not any more')
  expect(await members()).toEqual(['a'])
  // As if killed: its last beat is on the server, and none follows.
  running.splice(0)
  disconnectAll()
  await until(async () => (await server.send('EXISTS', 'app:hosts')) === 0, 'nothing is left')
})

test('times to come, as after a failover to a server whose clock is behind, do not stay for good', async () => {
  await server.send('ZADD', 'app:hosts', Date.now() + 3_600_000, 'of tomorrow')
  const a = open({ id: 'a' })
  a.start()
  await until(async () => (await members()).join() === 'a', 'only the one that is there')
  expect(a.count).toBe(1)
})

test('there are at least as many as the user says', async () => {
  const changes: number[] = []
  const hosts = ['a', 'b', 'c', 'd'].map((id) =>
    open({ least: 3, id, onChange: (count) => changes.push(count) }),
  )
  expect(hosts[0]?.count).toBe(3)
  hosts[0]?.start()
  hosts[1]?.start()
  await until(async () => (await members()).length === 2, 'two are there')
  expect(hosts[0]?.count).toBe(3)
  expect(changes).toEqual([])
  hosts[2]?.start()
  hosts[3]?.start()
  await until(() => hosts.every(({ count }) => count === 4), 'all know of four')
  expect(changes).toEqual([4, 4, 4, 4])
})

test('processes that share are one host, which is there until nobody beats', async () => {
  const shared = [open({ shared: 'api' }), open({ shared: 'api' })]
  const other = open({ shared: 'web' })
  for (const hosts of [...shared, other]) hosts.start()
  await until(() => [...shared, other].every(({ count }) => count === 2), 'two')
  await shared[0]?.stop()
  expect(await members()).toHaveLength(2)
  await shared[1]?.stop()
  await until(() => other.count === 1, 'the first has lapsed')
})

test('while Redis says nothing of use, the count stays as it was', async () => {
  const redis = new Fake()
  const hosts = open({ everyMs: 20 }, redis)
  hosts.start()
  redis.answer(5)
  await until(() => hosts.count === 5, 'the answer has come')
  for (const reply of [new Error('gone'), undefined, 'five', Number.NaN, -0.5]) {
    await until(() => redis.open.length === 1, 'the next beat')
    redis.answer(reply)
    await new Promise((resolve) => setImmediate(resolve))
    expect(hosts.count).toBe(5)
  }
})

test('a beat that failed is tried again sooner than the next one is due', async () => {
  const redis = new Fake()
  const hosts = open({ everyMs: 5000 }, redis)
  hosts.start()
  const sinceMs = performance.now()
  redis.answer(new Error('not connected'))
  await until(() => redis.asked.length === 2, 'once more')
  expect(performance.now() - sinceMs).toBeLessThan(4500)
  redis.answer(1)
})

test('stopped while a beat is under way, it leaves once more after that', async () => {
  const redis = new Fake()
  const hosts = open({}, redis)
  hosts.start()
  hosts.start()
  const stopped = hosts.stop()
  expect(redis.asked).toEqual(['join', 'leave'])
  redis.answer(7)
  redis.answer(0)
  await stopped
  await until(() => redis.asked.length === 3, 'it leaves')
  expect(redis.asked[2]).toBe('leave')
  redis.answer(new Error('gone'))
  await hosts.stop()
  expect(redis.asked).toHaveLength(3)
})

test('stop never rejects', async () => {
  const redis = new Fake()
  const hosts = open({}, redis)
  hosts.start()
  redis.answer(1)
  const stopped = hosts.stop()
  redis.answer(new Error('gone'))
  await expect(stopped).resolves.toBeUndefined()
})
