import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import type { OracleSettings, TierSettings } from '../oracle/settings'
import { runInLockstep } from './lockstep'
import {
  anyBucket,
  anyWindow,
  concurrency,
  exactBucket,
  exactLeakyBucket,
  exactSlidingWindow,
  slidingLog,
  strictWindow,
  tieredBucket,
} from './policies'
import { LEASING_OPS, type Schedule, type Step, schedules, WITHOUT_RESERVATIONS } from './schedules'
import { seeded } from './seed'

/** What the limiter's policy becomes, and before which step. */
interface Change {
  share: number
  policy: TierSettings
}

function withChanges(schedule: Schedule, changes: Change[]): Schedule {
  const steps = [...schedule.steps]
  for (const { share, policy } of changes) {
    const step: Step = { move: { kind: 'stay' }, op: { op: 'set-policy', policy }, key: 'a', tier: 0 }
    steps.splice(Math.floor(share * steps.length), 0, step)
  }
  return { ...schedule, steps }
}

/** From one to six changes to two policies or three, so that some are gone back to. */
function changesTo(policies: fc.Arbitrary<TierSettings>): fc.Arbitrary<Change[]> {
  const share = fc.double({ min: 0, max: 1, noNaN: true })
  return fc
    .array(policies, { minLength: 2, maxLength: 3 })
    .chain((choices) =>
      fc.array(fc.record({ share, policy: fc.constantFrom(...choices) }), { minLength: 1, maxLength: 6 }),
    )
}

function bucketPolicies(buckets: fc.Arbitrary<OracleSettings>): fc.Arbitrary<TierSettings> {
  return buckets.map(({ limit, windowMs, burst }) => ({
    limit,
    ...(windowMs === undefined ? {} : { windowMs }),
    ...(burst === undefined ? {} : { burst }),
  }))
}

/** Limits that fit into the table. */
function limits({ limit, tiers = {} }: OracleSettings): fc.Arbitrary<TierSettings> {
  return fc.integer({ min: 1, max: tiers['paid']?.limit ?? limit }).map((other) => ({ limit: other }))
}

function agrees(
  settings: fc.Arbitrary<OracleSettings>,
  changesOf: (settings: OracleSettings) => fc.Arbitrary<Change[]>,
  userCount: number,
  steps = schedules(),
): void {
  const runs = settings.chain((policy) => fc.tuple(fc.constant(policy), changesOf(policy), steps))
  const property = fc.property(runs, ([policy, changes, schedule]) => {
    runInLockstep(policy, withChanges(schedule, changes), userCount)
  })
  fc.assert(property, seeded(700))
}

describe.each([
  ['its only user', 1],
  ['one of three users, who call by turns', 3],
])('a policy changed by %s: every answer is the oracle’s', (_, userCount) => {
  test('token buckets on the exact grid', () => {
    agrees(exactBucket, () => changesTo(bucketPolicies(exactBucket)), userCount)
  })

  test('token buckets of any rate', () => {
    agrees(anyBucket, () => changesTo(bucketPolicies(anyBucket)), userCount)
  })

  test('token buckets with tiers', () => {
    agrees(tieredBucket, () => changesTo(bucketPolicies(exactBucket)), userCount)
  })

  test('fixed windows', () => {
    const steps = schedules({ ops: WITHOUT_RESERVATIONS })
    agrees(anyWindow, (settings) => changesTo(limits(settings)), userCount, steps)
  })

  test('leaky buckets', () => {
    const queues = exactLeakyBucket.map(({ limit, windowMs, queue }) => ({
      limit,
      ...(windowMs === undefined ? {} : { windowMs }),
      ...(queue === undefined ? {} : { queue }),
    }))
    agrees(exactLeakyBucket, () => changesTo(queues), userCount)
  })

  test.each([
    ['sliding windows', exactSlidingWindow],
    ['sliding logs', slidingLog],
    ['strict windows', strictWindow],
  ])('%s', (_, settings) => {
    agrees(settings, (policy) => changesTo(limits(policy)), userCount)
  })

  test('concurrency', () => {
    agrees(concurrency, (policy) => changesTo(limits(policy)), userCount, schedules({ ops: LEASING_OPS }))
  })
})
