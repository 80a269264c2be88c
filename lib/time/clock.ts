/** A source of the present: milliseconds since any fixed moment. May return fractions; read to the microsecond. */
export type ClockFunction = () => number

/** @internal Something that is to happen when a manual clock comes to a certain time. */
export interface ClockWatcher {
  /** How long ago that was, in µs; negative if it lies ahead. Looked at whenever the clock is moved. */
  overdueUs(): number
  /** Does it, and watches no more. */
  step(): void
}

/** @internal Who watches a manual clock. */
export let watchersOf: (clock: ManualClock) => Set<ClockWatcher>

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

  readonly #watchers = new Set<ClockWatcher>()

  static {
    cellOf = (clock) => clock.#cell
    watchersOf = (clock) => clock.#watchers
  }

  /** @param startMs the first reading, in ms; default 0 */
  constructor(startMs = 0) {
    this.set(startMs)
  }

  /** The present, in ms. */
  now(): number {
    return this.#cell[0] as number
  }

  /**
   * Moves the clock to `ms`. A limiter never takes a step back as time undone (see `LimiterOptions.clock`). Those whose
   * `wait` is over by then are admitted in the order of their times, before this returns; their promises resolve as always
   * (after the next `await`).
   */
  set(ms: number): void {
    this.#cell[0] = ms
    if (this.#watchers.size > 0) stepThrough(this.#watchers)
  }

  /** Moves the clock on by `ms`, as `set` does. */
  advance(ms: number): void {
    this.set(this.now() + ms)
  }
}

/** Whatever has been due for longest comes first. A step may add further ones. */
function stepThrough(watchers: ReadonlySet<ClockWatcher>): void {
  for (;;) {
    let next: ClockWatcher | undefined
    let longestUs = 0
    for (const watcher of watchers) {
      const overdueUs = watcher.overdueUs()
      if (!(overdueUs >= longestUs) || (next !== undefined && overdueUs === longestUs)) continue
      next = watcher
      longestUs = overdueUs
    }
    if (next === undefined) return
    next.step()
  }
}
