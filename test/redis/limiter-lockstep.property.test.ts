import * as fc from 'fast-check'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import type { OracleSettings } from '../oracle/settings'
import {
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
} from '../property/policies'
import { LEASING_OPS, later, type Schedule, schedules, WITHOUT_RESERVATIONS } from '../property/schedules'
import { seeded } from '../property/seed'
import { type DenyCache, runLimitersInLockstep } from './limiter-driver'
import { useScene } from './limiter-scene'

const RUNS = 20
const TIMEOUT_MS = 120_000

const scene = useScene()
let other: Redis
beforeAll(() => {
  other = scene.connect()
})
afterAll(() => other.disconnect())

type Row = [name: string, policies: fc.Arbitrary<OracleSettings>, steps: fc.Arbitrary<Schedule>]

const ROWS: Row[] = [
  ['token buckets', exactBucket, schedules()],
  ['token buckets with tiers', tieredBucket, schedules()],
  ['token buckets that begin with less', newKeyBucket, later(schedules())],
  ['token buckets that spread calls', evenBucket, schedules()],
  ['fixed windows', anyWindow, schedules({ ops: WITHOUT_RESERVATIONS })],
  ['fixed windows that begin with another limit', newKeyWindow, schedules()],
  ['fixed windows that spread calls', evenWindow, schedules()],
  ['sliding windows', exactSlidingWindow, schedules()],
  ['sliding logs', slidingLog, schedules()],
  ['strict windows', strictWindow, schedules()],
  ['leaky buckets', exactLeakyBucket, schedules()],
  ['concurrency', concurrency, schedules({ ops: LEASING_OPS })],
]

const OFFENDERS: Row[] = [
  ['offenders of token buckets', escalating(exactBucket), schedules()],
  ['offenders of fixed windows', escalating(newKeyWindow), schedules()],
  ['offenders of strict windows', escalating(strictWindow), schedules()],
]

async function agrees([, policies, steps]: Row, clients: Redis[], denyCache: DenyCache): Promise<void> {
  const property = fc.asyncProperty(policies, steps, (policy, schedule) =>
    runLimitersInLockstep(clients, policy, schedule, denyCache),
  )
  await fc.assert(property, seeded(RUNS))
}

describe('two limiters, by turns, answer what the oracle says', { timeout: TIMEOUT_MS }, () => {
  test.each([...ROWS, ...OFFENDERS])('%s', (...row) => agrees(row, [scene.redis, other], false))
})

describe('one that remembers denials denies what the oracle denies', { timeout: TIMEOUT_MS }, () => {
  test.each(ROWS)('%s', (...row) => agrees(row, [scene.redis], { announce: false, maxAgeMs: 60_000 }))
})
