// The limiters that people write by hand: one Map, one small object per key. They are written to be fast (one lookup per
// decision, nothing allocated for a key that is known), and do less than sluice: nothing is ever evicted, memory is
// unbounded, every key is an object for the garbage collector, and the answer is only yes or no.

/** @typedef {{ limit: number, windowMs: number }} Policy */

/** A clock that is read ahead of time, as servers do with a timer. Off by up to the timer's interval. */
export class CachedClock {
  nowMs = Date.now()
  refresh() {
    this.nowMs = Date.now()
  }
}

/** Fixed window. */
export class WindowMap {
  /** @type {Map<string, { count: number, endMs: number }>} */
  #windows = new Map()
  #limit
  #windowMs
  #now

  /** @param {Policy} policy @param {() => number} now */
  constructor({ limit, windowMs }, now) {
    this.#limit = limit
    this.#windowMs = windowMs
    this.#now = now
  }

  /** @param {string} key */
  allow(key) {
    const nowMs = this.#now()
    const window = this.#windows.get(key)
    if (window === undefined) {
      this.#windows.set(key, { count: 1, endMs: nowMs + this.#windowMs })
      return true
    }
    if (nowMs >= window.endMs) {
      window.endMs = nowMs + this.#windowMs
      window.count = 1
      return true
    }
    if (window.count >= this.#limit) return false
    window.count++
    return true
  }
}

/** Token bucket, kept as the time at which the bucket is full again (GCRA): half the work of (tokens, time). */
export class BucketMap {
  /** @type {Map<string, { fullAtMs: number }>} */
  #buckets = new Map()
  #tokenMs
  #windowMs
  #now

  /** @param {Policy} policy @param {() => number} now */
  constructor({ limit, windowMs }, now) {
    this.#tokenMs = windowMs / limit
    this.#windowMs = windowMs
    this.#now = now
  }

  /** @param {string} key */
  allow(key) {
    const nowMs = this.#now()
    const bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      this.#buckets.set(key, { fullAtMs: nowMs + this.#tokenMs })
      return true
    }
    const fullAtMs = (bucket.fullAtMs > nowMs ? bucket.fullAtMs : nowMs) + this.#tokenMs
    if (fullAtMs - nowMs > this.#windowMs) return false
    bucket.fullAtMs = fullAtMs
    return true
  }
}
