import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Algorithm } from '../../lib/index'
import type { RedisLimiterOptions } from '../../lib/redis'
import { kill, killAll, messageOf, startProcess } from '../integration/fixtures/children'
import { FOLDER, freshName } from '../unit/regions'
import type { Job, Ran } from './fixtures/borrower.mjs'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

type Settings = Omit<RedisLimiterOptions, 'client' | 'clock'>

/** A busy machine answers late, but it answers. */
const UNHURRIED = { timeoutMs: 10_000, denyCache: false } as const

let server: RedisServer
/** From one test to the next, but for those that were killed. */
const idle: ChildProcess[] = []
const machines: string[] = []

beforeAll(async () => {
  server = await startRedis()
})

afterAll(async () => {
  await killAll()
  const isOurs = (file: string): boolean => machines.some((name) => file.startsWith(`sluice.${name}`))
  for (const file of readdirSync(FOLDER).filter(isOurs)) rmSync(join(FOLDER, file))
  await expectAllKeysHaveTtl(server)
  await server.stop()
})

/** A name that its processes share. */
function newMachine(): string {
  const name = freshName()
  machines.push(name)
  return name
}

async function ask(child: ChildProcess, job: Job): Promise<unknown> {
  const answer = messageOf(child)
  child.send(job)
  return answer
}

async function startBorrowers(count: number, settings: Settings, nowMs?: number): Promise<ChildProcess[]> {
  const limiter = { mode: 'leased' as const, prefix: `t${randomBytes(4).toString('hex')}`, ...settings }
  const at = nowMs === undefined ? {} : { nowMs }
  const alive = idle.splice(0).filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
  const missing = Math.max(count - alive.length, 0)
  const started = Array.from({ length: missing }, () => startProcess('../../redis/fixtures/borrower.mjs'))
  idle.push(...alive, ...(await Promise.all(started)))
  const children = idle.slice(0, count)
  await Promise.all(children.map((child) => ask(child, { do: 'open', url: server.url, limiter, ...at })))
  return children
}

async function runAll(children: readonly ChildProcess[], forMs: number, perTurn = 50): Promise<Ran> {
  const startAtMs = Date.now() + 30
  const job = { do: 'run', forMs, startAtMs, inFlight: 4, perTurn } as const
  const ran = (await Promise.all(children.map((child) => ask(child, job)))) as Ran[]
  const sources: Record<string, number> = {}
  for (const [name, count] of ran.flatMap((one) => Object.entries(one.sources))) {
    sources[name] = (sources[name] ?? 0) + count
  }
  return { admissions: ran.flatMap((one) => one.admissions), sources }
}

const GRID_MS = 0.25

/**
 * By how much the admissions of any interval exceed what it may have at most. The intervals begin and end at multiples of
 * GRID_MS; an admission lies in one if it was asked for and answered in it, so it was surely decided in it.
 */
function worstExcess(
  admissions: Ran['admissions'],
  most: (ms: number) => number,
  longestMs = Infinity,
): number {
  const beginMs = Math.floor(
    admissions.reduce((first, [asked]) => Math.min(first, asked), Number.POSITIVE_INFINITY),
  )
  const cells = admissions.map(([asked, answered]): [number, number] => [
    Math.floor((asked - beginMs) / GRID_MS),
    Math.ceil((answered - beginMs) / GRID_MS),
  ])
  const size = cells.reduce((last, [, end]) => Math.max(last, end), 0) + 1
  const endsByBegin: number[][] = Array.from({ length: size }, () => [])
  for (const [begin, end] of cells) endsByBegin[begin]?.push(end)
  const counts = new Uint32Array(size)
  let worst = Number.NEGATIVE_INFINITY
  for (let begin = size - 1; begin >= 0; begin--) {
    const ends = endsByBegin[begin] as number[]
    for (const end of ends) counts[end] = (counts[end] as number) + 1
    if (ends.length === 0) continue
    let sum = 0
    for (let end = begin; end < size && (end - begin) * GRID_MS <= longestMs; end++) {
      sum += counts[end] as number
      worst = Math.max(worst, sum - most((end - begin) * GRID_MS))
    }
  }
  return worst
}

/** The most admissions that surely lie in one window, of those at multiples of its length since 1970. */
function mostInWindow(admissions: Ran['admissions'], windowMs: number): number {
  const counts = new Map<number, number>()
  for (const [asked, answered] of admissions) {
    const window = Math.floor((asked - DRIFT_MS) / windowMs)
    if (window !== Math.floor((answered + DRIFT_MS) / windowMs)) continue
    counts.set(window, (counts.get(window) ?? 0) + 1)
  }
  return Math.max(...counts.values())
}

// The clocks by which processes and the server see the time differ by the part of a ms to which each process has found out
// when it began.
const DRIFT_MS = 1

describe('several hosts and one hot key, in real time', () => {
  test.each([false, true])(
    'a token bucket: no interval has more than burst and refill (on one machine: %s)',
    async (isShared) => {
      const shared = isShared ? { shared: newMachine() } : {}
      const limit = { limit: 20_000, windowMs: 1000, burst: 10_000 }
      const hosts = await startBorrowers(3, { ...UNHURRIED, ...limit, ...shared })
      const { admissions, sources } = await runAll(hosts, 1200)
      expect(worstExcess(admissions, (ms) => 10_000 + 20 * (ms + DRIFT_MS))).toBeLessThanOrEqual(0)
      expect(sources['lease']).toBeGreaterThan(5000)
    },
  )

  test('a token bucket that is asked for half of what it has', async () => {
    const hosts = await startBorrowers(2, { ...UNHURRIED, limit: 200_000, windowMs: 1000, burst: 50_000 })
    const { admissions } = await runAll(hosts, 600, 5)
    expect(worstExcess(admissions, (ms) => 50_000 + 200 * (ms + DRIFT_MS))).toBeLessThanOrEqual(0)
  })

  test.each<[Algorithm, object]>([
    ['fixed-window', { align: 'epoch' }],
    ['sliding-window', {}],
  ])('a %s: no window has more than its limit', async (algorithm, align) => {
    const limit = 8000
    const hosts = await startBorrowers(3, { ...UNHURRIED, algorithm, limit, windowMs: 400, ...align })
    const { admissions, sources } = await runAll(hosts, 1100)
    expect(mostInWindow(admissions, 400)).toBeLessThanOrEqual(limit)
    expect(mostInWindow(admissions, 400)).toBeGreaterThan(limit / 2)
    expect(sources['lease']).toBeGreaterThan(1000)
  })

  test('a strict window: no interval of one window has more than its limit', async () => {
    const limit = 6000
    const hosts = await startBorrowers(3, { ...UNHURRIED, algorithm: 'strict-window', limit, windowMs: 400 })
    const { admissions, sources } = await runAll(hosts, 1100)
    expect(worstExcess(admissions, () => limit, 400 - DRIFT_MS)).toBeLessThanOrEqual(0)
    expect(admissions.length).toBeGreaterThanOrEqual(limit)
    expect(sources['lease']).toBeGreaterThan(1000)
  })
})

describe('several hosts in frozen time', () => {
  test.each<Algorithm>(['fixed-window', 'sliding-window', 'strict-window'])(
    'a %s: exactly the limit in all',
    async (algorithm) => {
      const hosts = await startBorrowers(
        3,
        { ...UNHURRIED, algorithm, limit: 5000, windowMs: 60_000 },
        1_000_000,
      )
      const spent = (await Promise.all(hosts.map((host) => ask(host, { do: 'empty' })))) as number[]
      expect(spent.reduce((a, b) => a + b)).toBe(5000)
    },
  )

  test('a token bucket: all but what refills in two leases, at most', async () => {
    const limit = { limit: 6000, windowMs: 60_000, lease: { leaseMs: 1000 } }
    const hosts = await startBorrowers(3, { ...UNHURRIED, ...limit }, 1_000_000)
    const spent = (await Promise.all(hosts.map((host) => ask(host, { do: 'empty' })))) as number[]
    const total = spent.reduce((a, b) => a + b)
    expect(total).toBeLessThanOrEqual(6000)
    expect(total).toBeGreaterThanOrEqual(6000 - 2 * 100)
  })
})

describe('a host that is killed with tokens in hand', () => {
  const limit = { ...UNHURRIED, algorithm: 'fixed-window', limit: 5000, windowMs: 600_000 } as const

  test('the others have the rest, and no more', async () => {
    const [victim, other] = (await startBorrowers(2, limit, 1_000_000)) as [ChildProcess, ChildProcess]
    const spent = (await ask(victim, { do: 'spend', calls: 30 })) as number
    const held = (await ask(victim, { do: 'held' })) as number
    expect([spent, held > 0]).toEqual([30, true])
    await kill(victim)
    expect(await ask(other, { do: 'empty' })).toBe(5000 - 30 - held)
  })

  test('what it has borrowed for its machine, the other processes spend', async () => {
    const shared = newMachine()
    const [victim, other] = (await startBorrowers(2, { ...limit, shared }, 1_000_000)) as [
      ChildProcess,
      ChildProcess,
    ]
    expect(await ask(victim, { do: 'spend', calls: 30 })).toBe(30)
    const held = (await ask(victim, { do: 'held' })) as number
    expect([held > 0, await ask(other, { do: 'held' })]).toEqual([true, held])
    await kill(victim)
    expect(await ask(other, { do: 'empty' })).toBe(5000 - 30)
  })
})

test('nothing that is borrowed keeps a process alive', async () => {
  const [host] = (await startBorrowers(1, { ...UNHURRIED, limit: 1e6, windowMs: 1000 })) as [ChildProcess]
  expect(await ask(host, { do: 'spend', calls: 30 })).toBe(30)
  const ended = once(host, 'exit')
  host.send({ do: 'leave' } satisfies Job)
  expect(await ended).toEqual([0, null])
})
