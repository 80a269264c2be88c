import { afterEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterHandle, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import { type Actor, actTogether, endActors, type Stage, startActors } from './fixtures/actors'

const clock = new ManualClock()
const opened: Limiter[] = []

afterEach(async () => {
  await endActors()
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(options: Partial<LimiterOptions>): Limiter {
  const limiter = new Limiter({ limit: 1, windowMs: 1000, maxKeys: 100, clock, ...options })
  opened.push(limiter)
  return limiter
}

const LIMIT = 6000
/** The first refuses first; the others have more, and so must be left with exactly the difference. */
const OTHERS = { 'fixed-window': 7000, 'strict-window': 8000, 'sliding-window': 9000 } as const

function fourMembers(isShared: boolean): Limiter[] {
  const more = (): Partial<LimiterOptions> => (isShared ? { shared: freshName() } : {})
  return [
    open({ limit: LIMIT, ...more() }),
    ...Object.entries(OTHERS).map(([algorithm, limit]) =>
      open({ algorithm: algorithm as 'fixed-window', limit, ...more() }),
    ),
  ]
}

/** Each has the members in an order of its own, so that those who locked in that order would wait for each other. */
async function attachInTurn(actors: Actor[], members: Limiter[]): Promise<void> {
  const sources = members.map((limiter) => limiter.handle())
  for (const [i, actor] of actors.entries()) {
    const inTurn: LimiterHandle[] = [...sources.slice(i % 4), ...sources.slice(0, i % 4)]
    if (i % 2 === 1) inTurn.reverse()
    await actor.act({ do: 'attach', sources: inTurn })
  }
}

function sumOf(counts: unknown[]): number {
  return (counts as number[]).reduce((sum, count) => sum + count, 0)
}

function left(members: Limiter[]): number[] {
  return members.map((limiter) => limiter.peek('key').remaining)
}

describe.each<[Stage, string, boolean]>([
  ['threads', 'limiters of their own', false],
  ['threads', 'shared limiters', true],
  ['processes', 'shared limiters', true],
])('%s hammer a set of %s', (stage, _, isShared) => {
  test('exactly the limit passes, and who is refused spends nothing anywhere', async () => {
    const members = fourMembers(isShared)
    const actors = await startActors(stage, 4)
    await attachInTurn(actors, members)
    const admitted = await actTogether(actors, { do: 'hammer-set', calls: 2500 })
    expect(sumOf(admitted)).toBe(LIMIT)
    expect(left(members)).toEqual([0, 1000, 2000, 3000])
    const stats = members.map((limiter) => limiter.stats())
    expect(stats.map(({ allowed }) => allowed)).toEqual([LIMIT, LIMIT, LIMIT, LIMIT])
    expect(stats.map(({ denied }) => denied)).toEqual([10_000 - LIMIT, 0, 0, 0])
    const set = new LimitSet(members)
    expect(set.consume('key')).toMatchObject({ allowed: false, limitedBy: '0', retryAfterMs: 0.167 })
  })

  test('while others spend from one of its members alone', async () => {
    const members = fourMembers(isShared)
    const actors = await startActors(stage, 3)
    await attachInTurn(actors.slice(0, 2), members)
    const [, window] = members
    await actors[2]?.act({ do: 'attach', sources: [(window as Limiter).handle()] })
    const startAtMs = Date.now() + 30
    const [first, second, alone] = (await Promise.all(
      actors.map((actor, i) =>
        actor.act({ do: i === 2 ? 'hammer' : 'hammer-set', calls: i === 2 ? 5000 : 2500, startAtMs }),
      ),
    )) as [number, number, number]
    const bySet = first + second
    expect(bySet + alone).toBe(OTHERS['fixed-window'])
    expect(left(members)).toEqual([LIMIT - bySet, 0, 8000 - bySet, 9000 - bySet])
  })

  test('with costs and keys of their own', async () => {
    const members = fourMembers(isShared)
    const actors = await startActors(stage, 3)
    for (const actor of actors)
      await actor.act({ do: 'attach', sources: members.map((limiter) => limiter.handle()) })
    const action = {
      do: 'hammer-set',
      key: ['key', 'key', 'other', 'key'],
      cost: [2, 1, 3, 0],
      calls: 1500,
    } as const
    const admitted = await actTogether(actors, { ...action, key: [...action.key], cost: [...action.cost] })
    // 8000 of the strict window's `other` are 2666 calls of 3.
    expect(sumOf(admitted)).toBe(2666)
    expect(left(members)).toEqual([LIMIT - 2 * 2666, 7000 - 2666, 8000, 9000])
    expect(members[2]?.peek('other').remaining).toBe(2)
  })
})

test('processes are killed while they hammer a set: nothing stays locked, nothing is minted', async () => {
  const limit = 2 ** 30
  const members = [
    open({ limit, windowMs: 2 ** 40, shared: freshName() }),
    open({ limit, windowMs: 2 ** 40, shared: freshName(), algorithm: 'fixed-window' }),
    open({ limit, windowMs: 2 ** 40, shared: freshName(), algorithm: 'strict-window' }),
  ]
  const set = new LimitSet(members)
  let own = 0
  for (let round = 0; round < 6; round++) {
    const actors = await startActors('processes', 2)
    for (const actor of actors)
      await actor.act({ do: 'attach', sources: members.map((limiter) => limiter.handle()) })
    const spentBefore = limit - (left(members)[0] as number)
    for (const actor of actors) void actor.act({ do: 'hammer-set', calls: 2 ** 30 }).catch(() => undefined)
    while (limit - (left(members)[0] as number) < spentBefore + 2000 + round) await new Promise(setImmediate)
    await Promise.all(actors.map((actor) => actor.kill()))
    const start = performance.now()
    for (let i = 0; i < 500; i++) if (set.consume('key').allowed) own++
    expect(performance.now() - start).toBeLessThan(2000)
  }
  expect(own).toBe(3000)
  const spent = left(members).map((remaining) => limit - remaining)
  const counted = members.map((limiter) => limiter.stats().allowed)
  for (const [i, total] of spent.entries()) {
    // The killed may each have spent once without living to count it.
    expect(total).toBeGreaterThanOrEqual(counted[i] as number)
    expect(total).toBeLessThanOrEqual((counted[i] as number) + 12)
  }
  expect(Math.max(...spent) - Math.min(...spent)).toBeLessThanOrEqual(12)
}, 60_000)
