import { rangeError, shown } from '../errors/errors'
import {
  checkMembers,
  eachOf,
  queueKeyOf,
  type SetCosts,
  type SetKeys,
  type SetMember,
} from '../limiter/set-arguments'
import { joinDecisions, type SetDecision } from '../limiter/set-decision'
import { type Key, keepKey } from '../limiter/view'
import { Waiting } from '../limiter/waiting'
import type { WaitOptions } from '../waiting/wait-options'
import { checkCost } from './arguments'
import type { RedisCore } from './redis-core'
import { isRedisView, partsOf, type RedisView } from './redis-view'
import { askEach, askTogether, type Decided, type Seat, type SetKind, undo } from './set-calls'
import { waitForAdmission } from './waiting'

/** One limit of a set, under a name. */
export interface RedisLimitSetMember {
  /** How decisions call it. Default: its place in the set, from '0'. */
  name?: string
  /** A `RedisLimiter`, or a tier of one, in `exact` mode. */
  limiter: RedisView
}

/**
 * Several limits of a cluster as one: a call is admitted if all admit it, and then spends from all of them; else it spends
 * nowhere. Give each limit its own prefix.
 *
 * On one node, or where all keys of a call are on one slot (the same key under several limits is, as its hash tag is the
 * key), one script decides: no call ever sees half of another one. Across slots of a Cluster the members are asked at the
 * same time, and what some have admitted is given back if others refuse: then for a moment others may be refused for
 * what is given back, but never is too much admitted. A host that dies in that moment leaves it spent. A leaky bucket cannot be
 * a member of such a call.
 *
 * @example
 * const limits = new RedisLimitSet([
 *   { name: 'second', limiter: new RedisLimiter({ client, prefix: 'api-s', limit: 10, windowMs: 1000 }) },
 *   { name: 'day', limiter: new RedisLimiter({ client, prefix: 'api-d', limit: 10_000, windowMs: 86_400_000 }) },
 * ])
 * const decision = await limits.consume(userId)
 * if (!decision.allowed) console.log(decision.limitedBy, decision.retryAfterMs)
 */
export class RedisLimitSet {
  /** In the order of the members. */
  readonly names: readonly string[]
  readonly #members: readonly RedisView[]
  readonly #room: Waiting

  /**
   * @param members 2 to 8 limiters (or tiers), with or without names
   * @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE if they are too
   * few or too many, two have one name, or two have prefix and client in common; ERR_SLUICE_UNSUPPORTED if one is `leased`
   */
  constructor(members: readonly (RedisView | RedisLimitSetMember)[]) {
    const checked = checkMembers(members, isRedisView, 'RedisLimiter')
    checkTogether(checked)
    this.names = checked.map(({ name }) => name)
    this.#members = checked.map(({ limiter }) => limiter)
    const rooms = this.#members.map((member) => partsOf(member).core.waiting)
    this.#room = new Waiting(
      (rooms[0] as Waiting).clock,
      Math.min(...rooms.map(({ maxWaiters }) => maxWaiters)),
    )
  }

  /**
   * Spends the cost (default 1) from all members if all have it.
   * @returns whether it was admitted; if not, nothing was spent anywhere. Rejects as the operations of a limiter, and with
   * TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE if there are not as many keys or costs as members
   */
  async allow(keys: SetKeys, costs?: SetCosts): Promise<boolean> {
    return this.#join(await this.#ask('allow', this.#seatsOf(keys, costs))).allowed
  }

  /** `allow`, and says what is left of each. */
  async consume(keys: SetKeys, costs?: SetCosts): Promise<SetDecision> {
    return this.#join(await this.#ask('consume', this.#seatsOf(keys, costs)))
  }

  /** What `consume` would answer now. Spends nothing. */
  async peek(keys: SetKeys, costs?: SetCosts): Promise<SetDecision> {
    return this.#join(await this.#ask('peek', this.#seatsOf(keys, costs)))
  }

  /** Gives back to all members what a call cost; as `refund` of a limiter. */
  async refund(keys: SetKeys, costs?: SetCosts, chargedAgoMs?: number): Promise<void> {
    const seats = this.#seatsOf(keys, costs)
    await Promise.all(seats.map(({ view, key, cost }) => view.refund(key, cost, chargedAgoMs)))
    this.#room.room.wake(queueKeyOf(flatOf(seats)))
  }

  /**
   * Waits until all members admit the call; as `wait` of a `RedisLimiter`. Those who wait for the same keys on this object are
   * served in the order in which they came.
   */
  async wait(keys: SetKeys, costs?: SetCosts, options?: WaitOptions): Promise<SetDecision> {
    const asked = this.#seatsOf(keys, costs)
    const own = asked.map(({ key }) => key)
    const each = asked.map(({ cost }) => cost)
    for (const { core } of asked) core.waiting.tell(this.#room)
    let latest: readonly Decided[] = []
    const ask = (
      leftMs: number,
      answer: (decision: SetDecision) => void,
      fail: (error: unknown) => void,
    ): void => {
      // Anew each time: a member may have been closed, or have another policy.
      const told = this.#ask('wait', this.#seatsOf(own, each), leftMs)
      told.then((decided) => {
        latest = decided
        answer(this.#join(decided))
      }, fail)
    }
    const giveBack = (): void => {
      for (const [i, decided] of latest.entries()) undo(asked[i] as Seat, decided)
    }
    const polls = this.#members.some((member) => partsOf(member).core.settings.algorithm === 'concurrency')
    const cost = Math.max(...each)
    return waitForAdmission(this.#room, queueKeyOf(flatOf(asked)), cost, { ask, giveBack, polls }, options)
  }

  /** Checks all, before anything is charged. */
  #seatsOf(keys: SetKeys, costs: SetCosts | undefined): Seat[] {
    const flat = eachOf(keys, costs, this.names.length)
    return this.#members.map((view, i) => {
      const { core, under } = partsOf(view)
      core.checkOpen()
      const [key, cost = 1] = [flat[2 * i] as Key, flat[2 * i + 1] as number | undefined]
      checkCost(cost)
      return { view, core, under, key: keepKey(key), cost, name: core.nameOf(key) }
    })
  }

  #ask(kind: SetKind, seats: readonly Seat[], leftMs = 0): Promise<Decided[]> {
    const { courier } = (seats[0] as Seat).core
    const isTogether =
      seats.every(({ core }) => core.courier === courier) && courier.shareSlot(seats.map(({ name }) => name))
    return isTogether ? askTogether(kind, seats, leftMs) : askEach(kind, seats, leftMs)
  }

  #join(decided: readonly Decided[]): SetDecision {
    const decisions = decided.map(({ decision }) => decision)
    const allowed = decisions.every((decision) => decision.allowed)
    return joinDecisions(this.names, decisions, allowed)
  }
}

function flatOf(seats: readonly Seat[]): (Key | number)[] {
  return seats.flatMap(({ key, cost }) => [key, cost])
}

/** @throws RangeError ERR_SLUICE_OPTION_RANGE, ERR_SLUICE_UNSUPPORTED */
function checkTogether(members: readonly SetMember<RedisView>[]): void {
  const seen: RedisCore[] = []
  for (const { name, limiter } of members) {
    const { core } = partsOf(limiter)
    core.checkOpen()
    if (core.leases !== undefined) {
      throw rangeError(
        'ERR_SLUICE_UNSUPPORTED',
        `limit ${shown(name)} of the set is in mode 'leased'; a set needs limiters in mode 'exact'`,
      )
    }
    const { prefix } = core.settings
    if (seen.some((other) => other.courier === core.courier && other.settings.prefix === prefix)) {
      throw rangeError(
        'ERR_SLUICE_OPTION_RANGE',
        `two limits of a set have the prefix ${shown(prefix)}, so the same keys; give each its own`,
      )
    }
    if (seen.some((other) => other.settings.clock !== core.settings.clock)) {
      throw rangeError('ERR_SLUICE_OPTION_RANGE', 'all limits of a set must have the same clock, or none')
    }
    seen.push(core)
  }
}
