import type { Decision } from '../limiter/decision'
import { MAX_BALANCE, Purse } from '../limiter/purse'
import { type Key, keepKey } from '../limiter/view'
import type { Policy } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'
import { DecisionCall, exactDecision, LongCall, type LongReply } from './calls'
import { Demand, LEAST_DEMAND, type Waiter } from './demand'
import type { RedisCore } from './redis-core'
import type { Reply } from './scripts'

export interface LeasesOptions {
  readonly leaseMs: number
  readonly maxKeys: number
  readonly shared: string | undefined
  readonly clock: ManualClock | ClockFunction | undefined
}

/** Keys of which the demand is watched; and as many again that borrow. */
const MAX_WATCHED = 10_000
/** How often loans are looked after within a lease. */
const LOOKS = 4
/** A loan lasts no longer than this part of a window (of a bucket: of the time in which it fills). */
const LONGEST_PART = 1 / 12
/** For less it does not pay. */
const SHORTEST_MS = 4
/** What is not spent by so long before it lapses is given back. */
const FAREWELL_MS = 2
/** How much faster the server's clock may go than ours. */
const DRIFT = 0.001
/** What may pass between two lines of ours. */
const STALL_MS = 0.5
/** Into how many steps the time of a call is divided. */
const TIMEOUT_STEPS = 8

/**
 * Tokens that this host has borrowed in Redis, and spends by itself. Calls that find the purse empty are decided in Redis;
 * where there are many of them, one brings a loan back, for as much as the key is likely to need until it lapses.
 *
 * Tokens are charged in Redis before anybody has them, as if spent at the worst time of the loan: so no order of spending
 * admits more than deciding each call in Redis would. Redis lends at most half of what is left, shared by all hosts: a key
 * that is nearly exhausted is decided exactly.
 *
 * What the cluster may admit less than Redis would by itself: what lies in purses (of a host that is killed, until the
 * window is over or the bucket has refilled); and of a token bucket, what refills in two leases, as loans of a bucket that
 * is nearly full are charged so much later.
 */
export class Leases {
  readonly #core: RedisCore
  readonly #longestMs: number
  readonly #purse: Purse
  /** Keys that have been asked for, the one that has been watched for longest first. */
  readonly #watched = new Map<string, Demand>()
  readonly #borrowing = new Map<string, Demand>()
  #policy: Policy | undefined
  #leaseMs = 0
  #timer: NodeJS.Timeout | undefined
  #isClosed = false
  /** Spends from the purse. Returns whether that held enough. */
  readonly take: (key: Key, cost: number) => boolean

  constructor(core: RedisCore, { leaseMs, maxKeys, shared, clock }: LeasesOptions) {
    this.#core = core
    this.#longestMs = leaseMs
    this.#purse = new Purse({
      maxKeys,
      leaseMs,
      ...(shared === undefined ? {} : { shared: `${shared}.p` }),
      ...(clock === undefined ? {} : { clock }),
    })
    this.take = this.#purse.take
  }

  /** What the purse of that key holds. */
  balance(key: Key): number {
    return this.#purse.balance(key)
  }

  /** Of how many keys something is kept. */
  get size(): number {
    return this.#watched.size + this.#borrowing.size
  }

  /** A call that the purse could not serve. */
  decide(key: Key, name: string, cost: number, resolve: (decision: Decision) => void): void {
    const demand = cost > this.#core.base.policy.capacity ? undefined : this.#demandFor(key, name)
    if (demand?.waiting !== undefined) {
      demand.waiting.push((leftMs) => this.#retry(demand, cost, resolve, leftMs))
      return
    }
    if (demand !== undefined) {
      const nowMs = this.#core.nowMs()
      demand.ask(cost)
      this.#observe(demand, nowMs)
      const want = demand.wanted(nowMs, this.#spanMs())
      if (want >= LEAST_DEMAND) {
        this.#borrow(demand, cost, want, resolve)
        return
      }
    }
    this.#decideExactly(key, name, cost, resolve)
  }

  /** For how long tokens may be borrowed now. */
  #spanMs(): number {
    const { policy } = this.#core.base
    if (policy !== this.#policy) {
      this.#policy = policy
      const wholeMs =
        this.#core.settings.algorithm === 'token-bucket'
          ? (policy.windowMs / policy.limit) * policy.capacity
          : policy.windowMs
      this.#leaseMs = Math.min(this.#longestMs, wholeMs * LONGEST_PART)
    }
    return this.#leaseMs
  }

  #demandFor(key: Key, name: string): Demand | undefined {
    const known = this.#borrowing.get(name)
    if (known !== undefined) return known
    const spanMs = this.#spanMs()
    if (this.#isClosed || spanMs < SHORTEST_MS || this.#borrowing.size >= MAX_WATCHED) return undefined
    const nowMs = this.#core.nowMs()
    const watched = this.#watched.get(name)
    if (watched !== undefined && watched.ageMs(nowMs) <= spanMs) return watched
    if (watched !== undefined) this.#watched.delete(name)
    else if (this.#watched.size >= MAX_WATCHED) {
      // The oldest makes room; if it is in demand it soon comes again.
      this.#watched.delete(this.#watched.keys().next().value as string)
    }
    const demand = new Demand(keepKey(key), name, nowMs)
    this.#watched.set(name, demand)
    return demand
  }

  /** After a loan has come, or not. */
  #retry(demand: Demand, cost: number, resolve: (decision: Decision) => void, leftMs: number): void {
    const core = this.#core
    const { key, name } = demand
    try {
      if (!this.#isClosed && this.#purse.take(key, cost)) {
        core.count('lease', true)
        resolve(leaseDecision(core.base.policy, cost, this.#purse.balance(key)))
        return
      }
      if (leftMs > 0) {
        demand.ask(cost)
        this.#decideExactly(key, name, cost, resolve, leftMs)
        return
      }
    } catch {
      // A clock of the user's that fails.
    }
    resolve(core.withoutRedis(core.base, key, cost, 'consume'))
  }

  #decideExactly(
    key: Key,
    name: string,
    cost: number,
    resolve: (decision: Decision) => void,
    timeoutMs = this.#core.settings.timeoutMs,
  ): void {
    this.#core.send(new ExactCall(this.#core, key, name, cost, resolve, timeoutMs))
  }

  /** Decides a call in Redis, and brings back a loan. */
  #borrow(
    demand: Demand,
    cost: number,
    want: number,
    resolve: ((decision: Decision) => void) | undefined,
  ): void {
    const core = this.#core
    const under = core.base
    const { key, name, origin } = demand
    const sentMs = core.nowMs()
    const held = this.#observe(demand, sentMs)
    const leaseUs = Math.floor(this.#spanMs() * 1000)
    const most = Math.min(want, MAX_BALANCE - held)
    const startMs = performance.now()
    const waiting: Waiter[] = []
    const done = (leftMs: number): void => {
      demand.waiting = undefined
      for (const next of waiting) next(leftMs)
    }
    const onReply = (reply: Reply, more: LongReply): void => {
      unlessClockFails(() => {
        this.#keep(demand, held, sentMs, leaseUs, more)
        if (reply.outcome !== 0) core.noteDenial(under, 'consume', cost, key, reply, call)
      })
      if (resolve !== undefined) {
        core.count('exact', reply.outcome === 0)
        resolve(exactDecision(reply, under.policy.capacity))
      }
      done(this.#leftMs(startMs))
    }
    const onFailure = (): void => {
      resolve?.(core.withoutRedis(under, key, cost, 'consume'))
      done(0)
    }
    const item = `l ${cost} ${most} ${held} ${leaseUs} ${core.hosts.count} ${origin.toFixed(0)}`
    const call = new LongCall(core, under, key, name, item, true, onReply, onFailure)
    demand.waiting = waiting
    this.#watched.delete(name)
    this.#borrowing.set(name, demand)
    this.#arm()
    core.send(call)
  }

  /** What is left of the time of a call that began then, in steps: so that calls still go together. */
  #leftMs(startMs: number): number {
    const { timeoutMs } = this.#core.settings
    const step = Math.ceil(timeoutMs / TIMEOUT_STEPS)
    return Math.floor((timeoutMs - (performance.now() - startMs)) / step) * step
  }

  /** A loan is valid from the time on at which it was asked for: Redis has counted from later on. */
  #keep(demand: Demand, held: number, sentMs: number, leaseUs: number, more: LongReply): void {
    const [granted, validUs, origin] = more
    if (demand.isForgotten) return
    const nowMs = this.#core.nowMs()
    const validMs = (validUs / 1000) * (1 - DRIFT) - STALL_MS - (nowMs - sentMs)
    demand.restart(nowMs)
    if (granted === 0) demand.restUntilMs = nowMs + leaseUs / 1000 / LOOKS
    if (this.#isClosed) {
      void this.#giveBack(demand, granted, origin)
      return
    }
    const before = this.#purse.balance(demand.key)
    const added = granted > 0 && validMs > 0 ? this.#purse.grant(demand.key, granted, validMs) : 0
    demand.lent = demand.seen = before + added
    if (added < granted) void this.#giveBack(demand, granted - added, origin)
    if (added === 0) return
    // Of what others on this machine have borrowed meanwhile the origin is not known.
    demand.origin = before > held ? 0 : origin
    demand.validUntilMs = nowMs + validMs
    demand.isCut = validUs < leaseUs
    // The tokens are valid from the purse's present on, which may have come later than ours.
    if (this.#core.nowMs() - nowMs > STALL_MS) void this.#giveAllBack(demand)
    else if (demand.isCut) this.#lookAgain(demand, validMs)
  }

  /** What the purse holds; notes what was spent of it. */
  #observe(demand: Demand, nowMs: number): number {
    return demand.observe(this.#purse.balance(demand.key), nowMs)
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#lookAfterAll()
      if (this.#borrowing.size > 0) this.#arm()
    }, this.#spanMs() / LOOKS)
    this.#timer.unref()
  }

  /** Shortly before the window is over. */
  #lookAgain(demand: Demand, validMs: number): void {
    clearTimeout(demand.timer)
    const farewell = (): void => {
      if (this.#isClosed || demand.waiting !== undefined || demand.isForgotten) return
      unlessClockFails(() => {
        this.#observe(demand, this.#core.nowMs())
        void this.#giveAllBack(demand)
      })
    }
    demand.timer = setTimeout(farewell, Math.max(validMs - FAREWELL_MS, 0))
    demand.timer.unref()
  }

  /** Those in demand are renewed ahead of need, the others given back. */
  #lookAfterAll(): void {
    unlessClockFails(() => {
      const nowMs = this.#core.nowMs()
      for (const demand of this.#borrowing.values()) {
        if (demand.waiting === undefined) this.#lookAfter(demand, nowMs)
      }
    })
  }

  #lookAfter(demand: Demand, nowMs: number): void {
    const spanMs = this.#spanMs()
    const ageMs = demand.ageMs(nowMs)
    const leftMs = demand.validUntilMs - nowMs
    const balance = this.#observe(demand, nowMs)
    if (ageMs >= spanMs / 2 && demand.isIdle) {
      this.#borrowing.delete(demand.name)
      void this.#giveAllBack(demand)
      return
    }
    const want = demand.wanted(nowMs, spanMs)
    const endsSoon = leftMs <= (demand.isCut ? 0 : spanMs / 2)
    if (want >= LEAST_DEMAND && (balance < demand.lent / 2 || endsSoon) && balance <= 2 * want) {
      const more = Math.max(want - balance, 2)
      if (more >= LEAST_DEMAND || endsSoon) this.#borrow(demand, 0, more, undefined)
    } else if (leftMs <= spanMs / LOOKS + FAREWELL_MS && !demand.isCut) {
      void this.#giveAllBack(demand)
    }
    if (ageMs > 2 * spanMs && demand.waiting === undefined) demand.restart(nowMs)
  }

  #giveAllBack(demand: Demand): Promise<void> {
    clearTimeout(demand.timer)
    demand.seen = 0
    return this.#giveBack(demand, this.#purse.drain(demand.key), demand.origin)
  }

  /** What cannot be given back stays spent. */
  #giveBack({ key, name }: Demand, tokens: number, origin: number): Promise<void> {
    if (tokens === 0 || origin === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const core = this.#core
      const item = `u ${tokens} ${origin.toFixed(0)}`
      const done = (): void => resolve()
      unlessClockFails(
        () => core.send(new LongCall(core, core.base, key, name, item, false, done, done)),
        done,
      )
    })
  }

  /** Of a key that was reset or blocked. */
  forget(key: Key): void {
    const name = this.#core.nameOf(key)
    const demand = this.#borrowing.get(name)
    if (demand !== undefined) {
      demand.isForgotten = true
      clearTimeout(demand.timer)
      this.#borrowing.delete(name)
    }
    this.#purse.drain(key)
  }

  forgetAll(): void {
    for (const { key } of this.#borrowing.values()) this.forget(key)
  }

  /** Gives all loans back. Later ones are given back as they come. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    const demands = [...this.#borrowing.values()]
    this.#borrowing.clear()
    this.#watched.clear()
    await Promise.allSettled(demands.map(async (demand) => this.#giveAllBack(demand)))
    this.#purse.close()
  }
}

/** Clocks of users may fail, of which calls tell them. What was borrowed then stays spent. */
function unlessClockFails(action: () => void, otherwise?: () => void): void {
  try {
    action()
  } catch {
    otherwise?.()
  }
}

/** A consume that does not have all the time of a call. */
class ExactCall extends DecisionCall {
  readonly #timeoutMs: number

  constructor(
    core: RedisCore,
    key: Key,
    name: string,
    cost: number,
    resolve: (decision: Decision) => void,
    timeoutMs: number,
  ) {
    super(core, core.base, key, name, String(cost), 'consume', cost, resolve)
    this.#timeoutMs = timeoutMs
  }

  override get timeoutMs(): number {
    return this.#timeoutMs
  }
}

/** A call that was paid from the purse. What the cluster has left is not known: at least what this host has. */
export function leaseDecision(policy: Policy, cost: number, balance: number): Decision {
  return {
    allowed: true,
    limit: policy.capacity,
    remaining: balance,
    retryAfterMs: 0,
    resetAfterMs: (policy.windowMs / policy.limit) * policy.capacity,
    consumed: cost,
    delayMs: 0,
    reason: 'ok',
    source: 'lease',
  }
}
