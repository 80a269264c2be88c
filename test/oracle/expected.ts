import { larger, largerInt, type Rational } from './rational'

/** Everything from lo to hi, both included. On exact grids lo and hi are the same. */
export interface Range<T> {
  lo: T
  hi: T
}

export type Reason = 'ok' | 'limited' | 'too-costly' | 'blocked'

export type Algorithm =
  | 'token-bucket'
  | 'fixed-window'
  | 'sliding-window'
  | 'sliding-log'
  | 'strict-window'
  | 'leaky-bucket'
  | 'concurrency'

/** A policy in the oracle's units: whole tokens and whole microseconds. */
export interface OraclePolicy {
  algorithm: Algorithm
  limit: bigint
  /** Of concurrency: how long a lease is held at least. */
  windowUs: bigint
  /** The most that can be spent at once: the burst of a token bucket, queue + 1 of a leaky one, the limit of the others. */
  capacity: bigint
  align: 'first-request' | 'epoch'
  /** True if it is, or was, the limiter's own; false of a tier. */
  isBase: boolean
  /** What a key begins with of which nothing is known. */
  initial: bigint | undefined
  /** How long a key stays known after nothing of it counts any more. */
  rememberUs: bigint
  /** Whether admitted calls are told to spread themselves. */
  evenly: boolean
}

/** What a Decision must say. 'either' stands only where the engine may round (see bounds.ts). */
export interface Expected {
  allowed: boolean | 'either'
  reason: Reason | 'either'
  limit: bigint
  remaining: Range<bigint>
  /** 'never' is Infinity: the cost is above the capacity. */
  retryAfterUs: Range<bigint> | 'never'
  resetAfterUs: Range<bigint>
  /** How long an admitted call is to wait before it goes out. */
  delayUs: Range<bigint>
  /** The tokens that this call spent. */
  consumed: bigint
}

/** One key under one algorithm. `witness` is what the engine answered; it counts only where the answer is open. */
export interface KeyModel {
  /** @param atOnce admitted only if it may go out without a delay (what `allow` asks of a leaky bucket) */
  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean, atOnce: boolean): Expected
  /** What `consume` would answer, of which nothing is spent. */
  peek(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected
  refund(
    nowUs: bigint,
    tokens: bigint,
    chargedAgoUs: bigint,
    policy: OraclePolicy,
    witness: bigint,
  ): Range<bigint>
  /** Takes up to `tokens`, and no more than `maxDebt` (nor one capacity) below empty. */
  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy, maxDebt: bigint): Range<bigint>
  block(nowUs: bigint, untilUs: bigint, policy: OraclePolicy): void
  /** Takes the engine's own end of the open window if it is within the bounds; false if it is not. */
  adoptReset(nowUs: bigint, resetAfterUs: bigint): boolean
  /** True while the key is blocked, or what it spent counts, or it is remembered. */
  isLive(nowUs: bigint): boolean | 'either'
}

export const NOTHING: Range<bigint> = { lo: 0n, hi: 0n }

export function exactly<T extends bigint | Rational>(value: T): Range<T> {
  return { lo: value, hi: value }
}

export function notBelowZero({ lo, hi }: Range<bigint>): Range<bigint> {
  return { lo: largerInt(0n, lo), hi: largerInt(0n, hi) }
}

export function atLeast(least: Rational, { lo, hi }: Range<Rational>): Range<Rational> {
  return { lo: larger(least, lo), hi: larger(least, hi) }
}

/**
 * The verdict on a call of a key that is blocked for `untilEndUs` more, where it would be admitted `untilFitUs` from now
 * if there were no block.
 */
export function blockedVerdict(
  verdict: Expected,
  untilEndUs: bigint,
  untilFitUs: Range<bigint> | 'never',
): Expected {
  const { lo, hi } = verdict.resetAfterUs
  const notBefore = (us: bigint): bigint => largerInt(us, untilEndUs)
  return {
    ...verdict,
    allowed: false,
    reason: 'blocked',
    remaining: NOTHING,
    retryAfterUs:
      untilFitUs === 'never' ? 'never' : { lo: notBefore(untilFitUs.lo), hi: notBefore(untilFitUs.hi) },
    resetAfterUs: { lo: notBefore(lo), hi: notBefore(hi) },
    delayUs: NOTHING,
  }
}
