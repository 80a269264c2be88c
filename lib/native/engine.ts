import type { Key } from './key'

/**
 * The contract between TypeScript and the native addon (native/binding). Values are validated before they cross,
 * except keys, costs and spans of time, which the addon checks itself because it must look at them anyway.
 */
export interface NativeEngine {
  openTokenBucket: Open
  openFixedWindow: Open
  /** Takes a string out without loss and does nothing with it: the least a native call can cost. */
  noop(key: string): boolean
}

/**
 * @param alignToEpoch 1 if windows since the table's origin are to coincide with windows of the epoch, else 0
 * @param clockCell where the time in ms is written before each call; absent for the machine's monotonic clock
 */
export type Open = (
  maxKeys: number,
  windowNs: number,
  maxLimit: number,
  alignToEpoch: 0 | 1,
  clockCell: Float64Array | undefined,
) => NativeLimiter

export interface NativeLimiter {
  /** remaining, retryAfterMs, resetAfterMs of the last `consume` or `peek`. */
  readonly results: Float64Array
  /** The greatest limit that the table can count to. */
  readonly maxLimit: number
  addPolicy(limit: number, windowNs: number, burst: number): NativeView
  /** Fills in keys, capacity, bytes, allowed, denied, evictedLive, refusedFull. */
  stats(into: Float64Array): void
  close(): void
}

export interface NativeView {
  allow(key: Key, cost?: number): boolean
  /** Returns the outcome: an index into the reasons (lib/limiter/decision.ts). */
  consume(key: Key, cost?: number): number
  peek(key: Key): number
  refund(key: Key, tokens: number, chargedAgoMs?: number): number
  penalize(key: Key, tokens: number): number
  block(key: Key, durationMs: number): boolean
  reset(key: Key): boolean
  consumeText: ConsumeMany<string, Uint32Array>
  consumeIntegers: ConsumeMany<undefined, Float64Array>
}

/** Writes results from index `from` on; returns how many were admitted. */
export type ConsumeMany<Text, PerKey> = (
  text: Text,
  perKey: PerKey,
  count: number,
  costs: number | Float64Array,
  allowed: Uint8Array,
  remaining: Float64Array,
  retryAfterMs: Float64Array,
  from: number,
) => number
