/** A source of the present: milliseconds since any fixed moment. May return fractions; read to the microsecond. */
export type ClockFunction = () => number

/** @internal Where the native engine reads the time of a manual clock. */
export let cellOf: (clock: ManualClock) => Float64Array

/**
 * A clock that moves only when told to. Give it to a `Limiter` in tests, or to replay a log in its own time.
 *
 * @example
 * const clock = new ManualClock()
 * const limiter = new Limiter({ limit: 1, windowMs: 1000, clock })
 * limiter.allow('a') // true
 * limiter.allow('a') // false
 * clock.advance(1000)
 * limiter.allow('a') // true
 */
export class ManualClock {
  // Nobody else may have it: memory that is transferred away would be read on.
  readonly #cell = new Float64Array(1)

  static {
    cellOf = (clock) => clock.#cell
  }

  /** @param startMs the first reading, in ms; default 0 */
  constructor(startMs = 0) {
    this.set(startMs)
  }

  /** The present, in ms. */
  now(): number {
    return this.#cell[0] as number
  }

  /** Moves the clock to `ms`. A limiter never takes a step back as time undone (see `LimiterOptions.clock`). */
  set(ms: number): void {
    this.#cell[0] = ms
  }

  /** Moves the clock on by `ms`. */
  advance(ms: number): void {
    this.#cell[0] = this.now() + ms
  }
}
