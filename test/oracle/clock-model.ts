/** The longest step back that a limiter waits out. */
const WAITED_OUT_US = 10_000_000n

/**
 * What a limiter makes of the clock it was given: milliseconds rounded to the nearest microsecond (the tick), and never
 * backwards. A step back of up to 10 s is waited out: internal time stands still until the clock has caught up. After a
 * longer one internal time goes on, from where it stands, with the clock's further progress.
 */
export class ClockModel {
  #offsetUs = 0n
  #latestUs: bigint

  /** A limiter reads its clock for the first time when it is made. */
  constructor(startMs: number) {
    this.#latestUs = toUs(startMs)
  }

  /** Reads the clock and returns internal time in microseconds. */
  read(rawMs: number): bigint {
    const us = toUs(rawMs) + this.#offsetUs
    if (this.#latestUs - us > WAITED_OUT_US) this.#offsetUs += this.#latestUs - us
    else if (us > this.#latestUs) this.#latestUs = us
    return this.#latestUs
  }
}

export function toUs(ms: number): bigint {
  return BigInt(Math.round(ms * 1000))
}
