import { type CodedError, rangeError, shown, typeError } from '../errors/errors'
import type { NativeView } from '../native/engine'
import { type Key, keepKey } from '../native/key'
import type { Algorithm } from '../policy/algorithms'
import { checkObject, checkSwitch } from '../policy/options'
import type { WaitOptions } from '../waiting/wait-options'
import { type BatchOptions, BatchResult, consumeMany } from './batch'
import { type Decision, decisionOf } from './decision'
import { Lease } from './lease'
import { checkReservation, checkTokens, Reservation, type ReserveOptions } from './reservation'
import { attempted, LONGEST_DELAY_MS, POLL_MS, queueIdOf, type Waiting } from './waiting'

export { type Key, keepKey }

/** @internal What a view needs of the limiter it looks into. */
export interface ViewParts {
  readonly native: NativeView
  readonly results: Float64Array
  /** Reads a clock function into the engine's clock cell; absent where the engine sees the time itself. */
  readonly readClock: (() => void) | undefined
  readonly algorithm: Algorithm
  readonly waiting: Waiting
}

/** @internal What a `LimitSet` needs of a view. */
export let partsOf: (view: LimiterView) => ViewParts
/** @internal Whether it is one, and not only looks like one. */
export let isView: (value: unknown) => value is LimiterView

export interface ConsumeOptions {
  /** Take what there is, if that is less than the cost; refuse only if there is nothing. Default false: all or nothing. */
  partial?: boolean
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

  static {
    partsOf = (view) => view.#parts
    isView = (value): value is LimiterView => typeof value === 'object' && value !== null && #parts in value
  }

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
  consume(key: Key, cost?: number, options?: ConsumeOptions): Decision {
    const { native, results, readClock } = this.#parts
    if (options !== undefined && isPartial(options)) {
      readClock?.()
      return decisionOf(native.consumePartial(key, cost), results)
    }
    readClock?.()
    return decisionOf(native.consume(key, cost), results)
  }

  /**
   * Charges an estimate now, to be corrected when the cost is known.
   * @param estimate tokens: an integer from 0 to 2^53-1
   * @param ttlMs how long what turns out not to be needed is given back, in ms from 0; the estimate stands after that
   * @throws besides as all operations: TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError
   * ERR_SLUICE_OPTION_RANGE, ERR_SLUICE_UNSUPPORTED if the algorithm is `concurrency`, whose leases do that
   */
  reserve(key: Key, estimate: number, ttlMs: number, options?: ReserveOptions): Reservation {
    const { native, results, waiting, readClock } = this.#parts
    if (native.acquire !== undefined) throw unsupported('reserve', 'acquire', 'concurrency')
    const settings = checkReservation(ttlMs, options)
    const tokens = checkTokens('estimate', estimate)
    readClock?.()
    const decision = decisionOf(native.reserve(key, tokens), results)
    const [timeHigh, timeLow] = [results[9] as number, results[10] as number]
    const kept = keepKey(key)
    return new Reservation(decision, tokens, {
      giveBack: (unused) => {
        readClock?.()
        native.refundSince(kept, unused, timeHigh, timeLow, settings.ttlMs)
        waiting.wake(kept)
      },
      take: (more) => {
        readClock?.()
        return native.penalize(kept, more, settings.maxDebt)
      },
    })
  }

  /**
   * Takes `cost` places (an integer from 0; default 1) of those that the key may hold at once. Only of `concurrency`.
   * @throws besides as all operations: RangeError ERR_SLUICE_UNSUPPORTED if the algorithm is another one
   */
  acquire(key: Key, cost = 1): Lease {
    const { native, readClock } = this.#parts
    if (native.acquire === undefined) throw unsupported('acquire', 'consume', this.#parts.algorithm)
    readClock?.()
    return this.#lease(native.acquire(key, cost), keepKey(key), cost)
  }

  /** Of the call that has just been made. */
  #lease(outcome: number, key: Key, cost: number): Lease {
    const { native, results, readClock, waiting } = this.#parts
    const [high, low, nonce] = [results[6] as number, results[7] as number, results[8] as number]
    return new Lease(decisionOf(outcome, results), () => {
      readClock?.()
      const released = native.release?.(key, cost, high, low, nonce) ?? 0
      waiting.wake(key)
      return released > 0
    })
  }

  /**
   * Waits until the key has `cost` tokens (an integer from 0; default 1), and spends them. First come, first served, for
   * each key, among those who wait on this limiter object: only the first of them tries, so a large cost is not overtaken
   * by small ones. (Who calls `allow` or `consume` does not queue, nor do other threads and processes.) A try that is
   * refused counts neither in `stats().denied` nor as an offence for `escalate`. What is given back on this limiter object,
   * or a change of its policy, is noticed at once; what others give back, when the wait known so far is over.
   *
   * Of a leaky bucket, or a policy that spreads calls (`evenly`), the promise resolves when the call may go out: `delayMs`
   * of the decision is 0, the rest as it was when the call was booked. It is booked as soon as there is room for it, and
   * then its time is fixed: higher priorities do not overtake it any more, and if the signal aborts, or the limiter is
   * closed, the promise rejects but what was booked stays spent. A call that would go out after `maxWaitMs` is not booked.
   *
   * Never throws. Rejects with what the operations throw; RangeError `ERR_SLUICE_TOO_COSTLY` if the cost is above the
   * capacity, `ERR_SLUICE_WAIT_TIMEOUT` after `maxWaitMs`, or as soon as it is known that it would take longer,
   * `ERR_SLUICE_QUEUE_FULL` if `maxWaiters` wait; TypeError `ERR_SLUICE_CLOSED`; the signal's reason; RangeError
   * `ERR_SLUICE_UNSUPPORTED` if the algorithm is `concurrency` (see `waitForLease`); TypeError ERR_SLUICE_OPTION_TYPE,
   * ERR_SLUICE_OPTION_UNKNOWN, RangeError ERR_SLUICE_OPTION_RANGE for options.
   */
  wait(key: Key, cost?: number, options?: WaitOptions): Promise<Decision> {
    const { native, results, readClock, waiting } = this.#parts
    if (native.acquire !== undefined)
      return Promise.reject(unsupported('wait', 'waitForLease', 'concurrency'))
    const own = keepKey(key)
    const attempt = (leftMs: number) => {
      readClock?.()
      const outcome = native.attempt(own, cost, Math.min(leftMs, LONGEST_DELAY_MS))
      return attempted(decisionOf(outcome, results), cost)
    }
    return waiting.room.wait(queueIdOf(own), attempt, options)
  }

  /**
   * Waits until the key has `cost` places free, and takes them: `wait` for `concurrency`. Rejects as `wait`, but never
   * before `maxWaitMs` is over because of the time: a lease may be released at any moment. One that is released on this
   * limiter object, or lapses, is noticed at once; of others, if there may be any (it is `shared`, was attached to, or gave
   * its `handle` away), within 10 ms.
   */
  waitForLease(key: Key, cost = 1, options?: WaitOptions): Promise<Lease> {
    const { native, readClock, waiting, algorithm } = this.#parts
    if (native.acquire === undefined) return Promise.reject(unsupported('waitForLease', 'wait', algorithm))
    const own = keepKey(key)
    const attempt = () => {
      readClock?.()
      const lease = this.#lease(native.attempt(own, cost, 0), own, cost)
      return attempted(lease, cost, waiting.hasOthers ? POLL_MS : Number.POSITIVE_INFINITY)
    }
    return waiting.room.wait(queueIdOf(own), attempt, options) as Promise<Lease>
  }

  /**
   * Whether `consume(key)` would be admitted now. Spends nothing, so `remaining` is what is there before such a call. A
   * key that is not in the table is answered as a new one; that a full table would refuse it only a charge finds out.
   */
  peek(key: Key): Decision {
    const { native, results, readClock } = this.#parts
    readClock?.()
    return decisionOf(native.peek(key), results)
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
   * Gives back `tokens` of a charge that turned out not to count. Give back only what was charged. A full bucket takes nothing, what has
   * been refilled since the charge is not given twice, and a window that has passed is not credited to the next.
   * @param chargedAgoMs how long ago the charge was made, in ms; default 0: just now, in the present window
   * @returns whole tokens credited
   */
  refund(key: Key, tokens: number, chargedAgoMs?: number): number {
    const { native, readClock, waiting } = this.#parts
    readClock?.()
    const credited = native.refund(key, tokens, chargedAgoMs)
    waiting.wake(key)
    return credited
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
    const { native, readClock, waiting } = this.#parts
    readClock?.()
    const wasKnown = native.reset(key)
    waiting.wake(key)
    return wasKnown
  }
}

/** @internal */
export function isPartial(options: ConsumeOptions): boolean {
  return checkSwitch('partial', checkObject('options', options, ['partial'])['partial'])
}

function unsupported(operation: string, instead: string, algorithm: Algorithm): RangeError & CodedError {
  return rangeError(
    'ERR_SLUICE_UNSUPPORTED',
    `${operation} is not for a limiter of algorithm '${algorithm}'; use ${instead}`,
  )
}
