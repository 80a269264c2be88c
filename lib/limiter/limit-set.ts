import type { NativeSet } from '../native/engine'
import { type Key, keepKey } from '../native/key'
import { loadNative } from '../native/load'
import type { WaitOptions } from '../waiting/wait-options'
import { checkMembers, eachOf, queueKeyOf, type SetCosts, type SetKeys } from './set-arguments'
import { type SetDecision, setDecisionOf } from './set-decision'
import { isView, type LimiterView, partsOf } from './view'
import { attempted, LONGEST_DELAY_MS, POLL_MS, Waiting } from './waiting'

/** One limit of a set, under a name. */
export interface LimitSetMember {
  /** How decisions call it. Default: its place in the set, from '0'. */
  name?: string
  /** A limiter, or a tier of one. Each member must be of another limiter. */
  limiter: LimiterView
}

/**
 * Several limits as one: a call is admitted if all admit it, and then spends from all of them; else it spends nowhere. For
 * limits per second and per day, or per user, per route and in all. However many threads and processes race, no call ever
 * sees half of another one. (One whose process is killed in the midst may have been charged to some members only.)
 *
 * @example
 * const limits = new LimitSet([
 *   { name: 'user', limiter: new Limiter({ limit: 10, windowMs: 1000 }) },
 *   { name: 'all', limiter: new Limiter({ limit: 1000, windowMs: 1000, maxKeys: 1 }) },
 * ])
 * const decision = limits.consume([userId, 'all'])
 * if (!decision.allowed) console.log(decision.limitedBy, decision.retryAfterMs)
 */
export class LimitSet {
  /** In the order of the members. */
  readonly names: readonly string[]
  readonly #members: readonly LimiterView[]
  readonly #native: NativeSet
  readonly #readClocks: readonly (() => void)[]
  readonly #waiting: Waiting
  readonly #memberRooms: readonly Waiting[]
  /** How often those who wait look for places that others have given back. */
  readonly #pollMs: number | undefined

  /**
   * @param members 2 to 8 limiters (or tiers), with or without names
   * @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE if they are too
   * few or too many, two have one name, or two are of one limiter; TypeError ERR_SLUICE_CLOSED
   */
  constructor(members: readonly (LimiterView | LimitSetMember)[]) {
    const checked = checkMembers(members, isView, 'Limiter')
    const parts = checked.map(({ limiter }) => partsOf(limiter))
    this.names = checked.map(({ name }) => name)
    this.#members = checked.map(({ limiter }) => limiter)
    this.#native = loadNative().openSet(parts.map(({ native }) => native.seat))
    this.#readClocks = [...new Set(parts.flatMap(({ readClock }) => readClock ?? []))]
    const rooms = parts.map(({ waiting }) => waiting)
    this.#waiting = new Waiting(
      (rooms[0] as Waiting).clock,
      Math.min(...rooms.map(({ maxWaiters }) => maxWaiters)),
    )
    this.#memberRooms = rooms
    this.#pollMs = parts.some(({ algorithm }) => algorithm === 'concurrency') ? POLL_MS : undefined
  }

  /**
   * Spends the cost (default 1) from all members if all have it. The fastest call.
   * @returns whether it was admitted; if not, nothing was spent anywhere
   * @throws as the operations of a limiter, and TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE if
   * there are not as many keys or costs as members; nothing is charged then
   */
  allow(keys: SetKeys, costs?: SetCosts): boolean {
    if (!Array.isArray(keys) && typeof costs !== 'object') {
      this.#read()
      return costs === undefined ? this.#native.allow(keys) : this.#native.allow(keys, costs)
    }
    const flat = eachOf(keys, costs, this.names.length)
    this.#read()
    return callEach(this.#native.allowEach, flat)
  }

  /** `allow`, and says what is left of each. */
  consume(keys: SetKeys, costs?: SetCosts): SetDecision {
    const flat = eachOf(keys, costs, this.names.length)
    this.#read()
    return this.#decision(callEach(this.#native.consumeEach, flat), flat)
  }

  /** What `consume` would answer now. Spends nothing. */
  peek(keys: SetKeys, costs?: SetCosts): SetDecision {
    const flat = eachOf(keys, costs, this.names.length)
    this.#read()
    return this.#decision(callEach(this.#native.peekEach, flat), undefined)
  }

  /** Gives back to all members, one after the other, what a call cost; as `refund` of a limiter. */
  refund(keys: SetKeys, costs?: SetCosts, chargedAgoMs?: number): void {
    const flat = eachOf(keys, costs, this.names.length)
    this.#read()
    // Looks at all keys and costs, so that nothing is wrong with the last when the first has its tokens back.
    callEach(this.#native.peekEach, flat)
    this.#members.forEach((member, i) => {
      member.refund(flat[2 * i] as Key, (flat[2 * i + 1] as number | undefined) ?? 1, chargedAgoMs)
    })
    this.#waiting.wake(queueKeyOf(flat))
  }

  /**
   * Waits until all members admit the call; as `wait` of a limiter. Those who wait for the same keys on this object are
   * served in the order in which they came; those who have only some keys in common do not queue behind each other. What
   * the set's `refund` gives back for the same keys is noticed at once, a place of a member that is `concurrency` within
   * 10 ms, and what else others give back when the wait known so far is over. The time is that of the first member's clock, and as
   * many can wait as the least `maxWaiters` of the members.
   */
  async wait(keys: SetKeys, costs?: SetCosts, options?: WaitOptions): Promise<SetDecision> {
    const flat = eachOf(keys, costs, this.names.length).map((value) => keepKey(value as Key))
    for (const room of this.#memberRooms) room.tell(this.#waiting)
    const attempt = (leftMs: number) => {
      this.#read()
      const isAdmitted = this.#native.attemptEach(...flat, Math.min(leftMs, LONGEST_DELAY_MS))
      const decision = this.#decision(isAdmitted, flat)
      const { limitedBy } = decision
      const cost = limitedBy === undefined ? undefined : flat[2 * this.names.indexOf(limitedBy) + 1]
      return attempted(decision, cost as number | undefined, this.#pollMs)
    }
    return this.#waiting.room.wait(queueKeyOf(flat), attempt, options) as Promise<SetDecision>
  }

  #read(): void {
    for (const read of this.#readClocks) read()
  }

  #decision(allowed: boolean, charged: readonly unknown[] | undefined): SetDecision {
    return setDecisionOf(this.names, this.#native.results, allowed, charged)
  }
}

/** Calls with the elements as arguments: one by one for small sets, which is much faster than to spread them. */
function callEach(call: (...keysAndCosts: readonly unknown[]) => boolean, flat: readonly unknown[]): boolean {
  if (flat.length === 4) return call(flat[0], flat[1], flat[2], flat[3])
  if (flat.length === 6) return call(flat[0], flat[1], flat[2], flat[3], flat[4], flat[5])
  return call(...flat)
}
