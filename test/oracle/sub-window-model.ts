import { MOST_COUNTED } from './bounds'
import { CountingModel } from './counting-model'
import { exactly, type OraclePolicy, type Range } from './expected'
import { Rational, smallerInt } from './rational'

/** Sub-windows to a window. */
export const SUB_WINDOWS = 12n

/** What a lease is given back by: the sub-window it was taken in, of the key as it was then known. */
export interface Ticket {
  index: bigint
  /** Whether all that counted has gone since (see `release`). */
  wasEmptied: boolean
  of: SubWindowModel
}

/**
 * The window is cut into twelve, at multiples since the clock's zero. A token counts in the sub-window in which it was
 * spent and in the twelve after it, whatever the moment within it: so never more than the limit within any interval of
 * one window. A strict window, and the places of a concurrency limit: a lease is such a token, which can be released.
 */
export class SubWindowModel extends CountingModel {
  protected override readonly takesDebt: boolean
  protected override readonly mostCounted = MOST_COUNTED
  readonly #counts = new Map<bigint, bigint>()
  readonly #windowUs: bigint
  #tickets: Ticket[] = []

  constructor(policy: OraclePolicy) {
    super()
    this.#windowUs = policy.windowUs
    this.takesDebt = policy.algorithm === 'strict-window'
  }

  /** The ticket of a lease that was taken now. */
  ticket(nowUs: bigint): Ticket {
    const ticket = { index: this.#indexAt(nowUs), wasEmptied: false, of: this }
    this.#tickets.push(ticket)
    return ticket
  }

  /**
   * Gives the places of a lease back; how many of them still counted. A range only if the key was empty in between:
   * then it may have been forgotten, and its old leases with it.
   */
  release(nowUs: bigint, tokens: bigint, ticket: Ticket, witness: boolean): boolean | 'either' {
    this.advance(nowUs)
    const count = this.#counts.get(ticket.index) ?? 0n
    if (count === 0n || tokens === 0n || ticket.of !== this) return false
    const isSure = !ticket.wasEmptied
    if (isSure || witness) this.#set(ticket.index, count - smallerInt(count, tokens))
    return isSure ? true : 'either'
  }

  protected advance(nowUs: bigint): void {
    const oldest = this.#indexAt(nowUs) - SUB_WINDOWS
    for (const index of this.#counts.keys()) if (index < oldest) this.#set(index, 0n)
  }

  protected room(_nowUs: bigint, policy: OraclePolicy): Range<bigint> {
    return exactly(policy.limit - this.#total())
  }

  protected waitFor(nowUs: bigint, cost: bigint, policy: OraclePolicy): Range<bigint> {
    let total = this.#total()
    for (const index of this.#indices()) {
      total -= this.#counts.get(index) as bigint
      if (total + cost <= policy.limit) return exactly(this.#lapseUs(index) - nowUs)
    }
    throw new Error('nothing counts, and yet there is no room')
  }

  protected untilReset(nowUs: bigint): Range<bigint> {
    const newest = this.#indices().at(-1)
    return exactly(newest === undefined ? 0n : this.#lapseUs(newest) - nowUs)
  }

  protected count(nowUs: bigint, { hi }: Range<bigint>): void {
    const index = this.#indexAt(nowUs)
    this.#set(index, (this.#counts.get(index) ?? 0n) + hi)
  }

  protected giveBack(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint> {
    const index = this.#indexAt(nowUs - chargedAgoUs)
    const count = this.#counts.get(index) ?? 0n
    const credited = smallerInt(count, tokens)
    this.#set(index, count - credited)
    return exactly(credited)
  }

  #indexAt(timeUs: bigint): bigint {
    return Rational.of(timeUs * SUB_WINDOWS, this.#windowUs).floor()
  }

  /** When a token of that sub-window counts no more: the first microsecond at which it is so. */
  #lapseUs(index: bigint): bigint {
    return Rational.of((index + SUB_WINDOWS + 1n) * this.#windowUs, SUB_WINDOWS).ceil()
  }

  #set(index: bigint, count: bigint): void {
    if (count === 0n) this.#counts.delete(index)
    else this.#counts.set(index, count)
    if (this.#counts.size > 0) return
    for (const ticket of this.#tickets) ticket.wasEmptied = true
    this.#tickets = []
  }

  #indices(): bigint[] {
    return [...this.#counts.keys()].sort((a, b) => (a < b ? -1 : 1))
  }

  #total(): bigint {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0n)
  }
}
