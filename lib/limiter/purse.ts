import { rangeError } from '../errors/errors'
import type { NativeLimiter } from '../native/engine'
import type { Key } from '../native/key'
import { loadNative } from '../native/load'
import { ALGORITHMS, PURSE, PURSE_ID } from '../policy/algorithms'
import type { ClockFunction, ManualClock } from '../time/clock'
import { clockSource } from './clock-cell'
import { checkName } from './options'

/** @internal */
export interface PurseOptions {
  /** How many keys the table is made for: from 1 to 2^31. When more than that hold tokens, the poorest are forgotten. */
  maxKeys: number
  /** The longest that a grant is valid, in ms: from 0.5. */
  leaseMs: number
  /** A name under which all processes of this machine share the purses. Limiters must not have the same one. */
  shared?: string | undefined
  /** See `LimiterOptions.clock`. */
  clock?: ManualClock | ClockFunction | undefined
}

/**
 * @internal The most tokens that a key can hold; what is granted beyond is lost, and the most that can be granted at once
 * without loss to a key that holds none.
 */
export const MAX_BALANCE = 2 ** 32 - 2

/**
 * @internal Tokens that were granted to keys until they lapse, in the native table: for all threads and processes that
 * share it, what was granted is taken at most once. Nobody is admitted by what is lost on the way (a process is killed,
 * the table is full, 8.7 years are over).
 */
export class Purse {
  /**
   * Takes `cost` tokens (an integer from 0; default 1) if the key has them. A cost of 0 asks whether it has any.
   * @returns whether they were taken; if not, nothing was
   */
  readonly take: (key: Key, cost?: number) => boolean
  readonly #native: NativeLimiter
  readonly #readClock: (() => void) | undefined
  readonly #leaseMs: number

  /**
   * @throws RangeError ERR_SLUICE_POLICY if `leaseMs` is too short, ERR_SLUICE_SHARED_MISMATCH if what is shared under that
   * name is another one, ERR_SLUICE_NO_MEMORY and all others of a shared limiter; TypeError as of `shared` and `clock`
   */
  constructor({ maxKeys, leaseMs, shared, clock }: PurseOptions) {
    const source = clockSource(clock)
    const name = shared === undefined ? undefined : checkName('shared', shared)
    const windowNs = Math.round(leaseMs * 1e6)
    // As Core's, of a policy that says nothing: algorithm, maxKeys, maxLimit, alignToEpoch, the policy, forgetMs.
    const spec = Float64Array.of(PURSE_ID, maxKeys, 1, 0, 1, windowNs, 1, 0, 0, 0, 0)
    this.#native = loadNative().open(spec, source.cell, name)
    if (name !== undefined) this.#checkFound(name, maxKeys, windowNs)
    this.#leaseMs = leaseMs
    this.#readClock = source.read
    const { base } = this.#native
    const { read } = source
    // The engine's own function, with nothing around it where nothing is needed.
    this.take =
      read === undefined
        ? base.allow
        : (key, cost) => {
            read()
            return base.allow(key, cost)
          }
  }

  /** How many tokens the key has left. */
  balance(key: Key): number {
    this.#readClock?.()
    this.#native.base.peek(key)
    return this.#native.results[0] as number
  }

  /**
   * Adds tokens to what the key has left, all of which is valid from now on for `validMs` at least; to the half of a
   * millisecond, rounded down. At most `leaseMs`; nothing is added if it is not above 0.
   * @returns how many of them were added: fewer if the key has `MAX_BALANCE`; none if they have lapsed already, or if the
   * table cannot take the key now
   */
  grant(key: Key, tokens: number, validMs: number): number {
    this.#readClock?.()
    const ageMs = Math.min(Math.max(this.#leaseMs - validMs, 0), this.#leaseMs)
    return this.#native.base.refund(key, tokens, ageMs)
  }

  /** Takes all tokens that the key has. @returns how many that were */
  drain(key: Key): number {
    this.#readClock?.()
    this.#native.base.consumePartial(key, MAX_BALANCE)
    return this.#native.results[5] as number
  }

  /** Every later call throws ERR_SLUICE_CLOSED. Closing twice does nothing. */
  close(): void {
    this.#native.close()
  }

  /** That what others have made under that name is the same. */
  #checkFound(name: string, maxKeys: number, windowNs: number): void {
    const [id, hasMaxKeys, hasWindowNs] = this.#native.facts as unknown as [number, number, number]
    const differences = [
      id === PURSE_ID ? '' : `it is a ${ALGORITHMS[id - 1]}, not a ${PURSE}`,
      hasMaxKeys === maxKeys ? '' : `maxKeys is ${hasMaxKeys}, not ${maxKeys}`,
      hasWindowNs === windowNs ? '' : `leaseMs is ${hasWindowNs / 1e6}, not ${windowNs / 1e6}`,
    ].filter((text) => text !== '')
    if (differences.length === 0) return
    this.#native.close()
    throw rangeError(
      'ERR_SLUICE_SHARED_MISMATCH',
      `what is shared as '${name}' is another one: ${differences.join('; ')} (use another name, or stop its processes and run: npx sluice remove ${name})`,
    )
  }
}
