import * as fc from 'fast-check'
import Redis from 'ioredis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import type { OracleSettings } from '../../oracle/settings'
import {
  anyBucket,
  anySlidingWindow,
  anyWindow,
  concurrency,
  escalating,
  evenBucket,
  evenWindow,
  exactBucket,
  exactLeakyBucket,
  exactSlidingWindow,
  newKeyBucket,
  newKeyWindow,
  slidingLog,
  strictWindow,
  tieredBucket,
  tieredLeakyBucket,
} from '../../property/policies'
import { LEASING_OPS, later, type Schedule, schedules, WITHOUT_RESERVATIONS } from '../../property/schedules'
import { seeded } from '../../property/seed'
import { type RedisServer, startRedis } from '../servers'
import { runScriptsInLockstep } from './script-driver'

const RUNS = 100
const TIMEOUT_MS = 240_000

let server: RedisServer
let redis: Redis

beforeAll(async () => {
  server = await startRedis()
  redis = new Redis(server.url)
})

afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

async function agrees(policies: fc.Arbitrary<OracleSettings>, steps: fc.Arbitrary<Schedule>): Promise<void> {
  const property = fc.asyncProperty(policies, steps, (policy, schedule) =>
    runScriptsInLockstep(redis, policy, schedule),
  )
  await fc.assert(property, seeded(RUNS))
}

/** Rates that are near the ends of what a policy can be, or divide nothing. */
const oddRates: fc.Arbitrary<OracleSettings> = fc.constantFrom(
  { algorithm: 'token-bucket' as const, limit: 7, windowMs: 1000 },
  { algorithm: 'token-bucket' as const, limit: 3, windowMs: 4_611_686_018_427, burst: 1 },
  { algorithm: 'token-bucket' as const, limit: 2 ** 53 - 1, windowMs: 1_261_440_000_000 },
  { algorithm: 'token-bucket' as const, limit: 2 ** 53 - 1, windowMs: 1e12 + 39, burst: 1e9 },
  { algorithm: 'token-bucket' as const, limit: 7_777_777, windowMs: 86_400_000 },
  { algorithm: 'token-bucket' as const, limit: 999_983, windowMs: 1_000.003, burst: 2 ** 40 },
  { algorithm: 'leaky-bucket' as const, limit: 7, windowMs: 1000 },
  { algorithm: 'leaky-bucket' as const, limit: 7_777_777, windowMs: 86_400_000, queue: 100_000 },
  { algorithm: 'fixed-window' as const, limit: 2 ** 52 - 1, windowMs: 4_611_686_018_427 },
  { algorithm: 'fixed-window' as const, limit: 7, windowMs: 0.001, align: 'epoch' as const },
  { algorithm: 'sliding-window' as const, limit: 2 ** 32, windowMs: 86_400_000.001 },
  { algorithm: 'strict-window' as const, limit: 2 ** 31, windowMs: 4_611_686_018_427 },
)

describe('the scripts answer in every field what the oracle says', { timeout: TIMEOUT_MS }, () => {
  test.each<[string, fc.Arbitrary<OracleSettings>, fc.Arbitrary<Schedule>]>([
    ['token buckets on the exact grid', exactBucket, schedules()],
    ['token buckets of any rate', anyBucket, schedules()],
    ['token buckets with tiers', tieredBucket, schedules()],
    ['token buckets that begin with less', newKeyBucket, later(schedules())],
    ['token buckets that spread calls', evenBucket, schedules()],
    ['fixed windows', anyWindow, schedules({ ops: WITHOUT_RESERVATIONS })],
    ['fixed windows that begin with another limit', newKeyWindow, schedules()],
    ['fixed windows that spread calls', evenWindow, schedules()],
    ['sliding windows', exactSlidingWindow, schedules()],
    ['sliding windows of any limit', anySlidingWindow, schedules({ calm: true })],
    ['sliding logs', slidingLog, schedules()],
    ['strict windows', strictWindow, schedules()],
    ['leaky buckets on the exact grid', exactLeakyBucket, schedules()],
    ['leaky buckets of any rate, with tiers', tieredLeakyBucket, schedules()],
    ['concurrency', concurrency, schedules({ ops: LEASING_OPS })],
    ['odd rates', oddRates, schedules()],
  ])('%s', (_, policies, steps) => agrees(policies, steps))
})

describe('repeat offenders are blocked as the oracle says', { timeout: TIMEOUT_MS }, () => {
  test.each<[string, fc.Arbitrary<OracleSettings>]>([
    ['token buckets', exactBucket],
    ['fixed windows that begin with another limit', newKeyWindow],
    ['sliding windows', exactSlidingWindow],
    ['sliding logs', slidingLog],
    ['strict windows', strictWindow],
  ])('%s', (_, policies) => agrees(escalating(policies), schedules()))
})
