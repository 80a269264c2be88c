import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Lease, Limiter, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import { type Actor, actTogether, endActors, type Stage, startActors } from './fixtures/actors'

let clock: ManualClock
const opened: Limiter[] = []

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(async () => {
  await endActors()
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

/** So many at once, for a second at least: until the microsecond 1083.334 if taken at 0. */
function open(limit: number, shared?: string): Limiter {
  const more = shared === undefined ? {} : { shared }
  const limiter = new Limiter({ algorithm: 'concurrency', limit, holdMs: 1000, maxKeys: 100, clock, ...more })
  opened.push(limiter)
  return limiter
}

async function actorsOf(stage: Stage, count: number, limiter: Limiter): Promise<Actor[]> {
  const actors = await startActors(stage, count)
  for (const actor of actors) await actor.act({ do: 'attach', sources: [limiter.handle()] })
  return actors
}

function acquire(actor: Actor | undefined, nowMs: number, cost = 1): Promise<Lease> {
  return actor?.act({ do: 'acquire', nowMs, cost }) as Promise<Lease>
}

function free(limiter: Limiter): number {
  return limiter.peek('key').remaining
}

describe.each<[Stage, boolean]>([
  ['threads', false],
  ['threads', true],
  ['processes', true],
])('%s (shared by name: %s)', (stage, isShared) => {
  test('a place that one releases another takes', async () => {
    const limiter = open(2, isShared ? freshName() : undefined)
    const actors = await actorsOf(stage, 2, limiter)
    expect([(await acquire(actors[0], 0)).allowed, (await acquire(actors[1], 0)).allowed]).toEqual([
      true,
      true,
    ])
    expect(limiter.acquire('key').allowed).toBe(false)
    expect(await actors[1]?.act({ do: 'release' })).toBe(true)
    const mine = limiter.acquire('key')
    expect(mine.allowed).toBe(true)
    expect(await acquire(actors[1], 0)).toMatchObject({ allowed: false, reason: 'limited' })
    expect(mine.release()).toBe(true)
    expect((await acquire(actors[1], 0)).allowed).toBe(true)
    expect(free(limiter)).toBe(0)
  })

  test('all want a place at once: as many get one as there are', async () => {
    const limiter = open(1000, isShared ? freshName() : undefined)
    const actors = await actorsOf(stage, 3, limiter)
    const taken = (await actTogether(actors, { do: 'hammer', calls: 500 })) as number[]
    expect(taken.reduce((sum, count) => sum + count, 0)).toBe(1000)
    expect(free(limiter)).toBe(0)
  })

  test('a key that one resets: the others’ leases give nothing back of what came later', async () => {
    const limiter = open(2, isShared ? freshName() : undefined)
    const [actor] = await actorsOf(stage, 1, limiter)
    await acquire(actor, 0, 2)
    expect(limiter.reset('key')).toBe(true)
    expect(limiter.acquire('key', 2).allowed).toBe(true)
    expect(await actor?.act({ do: 'release' })).toBe(false)
    expect(free(limiter)).toBe(0)
  })
})

describe('holders that are killed', () => {
  test('hold their places for holdMs, never more than there are, and then no longer', async () => {
    const limiter = open(3, freshName())
    const [first, second, third] = await actorsOf('processes', 3, limiter)
    expect((await acquire(first, 0)).allowed).toBe(true)
    expect((await acquire(second, 0)).allowed).toBe(true)
    expect((await acquire(third, 500)).allowed).toBe(true)
    await Promise.all([first?.kill(), second?.kill()])
    expect(limiter.stats({ perProcess: true }).processes).toHaveLength(2)
    for (const nowMs of [500, 1000, 1083.333]) {
      clock.set(nowMs)
      expect(limiter.acquire('key')).toMatchObject({ allowed: false, remaining: 0 })
      expect((await acquire(third, nowMs)).allowed).toBe(false)
    }
    clock.set(1083.334)
    // The survivor's own still counts.
    expect(limiter.acquire('key', 3)).toMatchObject({ allowed: false, reason: 'limited', remaining: 2 })
    expect(await third?.act({ do: 'release', nowMs: 1083.334 })).toBe(true)
    expect(limiter.acquire('key', 3).allowed).toBe(true)
  })

  test('are many, one after the other: what they took comes back each time', async () => {
    const limiter = open(4, freshName())
    for (let round = 0; round < 4; round++) {
      const nowMs = 2000 * round
      clock.set(nowMs)
      const [victim] = await actorsOf('processes', 1, limiter)
      expect((await acquire(victim, nowMs, 3)).allowed).toBe(true)
      const mine = limiter.acquire('key')
      await victim?.kill()
      expect(limiter.acquire('key').allowed).toBe(false)
      expect(mine.release()).toBe(true)
      expect(free(limiter)).toBe(1)
      clock.set(nowMs + 1083.334)
      expect(free(limiter)).toBe(4)
    }
  })

  test('in the middle of taking: nothing stays locked, and all comes back', async () => {
    const limiter = open(2 ** 30, freshName())
    for (let round = 0; round < 4; round++) {
      const actors = await actorsOf('processes', 2, limiter)
      const before = free(limiter)
      for (const actor of actors)
        void actor.act({ do: 'hammer', calls: 2 ** 30, nowMs: clock.now() }).catch(() => undefined)
      while (free(limiter) > before - 2000) await new Promise(setImmediate)
      await Promise.all(actors.map((actor) => actor.kill()))
      const lease = limiter.acquire('key', 5)
      expect([lease.allowed, lease.release()]).toEqual([true, true])
    }
    const held = 2 ** 30 - free(limiter)
    const { allowed } = limiter.stats()
    // Each of the killed may have taken one without living to count it; the four that were given back are counted.
    expect(held).toBeGreaterThanOrEqual(allowed - 4)
    expect(held).toBeLessThanOrEqual(allowed - 4 + 8)
    clock.set(1083.334)
    expect(free(limiter)).toBe(2 ** 30)
  }, 60_000)
})
