/** Why a call was admitted or refused, in the order of the engine's outcomes (native/core/decision.h); the last is not its. */
export const REASONS = [
  'ok',
  'limited',
  'too-costly',
  'blocked',
  'table-full',
  'busy',
  'unavailable',
] as const

/**
 * - `ok`: admitted.
 * - `limited`: not now; see `retryAfterMs`.
 * - `too-costly`: the cost exceeds the capacity, so it can never be admitted.
 * - `blocked`: an explicit `block` is in force.
 * - `table-full`: a new key, and every place it could live holds a key that is still limiting. Raise `maxKeys`.
 * - `busy`: only if `shared`: a process was stopped (SIGSTOP, a debugger, a frozen container) in the middle of a change
 *   to a key beside this one, and lives; keys that are known are decided all the same. See docs/sharing.md.
 * - `unavailable`: only of a `RedisLimiter`: Redis did not answer, and `onUnavailable` decided.
 */
export type Reason = (typeof REASONS)[number]

/**
 * Who decided.
 * - `local`: the engine of this process. Of a `RedisLimiter`: with this host's share of the limit, as Redis did not answer.
 *
 * The others only of a `RedisLimiter`:
 * - `exact`: Redis.
 * - `lease`: this process, from tokens that Redis has lent it.
 * - `cache`: this process, as Redis has denied the key until later.
 * - `open`, `closed`: nobody. Redis did not answer, and `onUnavailable` is `allow` or `deny`.
 */
export type DecisionSource = 'local' | 'exact' | 'lease' | 'cache' | 'open' | 'closed'

/** The answer to one call. */
export interface Decision {
  /** Whether the call was admitted (`peek`: whether one of cost 1 would be). */
  readonly allowed: boolean
  /** The most the key can spend at once: `burst` of a token bucket, `queue` + 1 of a leaky one, else `limit`. */
  readonly limit: number
  /** Whole tokens left after this call. Never overstated. */
  readonly remaining: number
  /**
   * The least wait in ms after which the same call is admitted if nobody else spends; 0 if it was admitted, `Infinity`
   * if it is too costly ever to be. May have a fraction: round up, never down.
   */
  readonly retryAfterMs: number
  /** Time in ms until nothing counts as spent any more. */
  readonly resetAfterMs: number
  /** Tokens that this call spent: its cost, less if it was `partial`, 0 if it was refused. */
  readonly consumed: number
  /**
   * For how many ms from now an admitted call must be held back; 0 unless the algorithm is `leaky-bucket` or the policy
   * spreads calls (`evenly`). May have a fraction: round up, never down.
   */
  readonly delayMs: number
  readonly reason: Reason
  /** Who decided. */
  readonly source: DecisionSource
}

/** What the engine answered: the outcome, and what it has left in `results` (see NativeLimiter). */
export function decisionOf(outcome: number, results: Float64Array): Decision {
  return {
    allowed: outcome === 0,
    limit: results[3] as number,
    remaining: results[0] as number,
    retryAfterMs: results[1] as number,
    resetAfterMs: results[2] as number,
    consumed: results[5] as number,
    delayMs: results[4] as number,
    reason: REASONS[outcome] as Reason,
    source: 'local',
  }
}

/** A decision that can be acted upon later. */
export abstract class DecidedCall implements Decision {
  readonly allowed: boolean
  readonly limit: number
  readonly remaining: number
  readonly retryAfterMs: number
  readonly resetAfterMs: number
  readonly consumed: number
  readonly delayMs: number
  readonly reason: Reason
  readonly source: DecisionSource

  constructor(decision: Decision) {
    this.allowed = decision.allowed
    this.limit = decision.limit
    this.remaining = decision.remaining
    this.retryAfterMs = decision.retryAfterMs
    this.resetAfterMs = decision.resetAfterMs
    this.consumed = decision.consumed
    this.delayMs = decision.delayMs
    this.reason = decision.reason
    this.source = decision.source
  }
}
