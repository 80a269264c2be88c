import type { Rational } from './rational'

/** Everything from lo to hi, both included. On exact grids lo and hi are the same. */
export interface Range<T> {
  lo: T
  hi: T
}

export type Reason = 'ok' | 'limited' | 'too-costly' | 'blocked'

/** A policy in the oracle's units: whole tokens and whole microseconds. */
export interface OraclePolicy {
  algorithm: 'token-bucket' | 'fixed-window'
  limit: bigint
  windowUs: bigint
  /** The most that can be spent at once: the burst of a token bucket, the limit of a window. */
  capacity: bigint
  align: 'first-request' | 'epoch'
  /** True if it is, or was, the limiter's own; false of a tier. */
  isBase: boolean
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
}

/** One key under one algorithm. `witness` is what the engine answered; it counts only where the answer is open. */
export interface KeyModel {
  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected
  peek(nowUs: bigint, policy: OraclePolicy, witness: boolean): Expected
  refund(
    nowUs: bigint,
    tokens: bigint,
    chargedAgoUs: bigint,
    policy: OraclePolicy,
    witness: bigint,
  ): Range<bigint>
  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy): Range<bigint>
  block(nowUs: bigint, untilUs: bigint, policy: OraclePolicy): void
  /** Takes the engine's own end of the open window if it is within the bounds; false if it is not. */
  adoptReset(nowUs: bigint, resetAfterUs: bigint): boolean
  /** True while the key is blocked, its bucket is not full or its window is open. */
  isLive(nowUs: bigint): boolean | 'either'
}

export function exactly<T extends bigint | Rational>(value: T): Range<T> {
  return { lo: value, hi: value }
}
