import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Algorithm, ManualClock } from '../../lib/index'
import { admitted, connected, endScene, sources, type Watched, watch } from './fixtures/scene'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

let server: RedisServer

beforeAll(async () => {
  server = await startRedis()
})

afterEach(endScene)

afterAll(async () => {
  await expectAllKeysHaveTtl(server)
  await server.stop()
})

const NOW_MS = 1_790_000_000_000
const WINDOW_MS = 60_000
const HOUR_MS = 3_600_000
const ALGORITHMS: Algorithm[] = [
  'token-bucket',
  'fixed-window',
  'sliding-window',
  'strict-window',
  'sliding-log',
  'leaky-bucket',
]

/** Two that bring their own time, as servers do whose clocks differ. */
async function twoHosts(
  algorithm: Algorithm,
  skewMs: number,
): Promise<[Watched, Watched, ManualClock, ManualClock]> {
  const client = await connected(server.port)
  const clocks = [new ManualClock(NOW_MS), new ManualClock(NOW_MS + skewMs)] as [ManualClock, ManualClock]
  const prefix = `${algorithm}${skewMs}-${Math.random()}`
  const options = { prefix, algorithm, limit: 10, windowMs: WINDOW_MS, timeoutMs: 5000 }
  const [one, other] = clocks.map((clock) => watch(client, { ...options, clock }))
  return [one as Watched, other as Watched, ...clocks]
}

/** Of a leaky bucket one goes out at once, besides those that wait. */
function capacityOf(algorithm: Algorithm): number {
  return algorithm === 'leaky-bucket' ? 11 : 10
}

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const capacity = capacityOf(algorithm)

  test.each([5000, -5000])('clocks that differ by %i ms: by turns as much as from one', async (skewMs) => {
    const [one, other, ...clocks] = await twoHosts(algorithm, skewMs)
    const decisions = []
    for (let i = 0; i < capacity; i++) decisions.push(await (i % 2 === 0 ? one : other).ask())
    expect(sources(decisions)).toEqual(['exact'])
    // What the one that is ahead has seen come back in these 5 s, no more: a twelfth of the window.
    const more = [...(await one.askEach(3)), ...(await other.askEach(3))]
    expect(admitted(decisions) + admitted(more)).toBeLessThanOrEqual(capacity + 1)
    // Nobody is locked out: all is there again when a window (and what a strict one rounds up to) is over by either clock.
    const denied = await one.ask()
    expect(denied.retryAfterMs).toBeLessThanOrEqual(WINDOW_MS * 1.1 + 5000)
    for (const clock of clocks) clock.advance(2 * WINDOW_MS + 5000)
    expect(admitted(await one.askEach(capacity + 3))).toBe(capacity)
  })

  test('a clock that is an hour behind the one before: nothing is minted, nobody is locked out', async () => {
    const [behind, ahead, clock] = await twoHosts(algorithm, HOUR_MS)
    expect(admitted(await ahead.askEach(capacity - 4))).toBe(capacity - 4)
    // As after a failover to a server whose clock is an hour late.
    const decisions = await behind.askEach(8)
    expect([sources(decisions), admitted(decisions)]).toEqual([['exact'], 4])
    expect(decisions.at(-1)?.retryAfterMs).toBeLessThanOrEqual(WINDOW_MS * 1.1)
    clock.advance(2 * WINDOW_MS * 1.1)
    expect(admitted(await behind.askEach(capacity + 3))).toBe(capacity)
  })

  test('a clock that is an hour ahead of the one before: as if that hour had passed, once', async () => {
    const [behind, ahead] = await twoHosts(algorithm, HOUR_MS)
    expect(admitted(await behind.askEach(capacity + 3))).toBe(capacity)
    expect(admitted(await ahead.askEach(capacity + 3))).toBe(capacity)
    expect(admitted(await behind.askEach(3))).toBe(0)
  })
})
