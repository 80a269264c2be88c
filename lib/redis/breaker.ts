export type BreakerState = 'closed' | 'open' | 'half-open'

export interface BreakerOptions {
  /** How many failures in a row open it. A whole number, at least 1. */
  readonly failures: number
  /** For how long it is open at first, in ms; twice as long after each probe that fails. */
  readonly openMs: number
  /** For how long it is open at most, in ms (give or take the jitter). */
  readonly maxOpenMs: number
}

/** How far the time it is open may be off either way, so that hosts do not probe together. */
const JITTER = 0.1

/**
 * A circuit breaker. It has neither clock nor timer: times are arguments, in ms of one monotonic clock. Whoever was
 * admitted reports how it went.
 */
export class Breaker {
  readonly #options: BreakerOptions
  readonly #onChange: (from: BreakerState, to: BreakerState, why?: Error) => void
  readonly #random: () => number
  #state: BreakerState = 'closed'
  #failuresInRow = 0
  #lastError: Error | undefined
  /** For how long it opens, or was opened last, without jitter. */
  #openMs: number
  /** When the next probe may go. */
  #untilMs = 0

  /**
   * @param onChange called after each change; `why` is the failure that opened it
   * @param random at least 0, below 1
   */
  constructor(
    options: BreakerOptions,
    onChange: (from: BreakerState, to: BreakerState, why?: Error) => void,
    random: () => number = Math.random,
  ) {
    this.#options = options
    this.#onChange = onChange
    this.#random = random
    this.#openMs = options.openMs
  }

  get state(): BreakerState {
    return this.#state
  }

  /**
   * Whether a call may go. Open, it lets one through when its time is over: the probe. The next one goes when the probe
   * has succeeded, or has not reported for as long as the breaker was open.
   */
  admit(nowMs: number): boolean {
    if (this.#state === 'closed') return true
    if (nowMs < this.#untilMs) return false
    this.#untilMs = nowMs + this.#openMs
    this.#become('half-open')
    return true
  }

  /** A call that was admitted has succeeded. While it is open none does, as it was sent before. */
  succeeded(): void {
    if (this.#state === 'open') return
    this.#failuresInRow = 0
    this.#lastError = undefined
    this.#openMs = this.#options.openMs
    this.#become('closed')
  }

  /** A call that was admitted has failed. Calls that failed together, with the same error, count once. */
  failed(nowMs: number, error: Error): void {
    if (this.#state === 'open' || error === this.#lastError) return
    this.#lastError = error
    if (this.#state === 'half-open') {
      this.#openMs = Math.min(this.#openMs * 2, this.#options.maxOpenMs)
      this.#open(nowMs, error)
    } else if (++this.#failuresInRow >= this.#options.failures) {
      this.#open(nowMs, error)
    }
  }

  /** In how many ms a call is let through if none reports before; 0 if one would be now. */
  retryAfterMs(nowMs: number): number {
    return this.#state === 'closed' ? 0 : Math.max(0, this.#untilMs - nowMs)
  }

  #open(nowMs: number, why: Error): void {
    this.#untilMs = nowMs + this.#openMs * (1 + JITTER * (2 * this.#random() - 1))
    this.#become('open', why)
  }

  #become(to: BreakerState, why?: Error): void {
    const from = this.#state
    if (from === to) return
    this.#state = to
    this.#onChange(from, to, why)
  }
}
