import type { Key } from './key'

/**
 * The contract between TypeScript and the native addon (native/binding). Values are validated before they cross,
 * except keys, costs and spans of time, which the addon checks itself because it must look at them anyway.
 */
export interface NativeEngine {
  openTokenBucket(options: OpenOptions): NativeLimiter
  openFixedWindow(options: OpenOptions & { alignToEpoch: boolean; maxLimit: number }): NativeLimiter
  /** Takes a string out without loss and does nothing with it: the least a native call can cost. */
  noop(key: string): boolean
}

export interface OpenOptions {
  maxKeys: number
  /** Windows since the table's origin coincide with windows of the epoch of this length. */
  windowNs: number
  /** Where the time in ms is written before each call; absent for the machine's monotonic clock. */
  clockCell: Float64Array | undefined
}

export interface NativePolicy {
  limit: number
  windowNs: number
  burst: number
}

export interface NativeLimiter {
  /** remaining, retryAfterMs, resetAfterMs of the last `consume` or `peek`. */
  readonly results: Float64Array
  /** The greatest limit that the table can count to. */
  readonly maxLimit: number
  addPolicy(policy: NativePolicy): NativeView
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
