import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { stepTokens } from '../oracle/bounds'
import { ClockModel, toUs } from '../oracle/clock-model'
import type { OraclePolicy } from '../oracle/expected'
import { larger, Rational } from '../oracle/rational'
import { type OracleSettings, toOraclePolicy } from '../oracle/settings'
import { admissions, admittedTokens, checkAllPairs } from './admissions'
import { Driver } from './driver'
import {
  anyBucket,
  anySlidingWindow,
  anyWindow,
  concurrency,
  exactBucket,
  exactLeakyBucket,
  exactSlidingWindow,
  logUniform,
  newKeyBucket,
  newKeyWindow,
  slidingLog,
  strictWindow,
  tieredBucket,
} from './policies'
import { CHARGES_ONLY, type Schedule, schedules } from './schedules'
import { seeded } from './seed'

function policiesOf({ tiers = {}, ...base }: OracleSettings): OraclePolicy[] {
  return [base, ...Object.values(tiers).map((tier) => ({ ...base, ...tier }))].map(toOraclePolicy)
}

function refilled(policy: OraclePolicy, distanceUs: bigint): Rational {
  return Rational.of(policy.limit * distanceUs, policy.windowUs)
}

/** The most that `policies` together let pass in one interval: the largest burst, the fastest refill, a step of each. */
function mostOf(policies: OraclePolicy[]): (distanceUs: bigint) => bigint {
  const capacity = policies.map((policy) => Rational.of(policy.capacity)).reduce(larger)
  const steps = policies.map(stepTokens).reduce((sum, step) => sum.plus(step))
  return (distanceUs) => {
    const refill = policies.map((policy) => refilled(policy, distanceUs)).reduce(larger)
    return capacity.plus(steps).plus(refill).floor()
  }
}

describe('C1: no interval admits more than burst + rate * length', () => {
  const noReset = ['penalize', 'block'] as const

  test('token bucket, any rate', () => {
    const property = fc.property(
      anyBucket,
      schedules({ ops: [...CHARGES_ONLY, ...noReset] }),
      (policy, schedule) => {
        checkAllPairs(admissions(policy, schedule, 'a'), mostOf(policiesOf(policy)))
      },
    )
    fc.assert(property, seeded(1000))
  })

  test('token bucket with refunds: they give back no more than was credited', () => {
    const ops = [...CHARGES_ONLY, ...noReset, 'refund'] as const
    const property = fc.property(exactBucket, schedules({ ops }), (policy, schedule) => {
      checkAllPairs(admissions(policy, schedule, 'a'), mostOf(policiesOf(policy)))
    })
    fc.assert(property, seeded(1000))
  })

  test('moving between tiers mints nothing', () => {
    const property = fc.property(
      tieredBucket,
      schedules({ ops: [...CHARGES_ONLY, ...noReset] }),
      (policy, schedule) => {
        checkAllPairs(admissions(policy, schedule, 'a'), mostOf(policiesOf(policy)))
      },
    )
    fc.assert(property, seeded(1000))
  })

  test('fixed window: at most the limit in each, and none shorter than windowMs', () => {
    const property = fc.property(anyWindow, schedules({ ops: CHARGES_ONLY }), (settings, schedule) => {
      const policy = toOraclePolicy(settings)
      const windows = windowsOf({ ...settings, tiers: {} }, schedule, 'a')
      let previousEndUs: bigint | undefined
      for (const [endUs, passed] of windows) {
        if (passed > policy.limit) throw new Error(`${passed} passed in the window that ends at ${endUs} us`)
        if (previousEndUs !== undefined && endUs - previousEndUs < policy.windowUs) {
          throw new Error(`windows end at ${previousEndUs} us and ${endUs} us`)
        }
        previousEndUs = endUs
      }
    })
    fc.assert(property, seeded(1000))
  })
})

/** What one key was admitted in each window, by the window's end, in order. */
function windowsOf(policy: OracleSettings, schedule: Schedule, key: string): Map<bigint, bigint> {
  const clock = new ClockModel(schedule.startUs / 1000)
  const totals = new Map<bigint, bigint>()
  let admitted = 0n
  new Driver(policy, schedule).run(schedule.steps, (event) => {
    const nowUs = clock.read(event.atMs)
    if (event.key !== key) return
    admitted += admittedTokens(event)
    if (event.op !== 'peek' || admitted === 0n) return
    const endUs = nowUs + toUs(event.answer.resetAfterMs)
    totals.set(endUs, (totals.get(endUs) ?? 0n) + admitted)
    admitted = 0n
  })
  return totals
}

describe('C4: retryAfterMs is exact', () => {
  const spending = fc.array(
    fc.record({
      afterUs: fc.oneof(fc.constant(0), logUniform(1, 1e12)),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    {
      minLength: 1,
      maxLength: 12,
      size: 'max',
    },
  )

  function checkRetry(
    policy: OracleSettings,
    charges: { afterUs: number; share: number }[],
    finalShare: number,
  ): void {
    const clock = new ManualClock()
    let nowUs = 0
    const setUs = (us: number): void => {
      nowUs = us
      clock.set(us / 1000)
    }
    const limiter = new Limiter({ ...policy, clock, maxKeys: 16 } as LimiterOptions)
    const costOf = (share: number): number => Math.max(1, Math.round(limiter.peek('k').limit * share))
    for (const { afterUs, share } of charges) {
      if (nowUs + afterUs < 1e15) setUs(nowUs + afterUs)
      limiter.consume('k', costOf(share))
    }
    const cost = costOf(finalShare)
    const { allowed, retryAfterMs } = limiter.consume('k', cost)
    if (allowed) return
    const retryUs = nowUs + Math.round(retryAfterMs * 1000)
    setUs(retryUs - 1)
    expect(limiter.consume('k', cost), 'one tick before').toMatchObject({
      allowed: false,
      retryAfterMs: 0.001,
    })
    setUs(retryUs)
    expect(limiter.consume('k', cost).allowed, 'at now + retryAfterMs').toBe(true)
    limiter.close()
  }

  test.each([
    ['token bucket', anyBucket],
    ['token bucket that begins with less', newKeyBucket],
    ['fixed window', anyWindow.map((policy) => ({ ...policy, tiers: {} }))],
    ['fixed window that begins with another limit', newKeyWindow],
    ['sliding window', exactSlidingWindow],
    ['sliding window of any limit', anySlidingWindow],
    ['sliding log', slidingLog],
    ['strict window', strictWindow],
    ['leaky bucket', exactLeakyBucket],
    ['concurrency', concurrency],
  ])('%s', (_, policies) => {
    const share = fc.double({ min: 0, max: 1, noNaN: true })
    fc.assert(fc.property(policies, spending, share, checkRetry), seeded(1000))
  })
})

describe('refunds', () => {
  test('never put a bucket above full, nor add more than they say', () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true })
    const timeUs = fc.oneof(fc.constant(0), logUniform(1, 1e10))
    const property = fc.property(
      anyBucket,
      share,
      timeUs,
      share,
      timeUs,
      (policy, spent, laterUs, asked, agoUs) => {
        const clock = new ManualClock()
        const limiter = new Limiter({ ...policy, clock, maxKeys: 16 } as LimiterOptions)
        const capacity = limiter.peek('k').limit
        limiter.consume('k', Math.round(capacity * spent))
        clock.set(laterUs / 1000)
        const before = limiter.peek('k').remaining
        const tokens = Math.round(capacity * asked)
        const credited = limiter.refund('k', tokens, agoUs / 1000)
        const after = limiter.peek('k').remaining
        expect(credited).toBeLessThanOrEqual(Math.min(tokens, capacity - before))
        expect(after).toBeLessThanOrEqual(capacity)
        expect(after).toBeGreaterThanOrEqual(before + credited)
        expect(after).toBeLessThanOrEqual(before + credited + 1)
        limiter.close()
      },
    )
    fc.assert(property, seeded(500))
  })

  test('never credit a window that came after the charge', () => {
    const tokens = fc.integer({ min: 1, max: 100 })
    const align = fc.constantFrom('first-request' as const, 'epoch' as const)
    const lateUs = fc.integer({ min: 0, max: 999_999 })
    const property = fc.property(tokens, tokens, lateUs, align, (early, late, laterUs, alignment) => {
      const clock = new ManualClock()
      const limiter = new Limiter({
        algorithm: 'fixed-window',
        limit: 100,
        windowMs: 1000,
        align: alignment,
        clock,
        maxKeys: 16,
      })
      limiter.consume('k', early)
      clock.set(1000)
      expect(limiter.refund('k', early)).toBe(0)
      expect(limiter.consume('k', late).allowed).toBe(true)
      clock.set(1000 + laterUs / 1000)
      expect(limiter.refund('k', early, clock.now())).toBe(0)
      expect(limiter.peek('k').remaining).toBe(100 - late)
      expect(limiter.refund('k', early + late)).toBe(late)
      limiter.close()
    })
    fc.assert(property, seeded(500))
  })
})
