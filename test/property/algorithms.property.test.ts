import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ClockModel, toUs } from '../oracle/clock-model'
import { floorMod } from '../oracle/rational'
import { type OracleSettings, toOraclePolicy } from '../oracle/settings'
import { type Admission, admissions, admittedTokens, checkAllPairs } from './admissions'
import { Driver } from './driver'
import {
  anySlidingWindow,
  concurrency,
  evenBucket,
  exactLeakyBucket,
  exactSlidingWindow,
  newKeyBucket,
  newKeyWindow,
  slidingLog,
  strictWindow,
} from './policies'
import { CHARGES_ONLY, LEASING_OPS, type Schedule, schedules } from './schedules'
import { seeded } from './seed'

/** Of longer intervals the property says nothing. */
const UNBOUNDED = 2n ** 100n
const HARSH = [...CHARGES_ONLY, 'penalize', 'block'] as const

function withoutTiers(policies: fc.Arbitrary<OracleSettings>): fc.Arbitrary<OracleSettings> {
  return policies.map((policy) => ({ ...policy, tiers: {} }))
}

/** Checks what key 'a' was admitted under each policy and schedule. */
function holds(
  policies: fc.Arbitrary<OracleSettings>,
  steps: fc.Arbitrary<Schedule>,
  check: (admitted: Admission[], settings: OracleSettings) => void,
): void {
  const property = fc.property(withoutTiers(policies), steps, (settings, schedule) => {
    check(admissions(settings, schedule, 'a'), settings)
  })
  fc.assert(property, seeded(1000))
}

describe('what may pass in any interval as long as a window', () => {
  test('strict window: never more than the limit, both ends included', () => {
    holds(strictWindow, schedules({ ops: HARSH }), (admitted, settings) => {
      const { limit, windowUs } = toOraclePolicy(settings)
      checkAllPairs(admitted, (distanceUs) => (distanceUs <= windowUs ? limit : UNBOUNDED))
    })
  })

  test('sliding log: never more than the limit', () => {
    holds(slidingLog, schedules({ ops: HARSH }), (admitted, settings) => {
      const { limit, windowUs } = toOraclePolicy(settings)
      checkAllPairs(admitted, (distanceUs) => (distanceUs < windowUs ? limit : UNBOUNDED))
    })
  })

  test('sliding window: less than twice the limit, and no more than it in a window of the epoch', () => {
    holds(anySlidingWindow, schedules({ ops: HARSH, calm: true }), (admitted, settings) => {
      const { limit, windowUs } = toOraclePolicy(settings)
      checkAllPairs(admitted, (distanceUs) => (distanceUs < windowUs ? 2n * limit - 1n : UNBOUNDED))
      for (const total of totalsByWindow(admitted, windowUs).values()) expect(total <= limit).toBe(true)
    })
  })

  test('fixed window: the first may have another limit, no other', () => {
    holds(newKeyWindow, schedules({ ops: CHARGES_ONLY }), (admitted, settings) => {
      const { limit, initial = 0n, windowUs } = toOraclePolicy(settings)
      const most = 2n * (initial > limit ? initial : limit)
      checkAllPairs(admitted, (distanceUs) => (distanceUs < windowUs ? most : UNBOUNDED))
    })
  })
})

/** What was admitted in each window of the epoch. */
function totalsByWindow(admitted: Admission[], windowUs: bigint): Map<bigint, bigint> {
  const totals = new Map<bigint, bigint>()
  for (const { atUs, tokens } of admitted) {
    const startUs = atUs - floorMod(atUs, windowUs)
    totals.set(startUs, (totals.get(startUs) ?? 0n) + tokens)
  }
  return totals
}

test('sliding window: every admission keeps to the rule, and every refusal broke it', () => {
  const property = fc.property(
    withoutTiers(exactSlidingWindow),
    schedules({ ops: ['consume', 'peek'] }),
    (settings, schedule) => {
      const { limit, windowUs } = toOraclePolicy(settings)
      const clock = new ClockModel(schedule.startUs / 1000)
      const admitted: Admission[] = []
      new Driver(settings, schedule).run(schedule.steps, (event) => {
        const atUs = clock.read(event.atMs)
        if (event.op !== 'consume' || event.key !== 'a' || event.tokens === 0) return
        const startUs = atUs - floorMod(atUs, windowUs)
        const totals = totalsByWindow(admitted, windowUs)
        const [present, previous] = [totals.get(startUs) ?? 0n, totals.get(startUs - windowUs) ?? 0n]
        const tokens = BigInt(event.tokens)
        const weight = previous * (windowUs - (atUs - startUs)) + (present + tokens) * windowUs
        expect(event.answer.allowed).toBe(weight <= limit * windowUs)
        if (event.answer.allowed) admitted.push({ atUs, tokens })
      })
    },
  )
  fc.assert(property, seeded(1000))
})

describe('calls that are told when to go out', () => {
  test.each([
    ['leaky bucket', exactLeakyBucket],
    ['token bucket, evenly', evenBucket],
  ])('%s: leave in order and at the rate', (_, policies) => {
    const property = fc.property(
      withoutTiers(policies),
      schedules({ ops: ['consume', 'many', 'partial', 'peek'] }),
      (settings, schedule) => {
        const { limit, windowUs, capacity } = toOraclePolicy(settings)
        const clock = new ClockModel(schedule.startUs / 1000)
        let freeFromUs: bigint | undefined
        const leave = (atUs: bigint, delayMs: number, tokens: bigint): void => {
          const leavesUs = atUs + toUs(delayMs)
          // A delay is rounded up to the microsecond, so one after it may seem that much too early.
          if (freeFromUs !== undefined) expect(leavesUs + 1n >= freeFromUs).toBe(true)
          expect(toUs(delayMs) * limit < capacity * windowUs + limit).toBe(true)
          freeFromUs = leavesUs + (tokens * windowUs) / limit
        }
        new Driver(settings, schedule).run(schedule.steps, (event) => {
          const atUs = clock.read(event.atMs)
          if (event.key !== 'a') return
          if (event.op === 'consume' && event.answer.allowed && event.tokens > 0)
            leave(atUs, event.answer.delayMs, BigInt(event.tokens))
          if (event.op === 'partial' && event.answer.consumed > 0)
            leave(atUs, event.answer.delayMs, BigInt(event.answer.consumed))
          if (event.op === 'many' && event.tokens > 0)
            for (const i of [0, 1])
              if (event.answer.allowed[i] === 1)
                leave(atUs, event.answer.delayMs[i] as number, BigInt(event.tokens))
        })
      },
    )
    fc.assert(property, seeded(1000))
  })
})

test('a key that is told less to begin with never has more than a bucket and its refill', () => {
  holds(newKeyBucket, schedules({ ops: HARSH }), (admitted, settings) => {
    const { limit, windowUs, capacity } = toOraclePolicy(settings)
    checkAllPairs(admitted, (distanceUs) => capacity + (limit * distanceUs) / windowUs + 1n)
  })
})

test('concurrency: never more than the limit held, however they are released', () => {
  const ops = LEASING_OPS.filter((op) => op !== 'refund' && op !== 'reset')
  const property = fc.property(withoutTiers(concurrency), schedules({ ops }), (settings, schedule) => {
    const { limit, windowUs } = toOraclePolicy(settings)
    const clock = new ClockModel(schedule.startUs / 1000)
    const held = new Map<number, Admission>()
    let anonymous = -1
    new Driver(settings, schedule).run(schedule.steps, (event) => {
      const atUs = clock.read(event.atMs)
      if (event.key !== 'a') return
      if (event.op === 'release') {
        held.delete(event.id)
        return
      }
      const tokens = event.op === 'acquire' ? BigInt(event.answer.consumed) : admittedTokens(event)
      if (tokens === 0n) return
      held.set(event.op === 'acquire' ? event.id : anonymous--, { atUs, tokens })
      let total = 0n
      for (const place of held.values()) if (atUs - place.atUs <= windowUs) total += place.tokens
      expect(total <= limit).toBe(true)
    })
  })
  fc.assert(property, seeded(1000))
})
