/**
 * What a limiter makes of the clock it was given: milliseconds rounded to the nearest microsecond (the
 * tick), and never backwards. When the clock steps back, internal time stands still at that reading and
 * goes on from there with the clock's further progress.
 */
export class ClockModel {
  #lastRawUs: bigint
  #offsetUs = 0n

  /** A limiter reads its clock for the first time when it is made. */
  constructor(startMs: number) {
    this.#lastRawUs = toUs(startMs)
  }

  /** Reads the clock and returns internal time in microseconds. */
  read(rawMs: number): bigint {
    const rawUs = toUs(rawMs)
    if (rawUs < this.#lastRawUs) this.#offsetUs += this.#lastRawUs - rawUs
    this.#lastRawUs = rawUs
    return rawUs + this.#offsetUs
  }
}

export function toUs(ms: number): bigint {
  return BigInt(Math.round(ms * 1000))
}
