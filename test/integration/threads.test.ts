import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { memoryUsage } from 'node:process'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterHandle, type LimiterOptions, ManualClock } from '../../lib/index'
import { freshName, held, removeRegions } from '../unit/regions'
import type { Job } from './fixtures/jobs.mjs'

const DAYS_MS = 30 * 86_400_000
const window: LimiterOptions = { algorithm: 'fixed-window', limit: 100_000, windowMs: DAYS_MS, maxKeys: 100 }

const opened: Limiter[] = []
const workers: Worker[] = []

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
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

function start(file: string, workerData: object): Worker {
  const worker = new Worker(path.join(__dirname, 'fixtures', file), { workerData })
  workers.push(worker)
  return worker
}

async function messageOf(worker: Worker): Promise<unknown> {
  const [message] = await once(worker, 'message')
  return message
}

function ask(worker: Worker, job: Job): Promise<unknown> {
  const answer = messageOf(worker)
  worker.postMessage(job)
  return answer
}

const KINDS: [string, () => Partial<LimiterOptions>][] = [
  ['private', () => ({})],
  ['shared by name', () => ({ shared: freshName() })],
]

describe.each(KINDS)('a limiter that is %s', (_, options) => {
  test('is handed over in workerData, in a message, and on to a worker’s worker', async () => {
    const clock = new ManualClock()
    const limiter = open({ limit: 10, windowMs: 1000, maxKeys: 100, clock, ...options() })
    const job: Job = { do: 'spend', source: limiter.handle(), standingClock: true, calls: 2 }
    expect(await messageOf(start('thread.mjs', { job }))).toBe(2)
    expect(limiter.peek('key').remaining).toBe(8)
    const listener = start('thread.mjs', { stays: true })
    expect(await ask(listener, { ...job, calls: 3 })).toBe(3)
    expect(limiter.peek('key').remaining).toBe(5)
    expect(await messageOf(start('thread.mjs', { job, depth: 2 }))).toBe(2)
    expect(await ask(listener, { ...job, calls: 9 })).toBe(3)
    expect(limiter.consume('key')).toMatchObject({ allowed: false, remaining: 0 })
    expect(limiter.stats()).toMatchObject({ allowed: 10, denied: 7 })
  })

  test('lets exactly the limit pass when all threads race for one key', async () => {
    const limiter = open({ ...window, ...options() })
    const threads = Array.from({ length: 4 }, () => start('thread.mjs', { stays: true }))
    await Promise.all(
      threads.map((thread) => ask(thread, { do: 'spend', source: limiter.handle(), key: 'first' })),
    )
    const job: Job = {
      do: 'spend',
      source: limiter.handle(),
      calls: 60_000,
      startAtMs: Date.now() + 50,
    }
    const admitted = (await Promise.all(threads.map((thread) => ask(thread, job)))) as number[]
    expect(admitted.reduce((sum, count) => sum + count)).toBe(100_000)
    expect(limiter.allow('key')).toBe(false)
    expect(limiter.stats()).toMatchObject({ allowed: 100_004, denied: 140_001 })
  })

  test('is changed by a worker, for everybody', async () => {
    const limiter = open({ ...window, ...options() })
    limiter.allow('key', 60)
    const job: Job = { do: 'set-policy', source: limiter.handle(), policy: { limit: 70 } }
    expect(await messageOf(start('thread.mjs', { job }))).toMatchObject({ limit: 70 })
    expect(limiter.consume('key', 0)).toMatchObject({ limit: 70, remaining: 10 })
  })

  test('goes on when workers are terminated while they hammer it, and every call is counted', async () => {
    const limiter = open({ ...window, limit: 2 ** 40, ...options() })
    for (let round = 0; round < 15; round++) {
      const pair = [0, 1].map(() => start('loop-thread.cjs', { source: limiter.handle(), end: 'terminate' }))
      await Promise.all(pair.map(messageOf))
      for (let i = 0; i < 1000 * round; i++) limiter.allow('key')
      await Promise.all(pair.map((worker) => worker.terminate()))
    }
    const spent = 2 ** 40 - limiter.peek('key').remaining
    expect(spent).toBeGreaterThan(15 * 1000)
    expect(limiter.stats()).toMatchObject({ allowed: spent + 15 * 2 * 3, denied: 0 })
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
  })
})

describe('environments end in any order', () => {
  test('the creator first: who attached keeps the limiter', async () => {
    const code = `const { Limiter } = require('sluice')
      const limiter = new Limiter({ limit: 10, windowMs: 86_400_000, maxKeys: 100 })
      limiter.allow('key', 4)
      const { parentPort } = require('node:worker_threads')
      parentPort.postMessage(limiter.handle())
      parentPort.once('message', () => parentPort.postMessage(limiter.allow('key', 2)))`
    const worker = new Worker(code, { eval: true })
    workers.push(worker)
    const handle = (await messageOf(worker)) as LimiterHandle
    const limiter = kept(Limiter.attach(handle))
    const ended = once(worker, 'exit')
    worker.postMessage('end')
    expect(await messageOf(worker)).toBe(true)
    await ended
    expect(limiter.peek('key').remaining).toBe(4)
    const heir = kept(Limiter.attach(handle))
    limiter.close()
    expect(heir.consume('key', 4)).toMatchObject({ allowed: true, remaining: 0 })
    expect(heir.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
  })

  test('who attached first: nobody else notices', async () => {
    const limiter = open({ limit: 10, windowMs: DAYS_MS, maxKeys: 100 })
    const worker = start('thread.mjs', { job: { do: 'spend', source: limiter.handle(), calls: 4 } })
    await Promise.all([messageOf(worker), once(worker, 'exit')])
    expect(limiter.peek('key').remaining).toBe(6)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1, allowed: 0 }])
  })

  test('a handle of a worker that has ended with its limiter is a coded error', async () => {
    const code = `const { Limiter } = require('sluice')
      const limiter = new Limiter({ limit: 10, windowMs: 1000, maxKeys: 100 })
      require('node:worker_threads').parentPort.postMessage(limiter.handle())`
    const worker = new Worker(code, { eval: true })
    const [handle] = await Promise.all([messageOf(worker), once(worker, 'exit')])
    expect(() => Limiter.attach(handle as LimiterHandle)).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_HANDLE' }),
    )
  })

  test.each(['close first', 'leave open'])('the process exits while its threads hammer (%s)', async (how) => {
    const script = path.join(__dirname, 'fixtures', 'exit-with-threads.mjs')
    for (let i = 0; i < 5; i++) {
      const child = execFile(process.execPath, [script, how], () => undefined)
      expect(await once(child, 'exit')).toEqual([7, null])
    }
  })
})

describe('a thousand workers that attach, decide and end', () => {
  const ENDS = ['by itself', 'close', 'terminate'] as const

  async function runOne(source: LimiterHandle, end: (typeof ENDS)[number]): Promise<void> {
    const worker = start('loop-thread.cjs', { source, end })
    const ended = once(worker, 'exit')
    expect(await messageOf(worker)).toBe('decided')
    if (end === 'terminate') await worker.terminate()
    await ended
    workers.splice(workers.indexOf(worker), 1)
  }

  async function runMany(sources: LimiterHandle[], count: number): Promise<void> {
    let started = 0
    const lane = async (): Promise<void> => {
      while (started < count) {
        const index = started++
        await runOne(sources[index % 2] as LimiterHandle, ENDS[index % 3] as (typeof ENDS)[number])
      }
    }
    await Promise.all([lane(), lane(), lane()])
  }

  function footprint(): { files: number; mappings: number; rssMiB: number } {
    const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n').length
    return {
      files: readdirSync('/proc/self/fd').length,
      mappings,
      rssMiB: memoryUsage().rss / 2 ** 20,
    }
  }

  test('leave no file, mapping, place or memory behind', async () => {
    // Large enough that a few of them would show.
    const tables = [{}, { shared: freshName() }].map((more) =>
      open({ limit: 2 ** 40, windowMs: DAYS_MS, maxKeys: 200_000, ...more }),
    )
    const handles = tables.map((limiter) => limiter.handle())
    await runMany(handles, 100)
    const [before, heldBefore] = [footprint(), held()]
    await runMany(handles, 900)
    const after = footprint()
    expect(held()).toEqual(heldBefore)
    expect(after.files).toBeLessThanOrEqual(before.files + 5)
    // The threads' own stacks and heaps come and go: a few dozen. One that each worker leaves would be 900.
    expect(after.mappings).toBeLessThanOrEqual(before.mappings + 300)
    expect(after.rssMiB).toBeLessThanOrEqual(before.rssMiB + 50)
    for (const limiter of tables) {
      expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
    }
  }, 120_000)
})
