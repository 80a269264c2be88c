import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as passed } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Limiter, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import { ask, killAll, startProcess } from './fixtures/children'

const KILLS = 200
const HAMMERING_AT_ONCE = 3
const LONGEST_WAIT_MS = 2000
const LIMIT = 2 ** 40
const SCARCE_LIMIT = 2000
const TIERS = { scarce: { limit: SCARCE_LIMIT }, other: { windowMs: 2 ** 41 } }

const victims = new Set<ChildProcess>()

afterEach(async () => {
  for (const victim of victims) victim.kill('SIGKILL')
  await killAll()
  removeRegions()
})

/** Starts a process, and kills it within milliseconds of its being in the thick of it. */
async function killOne(name: string, afterMs: number): Promise<void> {
  const hammer = path.join(__dirname, 'fixtures', 'hammer.cjs')
  const victim = spawn(process.execPath, [hammer, name, JSON.stringify(TIERS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  victims.add(victim)
  const ended = once(victim, 'exit')
  await Promise.race([once(victim.stdout, 'data'), ended])
  if (afterMs > 0) await passed(afterMs)
  victim.kill('SIGKILL')
  expect(await ended).toEqual([null, 'SIGKILL'])
  victims.delete(victim)
}

/** @returns how many were killed */
async function storm(name: string): Promise<number> {
  let started = 0
  const lane = async (): Promise<void> => {
    while (started < KILLS) await killOne(name, started++ % 9)
  }
  await Promise.all(Array.from({ length: HAMMERING_AT_ONCE }, lane))
  return started
}

/** What the keys that begin so have left. */
function leftOf(view: Pick<Limiter, 'peek'>, kind: string, count = 4): number[] {
  return Array.from({ length: count }, (_, i) => view.peek(`${kind}-${i}`).remaining)
}

function sumOf(counts: number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

/** That every slot can be used, every key is found, and the count of keys is right. Fills the table. */
function expectSoundTable(limiter: Limiter): void {
  const { keys: keysBefore, capacity, evictedLive: evictedBefore } = limiter.stats()
  const keys = Array.from({ length: 10 * capacity }, (_, i) => `filler-${i}`)
  const fillers = keys.filter((key) => limiter.allow(key, LIMIT))
  const { evictedLive } = limiter.stats()
  expect(limiter.stats().keys).toBe(capacity)
  expect(fillers.length).toBe(capacity - keysBefore + evictedLive - evictedBefore)
  expect(fillers.filter((key) => limiter.peek(key).remaining !== 0)).toEqual([])
  expect(fillers.filter((key) => !limiter.reset(key))).toEqual([])
  expect(limiter.stats().keys).toBe(capacity - fillers.length)
}

test('processes are killed while they hammer: nothing stays locked, nothing is minted, nobody is reset', async () => {
  const name = freshName()
  // A clock that stands still: nothing is refilled.
  const clock = new ManualClock()
  const options = { limit: LIMIT, windowMs: 2 ** 42, maxKeys: 50_000, clock, tiers: TIERS }
  const limiter = new Limiter({ ...options, shared: name })
  const survivor = await startProcess('survivor.cjs', name, JSON.stringify(TIERS))
  const kills = await storm(name)
  const { admitted, longestMs } = (await ask(survivor, 'stop')) as { admitted: number; longestMs: number }
  await killAll()
  expect(longestMs).toBeLessThan(LONGEST_WAIT_MS)
  expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ pid: process.pid, limiters: 1 }])

  // Each killed process may have been admitted once without living to count it, and never more.
  const scarceLeft = leftOf(limiter.tier('scarce'), 'scarce')
  const left = [...leftOf(limiter, 'busy'), ...leftOf(limiter, 'moving', 256)]
  const total = left.length * LIMIT - sumOf(left) + 4 * SCARCE_LIMIT - sumOf(scarceLeft)
  const { allowed, evictedLive, refusedFull, keys } = limiter.stats()
  expect(allowed).toBeLessThanOrEqual(total)
  expect(allowed).toBeGreaterThanOrEqual(total - kills)
  expect(admitted).toBeLessThanOrEqual(allowed)
  expect(scarceLeft).toEqual([0, 0, 0, 0])
  expect(limiter.tier('scarce').allow('scarce-0')).toBe(false)

  // Of the keys that came and went, the killed may have left one each.
  expect({ evictedLive, refusedFull }).toEqual({ evictedLive: 0, refusedFull: 0 })
  expect(keys).toBeGreaterThanOrEqual(264)
  expect(keys).toBeLessThanOrEqual(264 + kills)
  expectSoundTable(limiter)
  limiter.close()
}, 180_000)
