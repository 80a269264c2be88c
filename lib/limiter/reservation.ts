import { rangeError, shown, typeError } from '../errors/errors'
import { checkNumber, checkObject, type Range } from '../policy/options'
import { DecidedCall, type Decision } from './decision'

export interface ReserveOptions {
  /**
   * How far below empty `settle` may take the key, in tokens: from 0; default and most: its whole capacity. (A sliding log
   * cannot go below empty.)
   */
  maxDebt?: number
}

/** What a reservation does with the limiter. */
export interface ReservationParts {
  /** Gives tokens back that were charged then, if that is not too long ago. */
  giveBack(tokens: number): void
  /** Takes tokens, down to the debt that is allowed. @returns how many it took */
  take(tokens: number): number
}

/**
 * An estimate that was charged, and the decision about it; `settle` says what it really cost. The engine keeps nothing
 * of it: if nobody settles, because the process died or took longer than `ttlMs`, the estimate stands as what was spent.
 *
 * @example
 * const reservation = limiter.reserve(customer, 4000, 60_000)
 * if (!reservation.allowed) return tooManyTokens(reservation.retryAfterMs)
 * reservation.settle((await model.complete(prompt)).tokensUsed)
 */
export class Reservation extends DecidedCall {
  readonly #estimate: number
  readonly #parts: ReservationParts
  #isSettled = false

  /** @internal */
  constructor(decision: Decision, estimate: number, parts: ReservationParts) {
    super(decision)
    this.#estimate = estimate
    this.#parts = parts
  }

  /**
   * Says what it really cost, once. Less than the estimate: the rest is given back (as by `refund`: never more than has not
   * come back by itself), unless `ttlMs` has passed. More: the rest is charged, also if the key does not have it, down to
   * `maxDebt` below empty.
   * @param actual tokens: an integer from 0 to 2^53-1
   * @returns how many tokens could not be charged any more; normally 0
   * @throws TypeError ERR_SLUICE_SETTLED if that was done before, or there is nothing to settle as it was refused;
   * ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE, and then it is not settled; ERR_SLUICE_CLOSED
   */
  settle(actual: number): number {
    const cost = checkTokens('actual', actual)
    if (this.#isSettled || !this.allowed) {
      throw typeError(
        'ERR_SLUICE_SETTLED',
        this.allowed
          ? 'the reservation was settled before; settle or cancel it once'
          : 'there is nothing to settle: the reservation was refused (look at `allowed`)',
      )
    }
    // Before it is done: a clock function of the user's may come back here.
    this.#isSettled = true
    try {
      return this.#correctBy(cost - this.#estimate)
    } catch (error) {
      this.#isSettled = false
      throw error
    }
  }

  /** @returns what could not be charged any more */
  #correctBy(tokens: number): number {
    if (tokens > 0) return tokens - this.#parts.take(tokens)
    if (tokens < 0) this.#parts.giveBack(-tokens)
    return 0
  }

  /** `settle(0)`: it cost nothing. @throws as `settle` */
  cancel(): void {
    this.settle(0)
  }
}

const TTL_MS: Range = { min: 0, max: 4_611_686_018_427, integer: false }
const MAX_DEBT: Range = { min: 0, max: Number.MAX_SAFE_INTEGER, integer: true }

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkReservation(ttlMs: unknown, value: unknown): { ttlMs: number; maxDebt: number } {
  const { maxDebt } = value === undefined ? {} : checkObject('options', value, ['maxDebt'])
  return {
    ttlMs: checkNumber('ttlMs', ttlMs, TTL_MS),
    maxDebt: maxDebt === undefined ? MAX_DEBT.max : checkNumber('maxDebt', maxDebt, MAX_DEBT),
  }
}

/** An argument that counts tokens. @throws TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE */
export function checkTokens(name: string, value: unknown): number {
  const accepted = 'an integer from 0 to 9007199254740991'
  if (typeof value !== 'number')
    throw typeError('ERR_SLUICE_ARGUMENT_TYPE', `${name} must be ${accepted}; got ${shown(value)}`)
  if (!(value >= 0 && Number.isSafeInteger(value)))
    throw rangeError('ERR_SLUICE_ARGUMENT_RANGE', `${name} must be ${accepted}; got ${shown(value)}`)
  return value
}
