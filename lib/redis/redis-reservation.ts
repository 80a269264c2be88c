import { typeError } from '../errors/errors'
import { DecidedCall, type Decision } from '../limiter/decision'
import { checkTokens } from '../limiter/reservation'
import { isSurelyNotDone } from './transport-error'

/** What a reservation does with the limiter. */
export interface RedisReservationParts {
  /** Gives tokens back that were charged then, if that is not too long ago. */
  giveBack(tokens: number): Promise<unknown>
  /** Takes tokens, down to the debt that is allowed. @returns how many it took */
  take(tokens: number): Promise<number>
}

/**
 * An estimate that was charged, and the decision about it; `settle` says what it really cost. If nobody settles, because the
 * process died or took longer than `ttlMs`, the estimate stands as what was spent.
 *
 * @example
 * const reservation = await limiter.reserve(customer, 4000, 60_000)
 * if (!reservation.allowed) return tooManyTokens(reservation.retryAfterMs)
 * await reservation.settle((await model.complete(prompt)).tokensUsed)
 */
export class RedisReservation extends DecidedCall {
  readonly #parts: RedisReservationParts
  #isSettled = false

  /** @internal */
  constructor(decision: Decision, parts: RedisReservationParts) {
    super(decision)
    this.#parts = parts
  }

  /**
   * Says what it really cost, once; as `settle` of a `Reservation`. Of an estimate that was admitted while Redis was away,
   * by `onUnavailable: 'allow'`, nothing had been charged, so all of it is charged now.
   * Rejects with TypeError ERR_SLUICE_SETTLED if that was done before, or there is nothing to settle as it was refused;
   * ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE, ERR_SLUICE_CLOSED, and then it is not settled; with
   * ERR_SLUICE_UNAVAILABLE if Redis does not answer: if it may have done it all the same, it cannot be tried again.
   * @param actual tokens: an integer from 0 to 2^53-1
   * @returns how many tokens could not be charged any more; normally 0
   */
  async settle(actual: number): Promise<number> {
    const cost = checkTokens('actual', actual)
    if (this.#isSettled || !this.allowed) {
      throw typeError(
        'ERR_SLUICE_SETTLED',
        this.allowed
          ? 'the reservation was settled before; settle or cancel it once'
          : 'there is nothing to settle: the reservation was refused (look at `allowed`)',
      )
    }
    // Before it is done: two calls may come at the same time.
    this.#isSettled = true
    try {
      return await this.#correctBy(cost - this.consumed)
    } catch (error) {
      this.#isSettled = !isSurelyNotDone(error)
      throw error
    }
  }

  /** @returns what could not be charged any more */
  async #correctBy(tokens: number): Promise<number> {
    if (tokens > 0) return tokens - (await this.#parts.take(tokens))
    if (tokens < 0) await this.#parts.giveBack(-tokens)
    return 0
  }

  /** `settle(0)`: it cost nothing. Rejects as `settle`. */
  async cancel(): Promise<void> {
    await this.settle(0)
  }
}
