import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as passed } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Limiter, ManualClock } from '../../lib/index'
import { Purse } from '../../lib/limiter/purse'
import { freshName, removeRegions } from '../unit/regions'
import { ask, killAll, startProcess } from './fixtures/children'

const KEYS = 4
const MAX_KEYS = 40 // 64 places
const LEASE_MS = 3_600_000
const opened: { close(): void }[] = []
const victims = new Set<ChildProcess>()

afterEach(async () => {
  for (const victim of victims) victim.kill('SIGKILL')
  await killAll()
  for (const each of opened.splice(0)) each.close()
  removeRegions()
})

function kept<T extends { close(): void }>(made: T): T {
  opened.push(made)
  return made
}

/** Purses on a clock that stands still, whose busy keys have that many tokens each; and how children are started. */
function open(tokens: number): { name: string; purse: Purse; clock: ManualClock; args: string[] } {
  const name = freshName()
  const clock = new ManualClock()
  const purse = kept(new Purse({ maxKeys: MAX_KEYS, leaseMs: LEASE_MS, shared: name, clock }))
  for (let key = 0; key < KEYS; key++) expect(purse.grant(`busy-${key}`, tokens, LEASE_MS)).toBe(tokens)
  return { name, purse, clock, args: [name, ...[MAX_KEYS, LEASE_MS, KEYS].map(String)] }
}

/** What the busy keys have left. */
function leftOf(purse: Purse): number[] {
  return Array.from({ length: KEYS }, (_, key) => purse.balance(`busy-${key}`))
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

test('processes that race for the same purses take what was granted, all of it and once', async () => {
  const { purse, args } = open(20_000)
  const children = await Promise.all([1, 2, 3].map(() => startProcess('purse.cjs', ...args)))
  const taking = Promise.all(children.map((child) => ask(child, 'go') as Promise<number[]>))
  // Grants come while they take.
  let granted = 20_000 * KEYS
  for (let i = 0; i < 2000; i++) granted += purse.grant(`busy-${i % KEYS}`, 7, LEASE_MS)
  const taken = sumOf((await taking).map(sumOf))
  expect(taken + sumOf(leftOf(purse))).toBe(granted)
  expect(taken).toBeGreaterThanOrEqual(20_000 * KEYS)
}, 60_000)

const KILLS = 60
const KILLING_AT_ONCE = 3

/** Starts a process, and kills it within milliseconds of its being in the thick of it. */
async function killOne(args: readonly string[], afterMs: number): Promise<void> {
  const file = path.join(__dirname, 'fixtures', 'purse.cjs')
  const victim = spawn(process.execPath, [file, ...args, 'forever'], { stdio: ['ignore', 'pipe', 'inherit'] })
  victims.add(victim)
  const ended = once(victim, 'exit')
  await Promise.race([once(victim.stdout, 'data'), ended])
  if (afterMs > 0) await passed(afterMs)
  victim.kill('SIGKILL')
  expect(await ended).toEqual([null, 'SIGKILL'])
  victims.delete(victim)
}

test('processes are killed while they take and grant: nothing stays locked, nothing is minted', async () => {
  const tokens = 2 ** 31
  const { name, purse, clock, args } = open(tokens)
  let started = 0
  const lane = async (): Promise<void> => {
    while (started < KILLS) await killOne(args, started++ % 9)
  }
  await Promise.all(Array.from({ length: KILLING_AT_ONCE }, lane))

  // Each killed process may have taken one token without living to count it, and never more.
  const { allowed, keys, capacity, evictedLive, refusedFull } = kept(
    Limiter.attachTool(name, { clock }),
  ).stats()
  const taken = tokens * KEYS - sumOf(leftOf(purse))
  expect(allowed).toBeLessThanOrEqual(taken)
  expect(allowed).toBeGreaterThanOrEqual(taken - started)
  expect(allowed).toBeGreaterThanOrEqual(started * KEYS)
  // Visitors made room for each other, and for nobody else's cost.
  expect(keys).toBe(capacity)
  expect(evictedLive).toBeGreaterThan(0)
  expect(refusedFull).toBe(0)

  // Every place can be had again.
  clock.advance(LEASE_MS)
  expect(leftOf(purse)).toEqual([0, 0, 0, 0])
  for (let i = 0; i < capacity; i++) expect(purse.grant(`new-${i}`, 5, 1)).toBe(5)
  expect(sumOf(Array.from({ length: capacity }, (_, i) => purse.drain(`new-${i}`)))).toBeLessThanOrEqual(
    5 * capacity,
  )
}, 120_000)
