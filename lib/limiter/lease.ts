/// <reference lib="esnext.disposable" preserve="true" />
import { typeError } from '../errors/errors'
import { DecidedCall, type Decision } from './decision'

/**
 * A place among those that a key may hold at once (`algorithm: 'concurrency'`), and the decision that gave it. It lapses
 * by itself `holdMs` after it was given, or up to a twelfth of that later.
 *
 * @example
 * using lease = limiter.acquire(userId)
 * if (!lease.allowed) return tooManyAtOnce()
 */
export class Lease extends DecidedCall {
  readonly #giveBack: () => boolean
  #isReleased = false

  /** @internal */
  constructor(decision: Decision, giveBack: () => boolean) {
    super(decision)
    this.#giveBack = giveBack
  }

  /**
   * Gives the place back.
   * @returns false if there was nothing to give back: it had been refused, or had lapsed, or the key was reset
   * @throws TypeError ERR_SLUICE_RELEASED if that was done before; ERR_SLUICE_CLOSED
   */
  release(): boolean {
    if (this.#isReleased) {
      throw typeError('ERR_SLUICE_RELEASED', 'the lease was released before; release it once')
    }
    // Before it is done: a clock function of the user's may come back here.
    this.#isReleased = true
    if (!this.allowed) return false
    try {
      return this.#giveBack()
    } catch (error) {
      this.#isReleased = false
      throw error
    }
  }

  /** For `using`: releases it, unless that was done before or there is nothing to release. Never throws. */
  [Symbol.dispose](): void {
    if (this.#isReleased || !this.allowed) return
    this.#isReleased = true
    try {
      this.#giveBack()
    } catch {
      // The limiter is closed: the lease lapses by itself.
    }
  }
}
