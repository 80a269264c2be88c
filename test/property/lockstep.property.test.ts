import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import type { OracleSettings } from '../oracle/oracle'
import { runInLockstep } from './lockstep'
import { anyBucket, anyWindow, exactBucket, tieredBucket } from './policies'
import { CHARGES_ONLY, type Schedule, schedules } from './schedules'
import { seeded } from './seed'

function agrees(
  policies: fc.Arbitrary<OracleSettings>,
  steps: fc.Arbitrary<Schedule>,
  numRuns: number,
): void {
  const property = fc.property(policies, steps, (policy, schedule) => {
    runInLockstep(policy, schedule)
  })
  fc.assert(property, seeded(numRuns))
}

describe('every field of every answer is the oracle’s', () => {
  test('token buckets on the exact grid', () => {
    agrees(exactBucket, schedules(), 1500)
  })

  test('token buckets of any rate', () => {
    agrees(anyBucket, schedules(), 1500)
  })

  test('token buckets with tiers', () => {
    agrees(tieredBucket, schedules({ ops: [...CHARGES_ONLY, 'refund', 'penalize', 'reset'] }), 1500)
  })

  test('token buckets with tiers and blocks', () => {
    agrees(tieredBucket, schedules(), 1000)
  })

  test('fixed windows', () => {
    agrees(anyWindow, schedules(), 1500)
  })
})
