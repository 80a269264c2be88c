/// <reference lib="esnext.disposable" preserve="true" />
import { typeError } from '../errors/errors'
import { DecidedCall, type Decision } from '../limiter/decision'
import { isSurelyNotDone } from './transport-error'

/**
 * A place among those that a key may hold at once in the whole cluster (`algorithm: 'concurrency'`), and the decision that
 * gave it. It lapses by itself `holdMs` after it was given, or up to a twelfth of that later.
 *
 * @example
 * await using lease = await limiter.acquire(userId)
 * if (!lease.allowed) return tooManyAtOnce()
 */
export class RedisLease extends DecidedCall {
  readonly #giveBack: () => Promise<boolean>
  #isReleased = false

  /** @internal */
  constructor(decision: Decision, giveBack: () => Promise<boolean>) {
    super(decision)
    this.#giveBack = giveBack
  }

  /**
   * Gives the place back. Rejects with TypeError ERR_SLUICE_RELEASED if that was done before; with ERR_SLUICE_UNAVAILABLE if
   * Redis does not answer. If Redis may have done it all the same, it cannot be tried again: a second time it might free the
   * place of somebody else. The place lapses by itself in any case.
   * @returns false if there was nothing to give back: it had been refused, or had lapsed, or the key was reset
   */
  async release(): Promise<boolean> {
    if (this.#isReleased) {
      throw typeError('ERR_SLUICE_RELEASED', 'the lease was released before; release it once')
    }
    // Before it is done: two calls may come at the same time.
    this.#isReleased = true
    if (!this.allowed) return false
    try {
      return await this.#giveBack()
    } catch (error) {
      this.#isReleased = !isSurelyNotDone(error)
      throw error
    }
  }

  /** For `await using`: releases it, unless that was done before or there is nothing to release. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isReleased || !this.allowed) return
    this.#isReleased = true
    try {
      await this.#giveBack()
    } catch {
      // It lapses by itself.
    }
  }
}
