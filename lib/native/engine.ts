import type { Key } from './key'

/**
 * The contract between TypeScript and the native addon (native/binding). Values are validated before they cross,
 * except keys, costs and spans of time, which the addon checks itself because it must look at them anyway.
 */
export interface NativeEngine {
  /**
   * A new limiter, or, with a name, the shared one of that name, made if there is none. What is found may differ from
   * what was asked for: compare `facts` and `policy`.
   * @param spec algorithm, maxKeys, windowNs, maxLimit, alignToEpoch, limit, burst
   */
  open(spec: Float64Array, clockCell: ClockCell, name: string | undefined): NativeLimiter
  /**
   * The shared limiter of that name.
   * @param asTool not to be listed among its members, nor kept out if they are too many
   */
  attachShared(name: string, clockCell: ClockCell, asTool: boolean): NativeLimiter
  /** The limiter of this process that a handle stands for. */
  attachHandle(handle: string, clockCell: ClockCell): NativeLimiter
  /** The names of this user's shared limiters. */
  sharedNames(): string[]
  /** Whoever has it attached goes on with it. Throws ERR_SLUICE_SHARED_BUSY if anybody has, unless `force`. */
  removeShared(name: string, force: boolean): void
  /** Takes a string out without loss and does nothing with it: the least a native call can cost. */
  noop(key: string): boolean
}

/** Where the time in ms is written before each call; absent for the machine's monotonic clock. */
export type ClockCell = Float64Array | undefined

export interface NativeLimiter {
  /** Of the last `consume` or `peek`: remaining, retryAfterMs, resetAfterMs, limit. */
  readonly results: Float64Array
  /** algorithm, maxKeys, windowNs (fixed window), alignToEpoch, greatest limit it can count to, created (epoch ms). */
  readonly facts: Float64Array
  /** The limiter's own policy, whatever it becomes. */
  readonly base: NativeView
  addPolicy(limit: number, windowNs: number, burst: number): NativeView
  /** Changes the limiter's own policy for all who share it. */
  setPolicy(limit: number, windowNs: number, burst: number): void
  /** limit, windowNs, burst of the limiter's own policy as it is now. */
  policy(): Float64Array
  /** keys, capacity, bytes, allowed, denied, evictedLive, refusedFull. */
  stats(): Float64Array
  /** Of each limiter object that is attached: pid, pid namespace, allowed, denied, 1 if it is this one. */
  members(): Float64Array
  /** What `attachHandle` takes, in another thread of this process. */
  handle(): string
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
