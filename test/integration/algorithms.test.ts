import { afterEach, describe, expect, test } from 'vitest'
import { type Algorithm, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import { actTogether, endActors, type Stage, startActors } from './fixtures/actors'

const opened: Limiter[] = []

afterEach(async () => {
  await endActors()
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(options: LimiterOptions): Limiter {
  const limiter = new Limiter(options)
  opened.push(limiter)
  return limiter
}

function sumOf(counts: unknown[]): number {
  return (counts as number[]).reduce((sum, count) => sum + count, 0)
}

/** How many of a thousand in a second are admitted at each time, after all that was admitted before. */
const THOUSAND: [Algorithm, [number, number][]][] = [
  // What was admitted from 0 on counts whole until 1000, then for less and less.
  [
    'sliding-window',
    [
      [0, 1000],
      [999.999, 0],
      [1000, 0],
      [1500, 500],
      [1999.999, 499],
      [2000, 1],
      [2500, 499],
    ],
  ],
  // A twelfth of the window, and what is in it, counts until its thirteenth successor begins.
  [
    'strict-window',
    [
      [0, 1000],
      [1000, 0],
      [1083.333, 0],
      [1083.334, 1000],
      [2083.334, 0],
      [2166.667, 1000],
    ],
  ],
  [
    'token-bucket',
    [
      [0, 1000],
      [1, 1],
      [500, 499],
      [2000, 1000],
    ],
  ],
  [
    'fixed-window',
    [
      [0, 1000],
      [999.999, 0],
      [1000, 1000],
      [1999.999, 0],
      [2000, 1000],
    ],
  ],
  [
    'concurrency',
    [
      [0, 1000],
      [1083.333, 0],
      [1083.334, 1000],
    ],
  ],
]

const SIXTY: [Algorithm, [number, number][]][] = [
  [
    'sliding-log',
    [
      [0, 60],
      [999.999, 0],
      [1000, 60],
      [1999.999, 0],
      [2000, 60],
    ],
  ],
]

describe.each<[Stage, boolean]>([
  ['threads', false],
  ['processes', true],
])('%s share', (stage, isShared) => {
  test.each([
    ...THOUSAND.map(([algorithm, rounds]) => [algorithm, 1000, rounds] as const),
    ...SIXTY.map(([algorithm, rounds]) => [algorithm, 60, rounds] as const),
  ])('a %s: of %i exactly what is due at each time', async (algorithm, limit, rounds) => {
    const clock = new ManualClock()
    const span = algorithm === 'concurrency' ? { holdMs: 1000 } : { windowMs: 1000 }
    const shared = isShared ? { shared: freshName() } : {}
    const limiter = open({ algorithm, limit, ...span, maxKeys: 100, clock, ...shared })
    const actors = await startActors(stage, 3)
    for (const actor of actors) await actor.act({ do: 'attach', sources: [limiter.handle()] })
    let total = 0
    for (const [nowMs, due] of rounds) {
      const admitted = await actTogether(actors, { do: 'hammer', calls: limit / 2, nowMs })
      expect([nowMs, sumOf(admitted)]).toEqual([nowMs, due])
      clock.set(nowMs)
      expect(limiter.allow('key')).toBe(false)
      total += due
    }
    const asked = rounds.length * (3 * (limit / 2) + 1)
    expect(limiter.stats()).toMatchObject({ allowed: total, denied: asked - total })
  })

  test('many keys, that come and are known: of each exactly the limit', async () => {
    const clock = new ManualClock()
    for (const algorithm of ['strict-window', 'sliding-log', 'sliding-window'] as const) {
      const shared = isShared ? { shared: freshName() } : {}
      const limiter = open({ algorithm, limit: 10, windowMs: 1000, maxKeys: 500, clock, ...shared })
      const actors = await startActors(stage, 3)
      for (const actor of actors) await actor.act({ do: 'attach', sources: [limiter.handle()] })
      const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`)
      for (const key of keys) {
        const admitted = await Promise.all(actors.map((actor) => actor.act({ do: 'hammer', key, calls: 5 })))
        expect(sumOf(admitted)).toBe(10)
      }
      expect(keys.map((key) => limiter.peek(key).remaining)).toEqual(keys.map(() => 0))
      await endActors()
    }
  })

  test('blocks that escalate: who offends at once offends once', async () => {
    const clock = new ManualClock()
    const escalate = { blockMs: [100, 1000, 5000], forgetMs: 60_000 }
    const shared = isShared ? { shared: freshName() } : {}
    const limiter = open({ limit: 100, windowMs: 1e9, maxKeys: 100, clock, escalate, ...shared })
    const actors = await startActors(stage, 3)
    for (const actor of actors) await actor.act({ do: 'attach', sources: [limiter.handle()] })
    let nowMs = 0
    for (const [due, blockMs] of [
      [100, 100],
      [0, 1000],
      [0, 5000],
      [0, 5000],
    ] as const) {
      expect(sumOf(await actTogether(actors, { do: 'hammer', calls: 200, nowMs }))).toBe(due)
      clock.set(nowMs)
      expect(limiter.consume('key', 0)).toMatchObject({ reason: 'blocked', retryAfterMs: blockMs })
      nowMs += blockMs
    }
    expect(limiter.stats()).toMatchObject({ allowed: 100, keys: 2 })
  })
})
