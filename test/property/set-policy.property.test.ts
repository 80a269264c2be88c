import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import type { OracleSettings, TierSettings } from '../oracle/settings'
import { runInLockstep } from './lockstep'
import { anyBucket, anyWindow, exactBucket, tieredBucket } from './policies'
import { allSchedules, type Schedule, type Step } from './schedules'
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

function agrees(
  settings: fc.Arbitrary<OracleSettings>,
  changesOf: (settings: OracleSettings) => fc.Arbitrary<Change[]>,
  userCount: number,
): void {
  const runs = settings.chain((policy) => fc.tuple(fc.constant(policy), changesOf(policy), allSchedules()))
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
    const limits = ({ limit, tiers = {} }: OracleSettings): fc.Arbitrary<TierSettings> =>
      fc.integer({ min: 1, max: tiers['paid']?.limit ?? limit }).map((limit) => ({ limit }))
    agrees(anyWindow, (settings) => changesTo(limits(settings)), userCount)
  })
})
