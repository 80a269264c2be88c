import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Algorithm, type Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, open, policyOf, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

const range = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const
const isBucket = (algorithm: Algorithm) => algorithm === 'token-bucket' || algorithm === 'leaky-bucket'

describe.each(ALGORITHMS)('%s', (algorithm) => {
  function make(more: Partial<LimiterOptions> = {}): Limiter {
    return open(tenOf(algorithm, { clock, tiers: { paid: policyOf(algorithm, 20) }, ...more }))
  }

  test('ten at once, then none; what it says of the wait is so to the microsecond', () => {
    const limiter = make()
    for (let left = 9; left >= 0; left--) {
      expect(limiter.consume('k')).toMatchObject({ allowed: true, limit: 10, remaining: left, consumed: 1 })
    }
    const denied = { allowed: false, limit: 10, remaining: 0, reason: 'limited', consumed: 0, delayMs: 0 }
    expect(limiter.consume('k')).toEqual({ ...denied, ...AFTER_TEN[algorithm], source: 'local' })
    expect(limiter.peek('k')).toMatchObject({ allowed: false, ...AFTER_TEN[algorithm] })
    const { retryAfterMs, resetAfterMs } = AFTER_TEN[algorithm]
    clock.set(retryAfterMs - 0.001)
    expect(limiter.consume('k')).toMatchObject({ allowed: false, retryAfterMs: 0.001 })
    clock.set(retryAfterMs)
    expect(limiter.consume('k')).toMatchObject({ allowed: true })
    limiter.reset('k')
    expect(limiter.peek('k')).toMatchObject({ remaining: 10, resetAfterMs: 0 })
    clock.set(0)
    const fresh = make()
    fresh.consume('k', 10)
    clock.set(resetAfterMs - 0.001)
    expect(fresh.peek('k').resetAfterMs).toBe(0.001)
    clock.set(resetAfterMs)
    expect(fresh.peek('k')).toMatchObject({ remaining: 10, resetAfterMs: 0 })
  })

  test('who counts windows or parts of them counts from the zero of the clock', () => {
    clock.set(12_345)
    const limiter = make()
    limiter.consume('k', 10)
    // 345 ms into a window, and in the 149th twelfth, which counts until the 162nd begins.
    const inRing = Math.ceil((161 / 12) * 1e6) / 1000 - 12_345
    const expected: Partial<Record<Algorithm, [number, number]>> = {
      'sliding-window': [755, 1655],
      'strict-window': [inRing, inRing],
      concurrency: [inRing, inRing],
    }
    const { retryAfterMs, resetAfterMs } = AFTER_TEN[algorithm]
    const [retry, reset] = expected[algorithm] ?? [retryAfterMs, resetAfterMs]
    const answer = limiter.consume('k')
    expect(answer.retryAfterMs).toBeCloseTo(retry, 9)
    expect(answer.resetAfterMs).toBeCloseTo(reset, 9)
  })

  test('allow admits as many, a leaky bucket those whose turn it is', () => {
    const limiter = make()
    const admitted = Array.from({ length: 30 }, () => limiter.allow('k')).filter(Boolean)
    expect(admitted).toHaveLength(algorithm === 'leaky-bucket' ? 1 : 10)
  })

  test('tiers see what was spent under the other', () => {
    const limiter = make()
    const paid = limiter.tier('paid')
    limiter.consume('k', 10)
    if (algorithm === 'leaky-bucket') {
      // They go out within a second, in which as many of the other rate would.
      expect(paid.consume('k')).toMatchObject({ limit: 20, remaining: 0, retryAfterMs: 50 })
      clock.set(500)
      expect(paid.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0, delayMs: 500 })
      return
    }
    expect(paid.peek('k')).toMatchObject({ limit: 20, remaining: 10 })
    expect(paid.consume('k', 11).reason).toBe('limited')
    expect(paid.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0, consumed: 10 })
    expect(limiter.consume('k')).toMatchObject({ allowed: false, limit: 10, remaining: 0 })
    expect(limiter.consume('k', 20).reason).toBe('too-costly')
    expect(paid.consume('k', 20).reason).toBe('limited')
    limiter.block('k', 10)
    expect(paid.peek('k').reason).toBe('blocked')
    expect(paid.reset('k')).toBe(true)
    expect([limiter.peek('k').remaining, paid.peek('k').remaining]).toEqual([10, 20])
  })

  test('with gives the same view for the same numbers', () => {
    const limiter = make()
    const variant = policyOf(algorithm, 7)
    expect(limiter.with(variant)).toBe(limiter.with({ ...variant }))
    expect(limiter.with(variant)).not.toBe(limiter.with(policyOf(algorithm, 6)))
    expect(limiter.with(variant).consume('k', 7)).toMatchObject({ allowed: true, limit: 7, remaining: 0 })
    expect(limiter.with(policyOf(algorithm, 6)).peek('k')).toMatchObject({ limit: 6, remaining: 0 })
    // Of a leaky bucket, all that goes out in the second for which the other one is busy.
    expect(limiter.peek('k').remaining).toBe(algorithm === 'leaky-bucket' ? 0 : 3)
  })

  test('only buckets may have windows of their own', () => {
    const limiter = make()
    const name = algorithm === 'concurrency' ? 'holdMs' : 'windowMs'
    const view = () => limiter.with({ [name]: 2000 })
    if (isBucket(algorithm)) {
      expect(view().consume('k', 5)).toMatchObject({ allowed: true, resetAfterMs: 1000 })
      return
    }
    const says = [`must be the limiter's own 1000 (all policies of a ${algorithm} share it`, 'got 2000']
    expectComplaint(view, { ...range, says: [`with.${name}`, ...says] })
    expectComplaint(() => limiter.setPolicy({ [name]: 2000 }), {
      ...range,
      says: [`policy.${name}`, ...says],
    })
    expectComplaint(() => make({ tiers: { paid: { [name]: 2000 } } }), {
      ...range,
      says: [`tiers.paid.${name}`, ...says],
    })
    expect(limiter.with({ [name]: 1000 }).peek('k').limit).toBe(10)
  })

  test('policy tells what it is now, setPolicy changes what is named', () => {
    const limiter = make()
    const burst = algorithm === 'token-bucket' ? { burst: 10 } : {}
    expect(limiter.policy).toEqual({ algorithm, ...policyOf(algorithm, 10), ...burst })
    limiter.setPolicy(policyOf(algorithm, 15))
    const raised = algorithm === 'token-bucket' ? { burst: 15 } : {}
    expect(limiter.policy).toEqual({ algorithm, ...policyOf(algorithm, 15), ...raised })
    limiter.setPolicy({})
    expect(limiter.policy.limit).toBe(15)
    expect(limiter.consume('k', 15)).toMatchObject({ allowed: true, limit: 15, remaining: 0 })
  })

  test('raising the limit refills no bucket, and lets a window have more', () => {
    const limiter = make()
    limiter.consume('k', 8)
    limiter.setPolicy(policyOf(algorithm, 20))
    const remaining = { 'token-bucket': 2, 'leaky-bucket': 4 }[algorithm as string] ?? 12
    expect(limiter.peek('k')).toMatchObject({ limit: 20, remaining })
  })

  test('lowering it takes nothing back, but what was spent counts', () => {
    const limiter = make()
    limiter.consume('k', 4)
    limiter.setPolicy(policyOf(algorithm, 5))
    if (algorithm === 'leaky-bucket') {
      // Busy for the same 400 ms.
      expect(limiter.consume('k', 3)).toMatchObject({ allowed: true, remaining: 0, delayMs: 400 })
      return
    }
    expect(limiter.peek('k')).toMatchObject({ limit: 5, remaining: 1 })
    limiter.setPolicy(policyOf(algorithm, 3))
    expect(limiter.consume('k')).toMatchObject({ allowed: false, limit: 3, remaining: 0 })
    clock.set(3000)
    expect(limiter.consume('k', 3)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('a block holds, and what was spent goes on ageing under it', () => {
    const limiter = make()
    limiter.consume('k', 10)
    limiter.block('k', 3000)
    expect(limiter.consume('k', 0)).toMatchObject({ reason: 'blocked', retryAfterMs: 3000 })
    expect(limiter.consumeMany(['k']).retryAfterMs[0]).toBe(3000)
    clock.set(2999.999)
    expect(limiter.allow('k')).toBe(false)
    clock.set(3000)
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('a block that ends before the rest is back tells both', () => {
    const limiter = make()
    limiter.consume('k', 10)
    limiter.block('k', 50)
    // A window that is still open at the block's end begins anew there.
    const retryAfterMs = algorithm === 'fixed-window' ? 1050 : AFTER_TEN[algorithm].retryAfterMs
    expect(limiter.consume('k')).toMatchObject({ reason: 'blocked', retryAfterMs })
    clock.set(retryAfterMs - 0.001)
    expect(limiter.allow('k')).toBe(false)
    expect(limiter.consume('k', 11)).toMatchObject({ allowed: false, retryAfterMs: Number.POSITIVE_INFINITY })
    clock.set(retryAfterMs)
    expect(limiter.consume('k')).toMatchObject({ allowed: true })
  })

  test('penalize takes what is there, refund gives back what is not away for good', () => {
    const limiter = make()
    limiter.consume('k', 4)
    expect(limiter.penalize('k', 4)).toBe(4)
    expect(limiter.penalize('k', 4)).toBe(2)
    expect(limiter.peek('k').remaining).toBe(0)
    // A place in time that was given away cannot be taken back.
    const back = algorithm === 'leaky-bucket' ? 0 : 3
    expect(limiter.refund('k', 3)).toBe(back)
    expect(limiter.peek('k').remaining).toBe(back)
    expect(limiter.refund('k', 100)).toBe(algorithm === 'leaky-bucket' ? 0 : 7)
    expect(limiter.refund('unknown', 1)).toBe(0)
  })
})
