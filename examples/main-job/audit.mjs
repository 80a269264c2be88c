// Checks every decision of the limiter against the policy, from the server's own clock and nothing else.

import { policy, ratePerMs } from './plan.mjs'

/** How much the limiter's clock and ours may differ: one microsecond. */
const toleranceMs = 0.001
const tokenMs = 1 / ratePerMs
const burstMs = (policy.burst - 1) * tokenMs

/**
 * @typedef {object} ClientCounts
 * @property {number} admitted
 * @property {number} denied
 * @property {number} allowedAtMost burst + rate * the time from the first to the last decision, rounded down
 * @property {number} overAdmitted decisions that admitted more than the policy allows
 * @property {number} wronglyDenied decisions that denied what the policy allows
 */

/**
 * One client's bucket, recomputed. The limiter decided at some moment between `beforeMs` and `afterMs`, so the
 * time at which the bucket will be full again is known to lie between two bounds. A decision that no moment
 * within the bounds explains is wrong.
 */
class Bucket {
  #fullEarliestMs = -Infinity
  #fullLatestMs = -Infinity
  #firstMs = NaN
  #lastMs = NaN
  #counts = { admitted: 0, denied: 0, overAdmitted: 0, wronglyDenied: 0 }

  /** @param {number} beforeMs @param {number} afterMs @param {boolean} admitted */
  record(beforeMs, afterMs, admitted) {
    if (Number.isNaN(this.#firstMs)) this.#firstMs = beforeMs
    this.#lastMs = afterMs
    if (!admitted) {
      this.#counts.denied += 1
      if (this.#fullLatestMs - beforeMs <= burstMs - toleranceMs) this.#counts.wronglyDenied += 1
      return
    }
    this.#counts.admitted += 1
    if (this.#fullEarliestMs - afterMs > burstMs + toleranceMs) this.#counts.overAdmitted += 1
    this.#fullEarliestMs = Math.max(this.#fullEarliestMs, beforeMs) + tokenMs
    this.#fullLatestMs = Math.max(this.#fullLatestMs, afterMs) + tokenMs
  }

  /** The counts since the last call; what is spent stays spent. @returns {ClientCounts} */
  takeCounts() {
    const allowedAtMost = Math.floor(policy.burst + ratePerMs * (this.#lastMs - this.#firstMs))
    const counts = { ...this.#counts, allowedAtMost }
    this.#counts = { admitted: 0, denied: 0, overAdmitted: 0, wronglyDenied: 0 }
    this.#firstMs = NaN
    return counts
  }

  get isIdle() {
    return Number.isNaN(this.#firstMs)
  }
}

export class Audit {
  /** @type {Map<string, Bucket>} */
  #buckets = new Map()

  /** @param {string} client @param {number} beforeMs @param {number} afterMs @param {boolean} admitted */
  record(client, beforeMs, afterMs, admitted) {
    let bucket = this.#buckets.get(client)
    if (!bucket) {
      bucket = new Bucket()
      this.#buckets.set(client, bucket)
    }
    bucket.record(beforeMs, afterMs, admitted)
  }

  /** Ends a phase: the counts of each client that took part in it. @returns {Record<string, ClientCounts>} */
  endPhase() {
    const active = [...this.#buckets].filter(([, bucket]) => !bucket.isIdle)
    return Object.fromEntries(active.map(([client, bucket]) => [client, bucket.takeCounts()]))
  }
}
