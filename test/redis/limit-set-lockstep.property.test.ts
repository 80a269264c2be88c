import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { SetDecision } from '../../lib/index'
import { RedisLimiter, type RedisLimiterOptions, RedisLimitSet } from '../../lib/redis/index'
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
} from '../property/policies'
import { seeded } from '../property/seed'
import { UNHURRIED_MS, useScene } from './limiter-scene'

const scene = useScene()
const RUNS = 60
const MOST_MEMBERS = 5

interface Ask {
  /** Microseconds after the call before, or where that stood, when it said to come again. */
  afterUs: number | 'retry' | 'tick-before-retry'
  op: 'consume' | 'allow' | 'peek' | 'alone'
  /** One for each member. */
  keys: string[]
  /** Shares of what is left: one for each member. */
  shares: number[]
}

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
  op: fc.constantFrom('consume', 'consume', 'consume', 'allow', 'peek', 'alone'),
  keys: fc.array(fc.constantFrom('a', 'a', 'b'), oneForEach),
  shares: fc.array(
    fc.oneof(fc.constantFrom(0, 1, 1.001), fc.double({ min: 0, max: 1, noNaN: true })),
    oneForEach,
  ),
})

let made = 0

class Sets {
  #nowUs = 0
  #waitUs = 0
  readonly #limiters: RedisLimiter[]
  readonly #set: RedisLimitSet
  readonly #oracle: SetOracle

  constructor(policies: OracleSettings[]) {
    const prefix = `set-${made++}`
    const clock = (): number => this.#nowUs / 1000
    this.#limiters = policies.map(
      (policy, i) =>
        new RedisLimiter({
          ...(policy as Omit<RedisLimiterOptions, 'client'>),
          client: scene.redis,
          prefix: `${prefix}-${i}`,
          clock,
          denyCache: false,
          timeoutMs: UNHURRIED_MS,
          onUnavailable: 'deny',
        }),
    )
    this.#set = new RedisLimitSet(this.#limiters.map((limiter, i) => ({ name: `m${i}`, limiter })))
    this.#oracle = new SetOracle(policies.map((settings, i) => ({ name: `m${i}`, settings })))
  }

  async run(asks: Ask[]): Promise<void> {
    this.#nowUs = 7
    try {
      for (const step of asks) {
        this.#move(step.afterUs)
        await this.#check(step)
      }
    } finally {
      await Promise.all(this.#limiters.map((limiter) => limiter.close()))
    }
  }

  async #check(step: Ask): Promise<void> {
    const keys = this.#limiters.map((_, i) => step.keys[i] as string)
    const peeks = await Promise.all(this.#limiters.map((limiter, i) => limiter.peek(keys[i] as string)))
    const costs = peeks.map(({ remaining }, i) => costOf(remaining, step.shares[i] as number))
    const atMs = this.#nowUs / 1000
    switch (step.op) {
      case 'consume':
        this.#compare(await this.#set.consume(keys, costs), this.#oracle.consume(atMs, keys, costs))
        break
      case 'allow':
        expect(await this.#set.allow(keys, costs)).toBe(this.#oracle.allow(atMs, keys, costs))
        break
      case 'peek':
        this.#compare(await this.#set.peek(keys, costs), this.#oracle.peek(atMs, keys, costs))
        break
      case 'alone': {
        const [key, cost] = [keys[0] as string, costs[0] as number]
        const answer = await (this.#limiters[0] as RedisLimiter).consume(key, cost)
        expect(answer).toMatchObject(plain(this.#oracle.member('m0').consume(atMs, key, cost)))
      }
    }
    const ones = keys.map(() => 1)
    this.#compare(await this.#set.peek(keys, ones), this.#oracle.peek(atMs, keys, ones))
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

/** More than what is left, if the share is above 1. */
function costOf(remaining: number, share: number): number {
  return Math.min(share > 1 ? remaining + 1 : Math.round(remaining * share), Number.MAX_SAFE_INTEGER)
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

test('a set admits what every member’s oracle admits, and spends in all or in none', {
  timeout: 120_000,
}, async () => {
  const policies = fc.array(member, { minLength: 2, maxLength: MOST_MEMBERS })
  const asks = fc.array(ask, { minLength: 1, maxLength: 20, size: 'max' })
  const property = fc.asyncProperty(policies, asks, (settings, steps) => new Sets(settings).run(steps))
  await fc.assert(property, seeded(RUNS))
})
