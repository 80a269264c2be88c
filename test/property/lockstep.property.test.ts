import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import type { OracleSettings } from '../oracle/settings'
import { runInLockstep } from './lockstep'
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
} from './policies'
import { CHARGES_ONLY, LEASING_OPS, later, type Schedule, schedules, WITHOUT_RESERVATIONS } from './schedules'
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

  test('token buckets with tiers, blocks and reservations', () => {
    agrees(tieredBucket, schedules(), 1000)
  })

  test('token buckets that begin with less', () => {
    agrees(newKeyBucket, later(schedules()), 1000)
  })

  test('token buckets that spread calls', () => {
    agrees(evenBucket, schedules(), 1000)
  })

  test('fixed windows', () => {
    agrees(anyWindow, schedules({ ops: WITHOUT_RESERVATIONS }), 1500)
  })

  test('fixed windows that begin with another limit', () => {
    agrees(newKeyWindow, schedules(), 1000)
  })

  test('fixed windows that spread calls', () => {
    agrees(evenWindow, schedules(), 1000)
  })

  test('sliding windows', () => {
    agrees(exactSlidingWindow, schedules(), 1500)
  })

  test('sliding windows of any limit, short ones too', () => {
    agrees(anySlidingWindow, schedules({ calm: true }), 1500)
  })

  test('sliding logs', () => {
    agrees(slidingLog, schedules(), 1500)
  })

  test('strict windows', () => {
    agrees(strictWindow, schedules(), 1500)
  })

  test('leaky buckets on the exact grid', () => {
    agrees(exactLeakyBucket, schedules(), 1000)
  })

  test('leaky buckets of any rate, with tiers', () => {
    agrees(tieredLeakyBucket, schedules(), 1000)
  })

  test('concurrency and its leases', () => {
    agrees(concurrency, schedules({ ops: LEASING_OPS }), 1500)
  })
})

describe('repeat offenders are blocked as the oracle says', () => {
  test.each([
    ['token buckets', exactBucket],
    ['fixed windows that begin with another limit', newKeyWindow],
    ['sliding windows', exactSlidingWindow],
    ['sliding logs', slidingLog],
    ['strict windows', strictWindow],
  ])('%s', (_, policies) => {
    agrees(escalating(policies), schedules(), 500)
  })
})
