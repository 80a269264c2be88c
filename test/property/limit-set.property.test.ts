import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Limiter, type LimiterOptions, LimitSet, type SetDecision } from '../../lib/index'
import type { Expected } from '../oracle/expected'
import { type ExpectedSet, SetOracle } from '../oracle/set-oracle'
import type { OracleSettings } from '../oracle/settings'
import {
  evenWindow,
  exactBucket,
  exactLeakyBucket,
  exactSlidingWindow,
  logUniform,
  newKeyBucket,
  newKeyWindow,
  slidingLog,
  strictWindow,
} from './policies'
import { seeded } from './seed'

interface Ask {
  /** Microseconds after the call before, or where that stood, when it said to come again. */
  afterUs: number | 'retry' | 'tick-before-retry'
  op: 'consume' | 'consume' | 'allow' | 'peek' | 'refund' | 'alone'
  /** One for each member. */
  keys: string[]
  /** Shares of what is left, or of the limit: one for each member. */
  costs: { of: 'remaining' | 'limit' | 'one'; share: number }[]
}

const MOST_MEMBERS = 8
const oneForEach = { minLength: MOST_MEMBERS, maxLength: MOST_MEMBERS }

/** Where nothing is rounded as long as nothing is blocked. */
const member: fc.Arbitrary<OracleSettings> = fc
  .oneof(
    exactBucket,
    newKeyBucket,
    newKeyWindow,
    evenWindow,
    exactSlidingWindow,
    slidingLog,
    strictWindow,
    exactLeakyBucket,
  )
  .map(({ tiers: _, ...settings }) => settings)

const ask: fc.Arbitrary<Ask> = fc.record({
  afterUs: fc.oneof(
    fc.constant(0),
    logUniform(1, 1e9),
    fc.constantFrom('retry' as const, 'tick-before-retry' as const),
  ),
  op: fc.constantFrom('consume', 'consume', 'consume', 'allow', 'peek', 'refund', 'alone'),
  keys: fc.array(fc.constantFrom('a', 'a', 'b'), oneForEach),
  costs: fc.array(
    fc.record({
      of: fc.constantFrom('remaining', 'remaining', 'limit', 'one', 'one'),
      share: fc.oneof(fc.constantFrom(0, 1, 1.001), fc.double({ min: 0, max: 1, noNaN: true })),
    }),
    oneForEach,
  ),
})

class Sets {
  /** Nothing happens in the moment in which the limiters are made. */
  #nowUs = 0
  #waitUs = 0
  readonly #limiters: Limiter[]
  readonly #set: LimitSet
  readonly #oracle: SetOracle

  constructor(policies: OracleSettings[]) {
    const clock = (): number => this.#nowUs / 1000
    this.#limiters = policies.map(
      (policy) => new Limiter({ ...(policy as LimiterOptions), clock, maxKeys: 16 }),
    )
    this.#set = new LimitSet(this.#limiters.map((limiter, i) => ({ name: `m${i}`, limiter })))
    this.#oracle = new SetOracle(policies.map((settings, i) => ({ name: `m${i}`, settings })))
  }

  run(asks: Ask[]): void {
    this.#nowUs = 7
    for (const step of asks) {
      this.#move(step.afterUs)
      this.#check(step)
    }
    for (const limiter of this.#limiters) limiter.close()
  }

  #check(step: Ask): void {
    const keys = this.#limiters.map((_, i) => step.keys[i] as string)
    const costs = this.#limiters.map((limiter, i) => costOf(limiter.peek(keys[i] as string), step.costs[i]))
    const atMs = this.#nowUs / 1000
    switch (step.op) {
      case 'consume':
        this.#compare(this.#set.consume(keys, costs), this.#oracle.consume(atMs, keys, costs))
        break
      case 'allow':
        expect(this.#set.allow(keys, costs)).toBe(this.#oracle.allow(atMs, keys, costs))
        break
      case 'peek':
        this.#compare(this.#set.peek(keys, costs), this.#oracle.peek(atMs, keys, costs))
        break
      case 'refund':
        this.#set.refund(keys, costs)
        for (const [i, cost] of costs.entries())
          this.#oracle.member(`m${i}`).refund(atMs, keys[i] as string, cost)
        break
      case 'alone': {
        const [key, cost] = [keys[0] as string, costs[0] as number]
        const answer = (this.#limiters[0] as Limiter).consume(key, cost)
        expect(answer).toMatchObject(plain(this.#oracle.member('m0').consume(atMs, key, cost)))
      }
    }
    const ones = keys.map(() => 1)
    this.#compare(this.#set.peek(keys, ones), this.#oracle.peek(atMs, keys, ones))
  }

  #compare(answer: SetDecision, expected: ExpectedSet): void {
    this.#waitUs = Number.isFinite(answer.retryAfterMs) ? Math.round(answer.retryAfterMs * 1000) : 0
    const decisions = Object.fromEntries(
      Object.entries(expected.decisions).map(([name, decision]) => [name, plain(decision)]),
    )
    expect(answer).toMatchObject({
      ...decisions[expected.tightest],
      delayMs: Number(expected.delayUs.hi) / 1000,
      decisions,
    })
    expect(answer.limitedBy).toBe(expected.limitedBy)
  }

  #move(afterUs: Ask['afterUs']): void {
    const byUs =
      afterUs === 'retry' ? this.#waitUs : afterUs === 'tick-before-retry' ? this.#waitUs - 1 : afterUs
    this.#nowUs += Math.min(Math.max(0, byUs), 1e14)
    this.#waitUs = 0
  }
}

function costOf(
  { remaining, limit }: { remaining: number; limit: number },
  wanted: Ask['costs'][number] | undefined,
): number {
  const { of, share } = wanted ?? { of: 'one', share: 1 }
  const whole = of === 'remaining' ? remaining : of === 'limit' ? limit : 1
  return Math.min(share > 1 ? whole + 1 : Math.round(whole * share), Number.MAX_SAFE_INTEGER)
}

/** The decision that is expected, where nothing is left open. */
function plain(expected: Expected): object {
  const { retryAfterUs, resetAfterUs, delayUs } = expected
  return {
    allowed: expected.allowed,
    reason: expected.reason,
    limit: Number(expected.limit),
    remaining: Number(expected.remaining.lo),
    retryAfterMs: retryAfterUs === 'never' ? Number.POSITIVE_INFINITY : Number(retryAfterUs.lo) / 1000,
    resetAfterMs: Number(resetAfterUs.lo) / 1000,
    delayMs: Number(delayUs.lo) / 1000,
    consumed: Number(expected.consumed),
  }
}

test('a set admits what every member’s oracle admits, and spends in all or in none', () => {
  const policies = fc.array(member, { minLength: 2, maxLength: MOST_MEMBERS })
  const asks = fc.array(ask, { minLength: 1, maxLength: 25, size: 'max' })
  const property = fc.property(policies, asks, (settings, steps) => new Sets(settings).run(steps))
  fc.assert(property, seeded(700))
})
