import { shown, typeError } from '../errors/errors'
import type { NativeView } from '../native/engine'
import type { Key } from '../native/key'
import { type BatchOptions, BatchResult, consumeMany } from './batch'
import { type Decision, REASONS, type Reason } from './decision'

/** @internal What a view needs of the limiter it looks into. */
export interface ViewParts {
  readonly native: NativeView
  readonly results: Float64Array
  /** Reads a clock function into the engine's clock cell; absent where the engine sees the time itself. */
  readonly readClock: (() => void) | undefined
}

/**
 * The operations of a limiter under one policy. `Limiter` is one; `limiter.tier(name)` and `limiter.with(policy)` give
 * others, which look at the same keys: what a key has spent under one policy counts under all.
 *
 * Every operation throws, and changes nothing, on a bad key (TypeError `ERR_SLUICE_KEY_TYPE`, RangeError
 * `ERR_SLUICE_KEY_RANGE`), a bad number (`ERR_SLUICE_ARGUMENT_TYPE`, `ERR_SLUICE_ARGUMENT_RANGE`), a clock function that
 * gives no time (`ERR_SLUICE_CLOCK`) and after `close` (`ERR_SLUICE_CLOSED`). None ever throws for a denial.
 */
export class LimiterView {
  readonly #parts: ViewParts

  /**
   * Spends `cost` tokens (an integer from 0; default 1) if the key has them. The fastest call.
   * @returns whether the call was admitted; if not, nothing was spent
   */
  readonly allow: (key: Key, cost?: number) => boolean

  /** @internal */
  constructor(parts: ViewParts) {
    this.#parts = parts
    const { native, readClock } = parts
    // The engine's own function, with nothing around it where nothing is needed.
    this.allow =
      readClock === undefined
        ? native.allow
        : (key, cost) => {
            readClock()
            return native.allow(key, cost)
          }
  }

  /**
   * Spends `cost` tokens (an integer from 0; default 1) if the key has them, and says what is left. A cost of 0 only
   * reads, and is admitted unless the key is blocked.
   */
  consume(key: Key, cost?: number): Decision {
    const { native, readClock } = this.#parts
    readClock?.()
    return this.#decision(REASONS[native.consume(key, cost)] as Reason)
  }

  /**
   * Whether `consume(key)` would be admitted now. Spends nothing, so `remaining` is what is there before such a call. A
   * key that is not in the table is answered as a new one; that a full table would refuse it only a charge finds out.
   */
  peek(key: Key): Decision {
    const { native, readClock } = this.#parts
    readClock?.()
    return this.#decision(REASONS[native.peek(key)] as Reason)
  }

  /**
   * Decides many keys in one crossing, in order: several times cheaper per key than single calls. Bad input names the
   * index and charges nothing at all.
   * @param out where to put the answers; default a new `BatchResult`. Reuse one to allocate nothing
   */
  consumeMany(
    keys: readonly Key[],
    out: BatchResult = new BatchResult(),
    options?: BatchOptions,
  ): BatchResult {
    if (!(out instanceof BatchResult)) {
      throw typeError('ERR_SLUICE_ARGUMENT_TYPE', `out must be a BatchResult; got ${shown(out)}`)
    }
    const { native, results, readClock } = this.#parts
    readClock?.()
    return consumeMany(native, results, keys, out, options)
  }

  /**
   * Gives back `tokens` of a charge that turned out not to count. Never mints: a full bucket takes nothing, what has
   * been refilled since the charge is not given twice, and a window that has passed is not credited to the next.
   * @param chargedAgoMs how long ago the charge was made, in ms; default 0: just now, in the present window
   * @returns whole tokens credited
   */
  refund(key: Key, tokens: number, chargedAgoMs?: number): number {
    const { native, readClock } = this.#parts
    readClock?.()
    return native.refund(key, tokens, chargedAgoMs)
  }

  /**
   * Takes `tokens`, whether or not the key has them, but never below empty.
   * @returns whole tokens taken
   */
  penalize(key: Key, tokens: number): number {
    const { native, readClock } = this.#parts
    readClock?.()
    return native.penalize(key, tokens)
  }

  /**
   * Refuses every call of the key for `durationMs` from now (ends on a whole ms). Never shortens a block that is in
   * force; `reset` lifts it. A bucket goes on refilling meanwhile.
   * @returns false if the table was too full of keys that are still limiting to remember the block (see `stats`), or `busy`
   */
  block(key: Key, durationMs: number): boolean {
    const { native, readClock } = this.#parts
    readClock?.()
    return native.block(key, durationMs)
  }

  /**
   * Forgets the key: nothing spent, no block. Throws RangeError `ERR_SLUICE_SHARED_BUSY` where a charge would be `busy`.
   * @returns whether there was anything to forget
   */
  reset(key: Key): boolean {
    const { native, readClock } = this.#parts
    readClock?.()
    return native.reset(key)
  }

  #decision(reason: Reason): Decision {
    const { results } = this.#parts
    return {
      allowed: reason === 'ok',
      limit: results[3] as number,
      remaining: results[0] as number,
      retryAfterMs: results[1] as number,
      resetAfterMs: results[2] as number,
      reason,
      source: 'local',
    }
  }
}
