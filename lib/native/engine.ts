import type { Key } from './key'

/**
 * The contract between TypeScript and the native addon (native/binding). Values are validated before they cross,
 * except keys, costs and spans of time, which the addon checks itself because it must look at them anyway.
 */
export interface NativeEngine {
  /**
   * A new limiter, or, with a name, the shared one of that name, made if there is none. What is found may differ from
   * what was asked for: compare `facts` and `policy`.
   * @param spec algorithm, maxKeys, maxLimit, alignToEpoch, a policy, forgetMs, the steps of the escalation
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
  /** What decides several limits as one. @param seats those of the views; no two of one limiter */
  openSet(seats: readonly unknown[]): NativeSet
  /** A new limiter with what `dump` has written. */
  restore(dump: Uint8Array, clockCell: ClockCell): NativeLimiter
  /** Takes a string out without loss and does nothing with it: the least a native call can cost. */
  noop(key: string): boolean
}

/** Where the time in ms is written before each call; absent for the machine's monotonic clock. */
export type ClockCell = Float64Array | undefined

export interface NativeLimiter {
  /**
   * Of the last call that answers with an outcome: remaining, retryAfterMs, resetAfterMs, limit, delayMs, consumed; of
   * `acquire` the lease's ticket, in three numbers; of `reserve` the time, in two.
   */
  readonly results: Float64Array
  /**
   * algorithm, maxKeys, windowNs (of windows), alignToEpoch, greatest limit it can count to, created (epoch ms), forgetMs,
   * the steps of the escalation.
   */
  readonly facts: Float64Array
  /** The limiter's own policy, whatever it becomes. */
  readonly base: NativeView
  /** @param policy see `policyNumbers` */
  addPolicy(policy: Float64Array): NativeView
  /** Changes the limiter's own policy for all who share it. */
  setPolicy(policy: Float64Array): void
  /** The limiter's own policy as it is now. */
  policy(): Float64Array
  /** All that the table holds; of a private limiter. */
  dump(): ArrayBuffer
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
  consumePartial(key: Key, most?: number): number
  /**
   * For those who come again if refused. Refuses, too, what would have to be held back for longer than `maxDelayMs`. Of
   * concurrency the lease's ticket is in the results, as of `acquire`.
   */
  attempt(key: Key, cost: number | undefined, maxDelayMs: number): number
  reserve(key: Key, estimate: number): number
  /** Of a charge whose time `reserve` has told; nothing once that is longer ago than `ttlMs`. */
  refundSince(key: Key, tokens: number, timeHigh: number, timeLow: number, ttlMs: number): number
  /** Of concurrency only, like `release`. */
  acquire?(key: Key, cost?: number): number
  release?(key: Key, tokens: number, ticketHigh: number, ticketLow: number, ticketNonce: number): number
  peek(key: Key): number
  refund(key: Key, tokens: number, chargedAgoMs?: number): number
  penalize(key: Key, tokens: number, maxDebt?: number): number
  block(key: Key, durationMs: number): boolean
  reset(key: Key): boolean
  consumeText: ConsumeMany<string, Uint32Array>
  consumeIntegers: ConsumeMany<undefined, Float64Array>
  /** For `openSet`. */
  readonly seat: unknown
}

/** The functions take one key and one cost for all members; or those of each in turn. */
export interface NativeSet {
  /** Of the last `consume` or `peek`, for each member: outcome, remaining, retryAfterMs, resetAfterMs, limit, delayMs. */
  readonly results: Float64Array
  allow(key: unknown, cost?: unknown): boolean
  allowEach(...keysAndCosts: readonly unknown[]): boolean
  consumeEach(...keysAndCosts: readonly unknown[]): boolean
  /** As `attempt` of a view, with `maxDelayMs` after all keys and costs. */
  attemptEach(...keysCostsAndDelay: readonly unknown[]): boolean
  peekEach(...keysAndCosts: readonly unknown[]): boolean
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
  delayMs: Float64Array,
) => number
