import { type ChildProcess, spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { type Decision, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { fileOf, freshName, removeRegions } from '../unit/regions'
import { ask, kill, killAll, leave, startProcess, startProcessBy } from './fixtures/children'
import type { Job, Options } from './fixtures/jobs.mjs'

const DAYS_MS = 30 * 86_400_000
const window: Options = { algorithm: 'fixed-window', limit: 100, windowMs: DAYS_MS, maxKeys: 100 }

const opened: Limiter[] = []

afterEach(async () => {
  await killAll()
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(options: LimiterOptions): Limiter {
  return kept(new Limiter(options))
}

function kept(limiter: Limiter): Limiter {
  opened.push(limiter)
  return limiter
}

function startMany(count: number): Promise<ChildProcess[]> {
  return Promise.all(Array.from({ length: count }, () => startProcess('process.mjs')))
}

function sumOf(counts: number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

describe('processes that start together', () => {
  test('make one limiter between them, whole, and let exactly the limit pass', async () => {
    const names = Array.from({ length: 30 }, () => freshName())
    const crew = await startMany(4)
    const job: Job = {
      do: 'make-many',
      names,
      options: { ...window, limit: 1000, maxKeys: 1000 },
      calls: 400,
      startAtMs: Date.now() + 100,
    }
    type Round = { admitted: number; createdEpochMs: number }
    const byProcess = (await Promise.all(crew.map((child) => ask(child, job)))) as Round[][]
    for (const [round, name] of names.entries()) {
      const rounds = byProcess.map((rounds) => rounds[round] as Round)
      expect(sumOf(rounds.map(({ admitted }) => admitted))).toBe(1000)
      expect(new Set(rounds.map(({ createdEpochMs }) => createdEpochMs)).size).toBe(1)
      const limiter = kept(Limiter.attach(name))
      expect(limiter.stats()).toMatchObject({ allowed: 1000, denied: 600, maxKeys: 1000 })
    }
    const { processes = [] } = (opened[0] as Limiter).stats({ perProcess: true })
    expect(processes.map(({ pid }) => pid).sort()).toEqual(
      [process.pid, ...crew.map(({ pid }) => pid)].sort(),
    )
  })

  test('and hammer one key: exactly the limit, whoever asks', async () => {
    const shared = freshName()
    const limiter = open({ ...window, limit: 150_000, shared })
    const crew = await startMany(3)
    const job: Job = { do: 'spend', source: shared, calls: 60_000, startAtMs: Date.now() + 100 }
    const admitted = (await Promise.all(crew.map((child) => ask(child, job)))) as number[]
    expect(sumOf(admitted)).toBe(150_000)
    expect(limiter.allow('key')).toBe(false)
    const { processes = [], ...whole } = limiter.stats({ perProcess: true })
    expect(whole).toMatchObject({ allowed: 150_000, denied: 30_001 })
    for (const [index, child] of crew.entries()) {
      const own = { pid: child.pid, limiters: 1, allowed: admitted[index], isSelf: false }
      expect(processes).toContainEqual({ ...own, denied: 60_000 - (admitted[index] as number) })
    }
    expect(processes).toContainEqual({ pid: process.pid, limiters: 1, allowed: 0, denied: 1, isSelf: true })
  })
})

test('a policy that one process changes is that of all at their next call', async () => {
  const clock = new ManualClock()
  const shared = freshName()
  const limiter = open({ limit: 100, windowMs: 1000, maxKeys: 100, shared, clock })
  limiter.consume('key', 100)
  const child = await startProcess('process.mjs')
  const change: Job = { do: 'set-policy', source: shared, standingClock: true, policy: { limit: 1000 } }
  expect(await ask(child, change)).toMatchObject({ limit: 1000, burst: 1000 })
  expect(limiter.consume('key')).toMatchObject({ allowed: false, limit: 1000, remaining: 0, retryAfterMs: 1 })
  expect(limiter.policy.limit).toBe(1000)
  limiter.setPolicy({ limit: 50 })
  expect(await ask(child, { do: 'spend', source: shared, standingClock: true, key: 'new', calls: 60 })).toBe(
    50,
  )
})

test('what a killed process has done still counts; it itself is gone at once', async () => {
  const shared = freshName()
  const limiter = open({ ...window, shared })
  const child = await startProcess('process.mjs')
  expect(await ask(child, { do: 'spend', source: shared, calls: 30 })).toBe(30)
  expect(limiter.stats({ perProcess: true }).processes).toHaveLength(2)
  await kill(child)
  const { allowed, processes } = limiter.stats({ perProcess: true })
  expect(allowed).toBe(30)
  expect(processes).toEqual([{ pid: process.pid, limiters: 1, allowed: 0, denied: 0, isSelf: true }])
  expect(limiter.consume('key', 71).allowed).toBe(false)
  const heir = await startProcess('process.mjs')
  expect(await ask(heir, { do: 'spend', source: shared, calls: 100 })).toBe(70)
  const found = limiter.stats({ perProcess: true })
  expect(found).toMatchObject({ allowed: 100, denied: 31 })
  expect(found.processes).toContainEqual({
    pid: heir.pid,
    limiters: 1,
    allowed: 70,
    denied: 30,
    isSelf: false,
  })
})

test('a process’s place ends with it, though its children live on', async () => {
  const shared = freshName()
  const limiter = open({ ...window, shared })
  const parent = await startProcess('with-child.mjs', shared)
  const childPid = Number(await ask(parent, 'pid'))
  try {
    expect(limiter.stats({ perProcess: true }).processes).toHaveLength(2)
    await kill(parent)
    expect(process.kill(childPid, 0)).toBe(true)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ pid: process.pid }])
  } finally {
    process.kill(childPid)
  }
})

test.each(['exit', 'kill'])('a rolling restart hands nobody a fresh burst (%s)', async (end) => {
  const shared = freshName()
  const options: Options = { ...window, shared }
  const job: Job = { do: 'spend', options, calls: 15 }
  const { ino } = await generation()
  expect((await generation()).ino).toBe(ino)
  expect(await ask(await startProcess('process.mjs'), { ...job, calls: 100 })).toBe(40)
  expect(open(options).stats({ perProcess: true })).toMatchObject({ allowed: 100, denied: 60 })

  /** Two processes that spend 30 between them; then there is none. */
  async function generation(): Promise<{ ino: number }> {
    const crew = await startMany(2)
    expect(await Promise.all(crew.map((child) => ask(child, job)))).toEqual([15, 15])
    await Promise.all(crew.map((child) => (end === 'kill' ? kill(child) : leave(child))))
    return statSync(fileOf(shared))
  }
})

describe('the machine’s clock is the same for all', () => {
  /** What is left of a wait that was `beforeMs` at `sinceMs`, as long as it takes to ask. */
  function expectRest(restMs: number, beforeMs: number, sinceMs: number): void {
    const passedMs = performance.now() - sinceMs
    expect(restMs).toBeLessThanOrEqual(beforeMs)
    // The two clocks that are compared may be corrected at different rates.
    expect(restMs).toBeGreaterThanOrEqual(beforeMs - passedMs - 1)
  }

  // What a container may have. Where this user may not make any, the test does without.
  const namespaces = ['--user', '--map-root-user', '--time', '--monotonic', '100000', '--pid', '--kill-child']
  const canMakeThem = spawnSync('unshare', [...namespaces, 'true']).status === 0
  const start = (): Promise<ChildProcess> =>
    canMakeThem ? startProcessBy('unshare', namespaces, 'process.mjs') : startProcess('process.mjs')

  test(
    canMakeThem
      ? 'also in namespaces of its own for users, processes and time'
      : 'also in another process (namespaces cannot be made here)',
    async () => {
      const shared = freshName()
      const limiter = open({ limit: 100, windowMs: DAYS_MS, maxKeys: 100, shared })
      const child = await start()
      const sinceMs = performance.now()
      const { resetAfterMs } = limiter.consume('key', 100)
      const seen = (await ask(child, { do: 'peek', source: shared })) as Decision
      expect(seen).toMatchObject({ allowed: false, remaining: 0 })
      expectRest(seen.resetAfterMs, resetAfterMs, sinceMs)
      const sinceOtherMs = performance.now()
      expect(await ask(child, { do: 'spend', source: shared, key: 'other', calls: 101 })).toBe(100)
      const mine = limiter.peek('other')
      expect(mine).toMatchObject({ allowed: false, remaining: 0 })
      expectRest(mine.resetAfterMs, DAYS_MS, sinceOtherMs)
      expect(limiter.stats({ perProcess: true }).processes).toHaveLength(2)
      await leave(child)
      expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ pid: process.pid, allowed: 1 }])
    },
  )

  test('windows that follow the epoch end at the same time for all', async () => {
    const shared = freshName()
    const options: Options = { ...window, align: 'epoch', shared }
    const limiter = open(options)
    const child = await start()
    const sinceMs = performance.now()
    const { resetAfterMs } = limiter.consume('key')
    expect(Math.abs(resetAfterMs - (DAYS_MS - (Date.now() % DAYS_MS)))).toBeLessThan(1000)
    const seen = (await ask(child, { do: 'peek', options })) as Decision
    expectRest(seen.resetAfterMs, resetAfterMs, sinceMs)
  })
})
