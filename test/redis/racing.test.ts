import { randomBytes } from 'node:crypto'
import Redis from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Algorithm } from '../../lib/index'
import { RedisLimiter } from '../../lib/redis'
import {
  type ClientProcess,
  endClients,
  hammerAll,
  openAll,
  soonMs,
  startClients,
  tokensOf,
} from './fixtures/clients'
import { sharedRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

/** A busy machine answers late, but it answers. */
const TIMEOUT_MS = 10_000
const HOSTS = 3

let url: string
let filePrefix: string
let clients: ClientProcess[]

beforeAll(async () => {
  const shared = await sharedRedis()
  url = shared.url
  filePrefix = shared.prefix
  clients = await startClients(HOSTS)
})

afterAll(async () => {
  await endClients()
  await expectAllKeysHaveTtl(url, `${filePrefix}*`)
})

function freshPrefix(): string {
  return `${filePrefix}-${randomBytes(4).toString('hex')}`
}

/** At each time: how many are admitted, after all that was admitted before. */
const ROUNDS: [Algorithm, number, [nowMs: number, due: number][]][] = [
  [
    'token-bucket',
    1000,
    [
      [0, 1000],
      [1, 1],
      [500, 499],
      [2000, 1000],
    ],
  ],
  [
    'fixed-window',
    1000,
    [
      [0, 1000],
      [999.999, 0],
      [1000, 1000],
      [1999.999, 0],
      [2000, 1000],
    ],
  ],
  [
    'sliding-window',
    1000,
    [
      [0, 1000],
      [999.999, 0],
      [1000, 0],
      [1500, 500],
      [1999.999, 499],
      [2000, 1],
    ],
  ],
  [
    'strict-window',
    1000,
    [
      [0, 1000],
      [1083.333, 0],
      [1083.334, 1000],
      [2083.334, 0],
      [2166.667, 1000],
    ],
  ],
  [
    'sliding-log',
    60,
    [
      [0, 60],
      [999.999, 0],
      [1000, 60],
      [1999.999, 0],
      [2000, 60],
    ],
  ],
  // What may wait besides those that go out at once.
  [
    'leaky-bucket',
    1000,
    [
      [0, 1001],
      [1, 1],
      [501, 500],
      [2501, 1001],
    ],
  ],
  [
    'concurrency',
    1000,
    [
      [0, 1000],
      [1083.333, 0],
      [1083.334, 1000],
    ],
  ],
]

describe.each([true, false])('frozen time, denials remembered: %s', (denyCache) => {
  test.each(ROUNDS)('a %s: of %i exactly what is due at each time', async (algorithm, limit, rounds) => {
    const span = algorithm === 'concurrency' ? { holdMs: 1000 } : { windowMs: 1000 }
    const limiter = { prefix: freshPrefix(), algorithm, limit, ...span, denyCache, timeoutMs: TIMEOUT_MS }
    await openAll(clients, { url, limiter, nowMs: 0 })
    for (const [nowMs, due] of rounds) {
      const hammered = await hammerAll(clients, { calls: limit / 2, nowMs })
      expect([nowMs, tokensOf(hammered)]).toEqual([nowMs, due])
      for (const { sources } of hammered) {
        expect(Object.keys(sources).filter((source) => source !== 'exact' && source !== 'cache')).toEqual([])
      }
    }
  })
})

test('costs that differ: what is left in the end is less than the least of them, and no more is spent than there is', async () => {
  const limiter = { prefix: freshPrefix(), limit: 1000, windowMs: 60_000, timeoutMs: TIMEOUT_MS }
  await openAll(clients, { url, limiter, nowMs: 0 })
  const spent = tokensOf(await hammerAll(clients, { calls: 300, costs: [2, 7, 5, 31, 2, 3] }))
  // Where 2 do not fit, 1 may be left.
  expect(spent).toBeGreaterThanOrEqual(999)
  expect(spent).toBeLessThanOrEqual(1000)
})

test('many keys at once: of each exactly the limit', async () => {
  const limiter = { prefix: freshPrefix(), limit: 20, windowMs: 60_000, timeoutMs: TIMEOUT_MS }
  await openAll(clients, { url, limiter, nowMs: 0 })
  for (const key of ['', 'ключ', 'a b\r\n', '{x}', '}{', '\ud800', 'k'.repeat(5000)]) {
    expect([key.slice(0, 9), tokensOf(await hammerAll(clients, { key, calls: 15 }))]).toEqual([
      key.slice(0, 9),
      20,
    ])
  }
})

test('sets: as many as the tightest member has, and the others have spent no more than that', async () => {
  const common = { timeoutMs: TIMEOUT_MS, windowMs: 60_000 } as const
  const [loose, tight] = [freshPrefix(), freshPrefix()]
  const limiter = { ...common, prefix: loose, limit: 1000 }
  const other = { ...common, prefix: tight, limit: 200, algorithm: 'fixed-window' as const }
  await openAll(clients, { url, set: [limiter, other], nowMs: 0 })
  expect(tokensOf(await hammerAll(clients, { calls: 150 }))).toBe(200)
  await openAll(clients, { url, limiter, nowMs: 0 })
  expect(tokensOf(await hammerAll(clients, { calls: 300 }))).toBe(800)
})

test('hosts whose clocks are an hour apart: the server’s time counts', async () => {
  const limiter = { prefix: freshPrefix(), limit: 100, windowMs: 3_600_000, timeoutMs: TIMEOUT_MS }
  const skews = [-3_600_000, 0, 3_600_000]
  await Promise.all(clients.map((client, i) => client.open({ url, limiter, skewMs: skews[i] ?? 0 })))
  const hammered = await hammerAll(clients, { calls: 100 })
  // In 36 s one more comes back.
  expect(tokensOf(hammered)).toBeGreaterThanOrEqual(100)
  expect(tokensOf(hammered)).toBeLessThanOrEqual(101)
  for (const { latestRetryMs } of hammered) expect(latestRetryMs).toBeLessThanOrEqual(36_000)
})

/** The most admissions that lie within some interval of that length altogether, from being asked for to being answered. */
function mostWithin(admissions: readonly (readonly [number, number])[], ms: number): number {
  const byAsked = [...admissions].sort(([a], [b]) => a - b)
  return Math.max(
    0,
    ...byAsked.map(
      ([fromMs]) => byAsked.filter(([asked, answered]) => asked >= fromMs && answered <= fromMs + ms).length,
    ),
  )
}

// Redis decides a call between the moments at which it is asked for and answered, so admissions that lie within an interval
// altogether were decided within it. The server's clock and that of the hosts may drift apart by a fraction of a ms meanwhile.
const DRIFT_MS = 1

describe('real time', () => {
  test.each<[Algorithm, (ms: number) => number]>([
    ['token-bucket', (ms) => 50 + (50 / 500) * ms],
    ['fixed-window', (ms) => 50 * (Math.ceil(ms / 500) + 1)],
    ['sliding-window', (ms) => 50 * (Math.ceil(ms / 500) + 1)],
    ['strict-window', (ms) => 50 * Math.ceil(ms / 500)],
    ['sliding-log', (ms) => 50 * Math.ceil(ms / 500)],
  ])('a %s: no interval has more than it may', async (algorithm, most) => {
    const settings = { prefix: freshPrefix(), algorithm, limit: 50, windowMs: 500, timeoutMs: TIMEOUT_MS }
    await openAll(clients, { url, limiter: settings })
    const startAtMs = soonMs()
    const admissions = (
      await Promise.all(clients.map((client) => client.run({ forMs: 1200, startAtMs })))
    ).flat()
    for (const ms of [1, 5, 20, 100, 250, 499, 500, 750, 1000, 1200, 2000]) {
      expect([ms, mostWithin(admissions, ms)]).toEqual([
        ms,
        expect.toSatisfy((n: number) => n <= most(ms + DRIFT_MS)),
      ])
    }
    // As much as there is to be had is had: a second window at least, of all of them.
    expect(admissions.length).toBeGreaterThanOrEqual(100)
  })

  test('a token bucket gives neither more nor less than burst and refill', async () => {
    const settings = { prefix: freshPrefix(), limit: 200, windowMs: 1000, burst: 100, timeoutMs: TIMEOUT_MS }
    await openAll(clients, { url, limiter: settings })
    const startAtMs = soonMs()
    const admissions = (
      await Promise.all(clients.map((client) => client.run({ forMs: 700, startAtMs })))
    ).flat()
    const client = new Redis(url)
    const limiter = new RedisLimiter({ client, ...settings })
    try {
      const before = Number(process.hrtime.bigint()) / 1e6
      const { consumed } = await limiter.consume('key', 100, { partial: true })
      const after = Number(process.hrtime.bigint()) / 1e6
      const first = admissions.reduce((a, b) => (a[1] < b[1] ? a : b))
      const total = admissions.length + consumed
      expect(total).toBeLessThanOrEqual(100 + (after - first[0] + DRIFT_MS) / 5)
      // It was never full again, so that nothing was lost but the part of a token.
      expect(total).toBeGreaterThanOrEqual(Math.floor(100 + (before - first[1] - DRIFT_MS) / 5) - 1)
    } finally {
      await limiter.close()
      client.disconnect()
    }
  })
})
