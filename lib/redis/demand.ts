import type { Key } from '../limiter/view'

/** A key must be asked for so often within a lease that borrowing pays; and so many tokens are worth a loan. */
export const LEAST_DEMAND = 4
/** By how much a loan may exceed the one before: one burst is no lasting demand. */
const GROWTH = 8
const SHORTEST_MS = 0.05

/** Of a call: what it has waited for has come, or not. `leftMs`: how long Redis may still take; 0 if it has not answered. */
export type Waiter = (leftMs: number) => void

/** What is known of the demand for one key of which tokens are borrowed, or may be soon. */
export class Demand {
  /** What the purse held after the last loan. */
  lent = 0
  /** Until when the purse may be spent. */
  validUntilMs = 0
  /** Whether that is when the window ends: no further loan lasts longer. */
  isCut = false
  /** Tells loans of one busy period, or window, from those of another; 0: not known. */
  origin = 0
  /** Nothing is borrowed before: there was nothing to be had. */
  restUntilMs = Number.NEGATIVE_INFINITY
  /** Those who wait for a loan that is on its way; undefined: none is. */
  waiting: Waiter[] | undefined
  /** The key was reset or blocked: what comes now is of no use. */
  isForgotten = false
  timer: NodeJS.Timeout | undefined
  /** What the purse held when last looked at. */
  seen = 0
  #sinceMs: number
  /** Calls that were decided in Redis one by one, and the tokens they asked for. */
  #calls = 0
  #asked = 0
  /** What was spent from the purse, as far as it was seen. */
  #spent = 0

  constructor(
    readonly key: Key,
    readonly name: string,
    nowMs: number,
  ) {
    this.#sinceMs = nowMs
  }

  /** For how long it has been counted. */
  ageMs(nowMs: number): number {
    return nowMs - this.#sinceMs
  }

  /** A call is decided in Redis. */
  ask(tokens: number): void {
    this.#calls++
    this.#asked += tokens
  }

  /** Notes what was spent of the purse, now that it holds `balance`; which it answers. */
  observe(balance: number, nowMs: number): number {
    // What has lapsed was not spent.
    if (nowMs < this.validUntilMs) this.#spent += Math.max(0, this.seen - balance)
    this.seen = balance
    return balance
  }

  get isIdle(): boolean {
    return this.#asked + this.#spent === 0
  }

  /** What was counted so far counts no more. */
  restart(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#calls = 0
    this.#asked = 0
    this.#spent = 0
  }

  /**
   * How much the key is likely to need until a loan of now lapses.
   * @param leaseMs how long that is, if the window does not end before
   */
  wanted(nowMs: number, leaseMs: number): number {
    if (nowMs < this.restUntilMs) return 0
    const isNew = this.lent === 0 && this.#spent === 0
    if (isNew && this.#calls < LEAST_DEMAND) return 0
    const leftMs = this.validUntilMs - nowMs
    const spanMs = this.isCut && leftMs > 0 ? leftMs : leaseMs
    const perMs = (this.#asked + this.#spent) / Math.max(this.ageMs(nowMs), SHORTEST_MS)
    return Math.min(Math.ceil(perMs * spanMs), GROWTH * Math.max(this.lent, LEAST_DEMAND))
  }
}
