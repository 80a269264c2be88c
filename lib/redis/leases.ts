import type { Decision } from '../limiter/decision'
import { MAX_BALANCE, Purse } from '../limiter/purse'
import { type Key, keepKey } from '../limiter/view'
import type { Policy } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'
import { DecisionCall, exactDecision, LongCall, type LongReply } from './calls'
import type { RedisCore } from './redis-core'
import type { Reply } from './scripts'

export interface LeasesOptions {
  readonly leaseMs: number
  readonly maxKeys: number
  readonly shared: string | undefined
  readonly clock: ManualClock | ClockFunction | undefined
}

/** A key must be asked for so often within a lease that borrowing pays; and so many tokens are worth a loan. */
const LEAST_DEMAND = 4
/** By how much a loan may exceed the one before: one burst is no lasting demand. */
const GROWTH = 8
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
const STALL_MS = 0.1
/** Into how many parts the time of those who wait is divided: calls go together only if theirs is the same. */
const TIMEOUT_STEPS = 8
const EARLIEST_MS = 0.05

/** Of a call: Redis has answered the loan that it waited for, or has not. */
type Waiter = (hasAnswered: boolean, waitedMs: number) => void

/** What is known of the demand for one key. */
interface Demand {
  readonly key: Key
  readonly name: string
  /** Since when what follows counts. */
  sinceMs: number
  /** Calls that were decided in Redis one by one, and the tokens they asked for. */
  calls: number
  asked: number
  /** What was spent from the purse, as far as it was seen. */
  spent: number
  /** What the purse held when last looked at. */
  seen: number
  /** What the purse held after the last loan. */
  lent: number
  /** Until when the purse may be spent. */
  validUntilMs: number
  /** Whether that is when the window ends: no further loan lasts longer. */
  isCut: boolean
  /** Tells loans of one busy period, or window, from those of another; 0: not known. */
  origin: number
  /** Nothing is borrowed before: there was nothing to be had. */
  restUntilMs: number
  /** Those who wait for a loan that is on its way; undefined: none is. */
  waiting: Waiter[] | undefined
  /** The key was reset or blocked: what comes now is of no use. */
  isForgotten: boolean
  timer: NodeJS.Timeout | undefined
}

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

  /** A call that the purse could not serve. */
  decide(key: Key, name: string, cost: number, resolve: (decision: Decision) => void): void {
    const demand = cost > this.#core.base.policy.capacity ? undefined : this.#demandFor(key, name)
    if (demand?.waiting !== undefined) {
      demand.waiting.push((hasAnswered, waitedMs) =>
        this.#retry(demand, cost, resolve, hasAnswered, waitedMs),
      )
      return
    }
    if (demand !== undefined) {
      demand.calls++
      demand.asked += cost
      const want = this.#wanted(demand, this.#core.nowMs())
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
    if (this.#isClosed || spanMs < SHORTEST_MS) return undefined
    const nowMs = this.#core.nowMs()
    const watched = this.#watched.get(name)
    if (watched !== undefined && nowMs - watched.sinceMs <= spanMs) return watched
    if (watched !== undefined) this.#watched.delete(name)
    else if (this.#watched.size >= MAX_WATCHED) {
      // The oldest makes room; if it is in demand it soon comes again.
      this.#watched.delete(this.#watched.keys().next().value as string)
    }
    const demand = newDemand(keepKey(key), name, nowMs)
    this.#watched.set(name, demand)
    return demand
  }

  /** After a loan has come, or not. */
  #retry(
    demand: Demand,
    cost: number,
    resolve: (decision: Decision) => void,
    hasAnswered: boolean,
    waitedMs: number,
  ): void {
    const core = this.#core
    const { key, name } = demand
    if (!this.#isClosed && this.#purse.take(key, cost)) {
      core.count('lease', true)
      resolve(leaseDecision(core.base.policy, cost, this.#purse.balance(key)))
      return
    }
    demand.calls++
    demand.asked += cost
    const { timeoutMs } = core.settings
    const step = Math.ceil(timeoutMs / TIMEOUT_STEPS)
    const leftMs = Math.floor((timeoutMs - waitedMs) / step) * step
    if (hasAnswered && leftMs > 0) this.#decideExactly(key, name, cost, resolve, leftMs)
    else resolve(core.withoutRedis(core.base, key, cost, 'consume'))
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
    const held = this.#observe(demand)
    const leaseUs = Math.floor(this.#spanMs() * 1000)
    const most = Math.min(want, MAX_BALANCE - held)
    const sentMs = core.nowMs()
    const startMs = performance.now()
    const waiting: Waiter[] = []
    demand.waiting = waiting
    this.#watched.delete(name)
    this.#borrowing.set(name, demand)
    const done = (hasAnswered: boolean): void => {
      demand.waiting = undefined
      const waitedMs = performance.now() - startMs
      for (const next of waiting) next(hasAnswered, waitedMs)
    }
    const onReply = (reply: Reply, more: LongReply): void => {
      this.#receive(demand, held, sentMs, leaseUs, more)
      if (resolve !== undefined) {
        if (reply.outcome !== 0) core.noteDenial(under, cost, key, reply, sentMs)
        core.count('exact', reply.outcome === 0)
        resolve(exactDecision(reply, under.policy.capacity))
      }
      done(true)
    }
    const onFailure = (): void => {
      resolve?.(core.withoutRedis(under, key, cost, 'consume'))
      done(false)
    }
    const item = `l ${cost} ${most} ${held} ${leaseUs} ${core.hosts.count} ${origin.toFixed(0)}`
    this.#arm()
    core.send(new LongCall(core, under, key, name, item, true, onReply, onFailure))
  }

  #receive(demand: Demand, held: number, sentMs: number, leaseUs: number, more: LongReply): void {
    try {
      this.#keep(demand, held, sentMs, leaseUs, more)
    } catch {
      // A clock of the user's that fails, or that was closed: the tokens stay spent.
    }
  }

  /** A loan is valid from the time on at which it was asked for: Redis has counted from later on. */
  #keep(demand: Demand, held: number, sentMs: number, leaseUs: number, more: LongReply): void {
    const [granted, validUs, origin] = more
    if (demand.isForgotten) return
    const nowMs = this.#core.nowMs()
    const validMs = (validUs / 1000) * (1 - DRIFT) - STALL_MS - (nowMs - sentMs)
    restart(demand, nowMs)
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

  /** How much the key is likely to need until a loan of now lapses. */
  #wanted(demand: Demand, nowMs: number): number {
    if (nowMs < demand.restUntilMs) return 0
    // A key that is not yet borrowing must first be asked for often enough.
    if (demand.lent === 0 && demand.spent === 0 && demand.calls < LEAST_DEMAND) return 0
    const leftMs = demand.validUntilMs - nowMs
    const spanMs = demand.isCut && leftMs > 0 ? leftMs : this.#spanMs()
    const elapsedMs = Math.max(nowMs - demand.sinceMs, EARLIEST_MS)
    const likely = Math.ceil(((demand.asked + demand.spent) / elapsedMs) * spanMs)
    return Math.min(likely, GROWTH * Math.max(demand.lent, LEAST_DEMAND))
  }

  /** What the purse holds; notes what was spent of it. */
  #observe(demand: Demand): number {
    const balance = this.#purse.balance(demand.key)
    demand.spent += Math.max(0, demand.seen - balance)
    demand.seen = balance
    return balance
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.tick()
      if (this.#borrowing.size > 0) this.#arm()
    }, this.#spanMs() / LOOKS)
    this.#timer.unref()
  }

  /** Shortly before the window is over. */
  #lookAgain(demand: Demand, validMs: number): void {
    clearTimeout(demand.timer)
    const farewell = (): void => {
      if (this.#isClosed || demand.waiting !== undefined || demand.isForgotten) return
      this.#observe(demand)
      void this.#giveAllBack(demand)
    }
    demand.timer = setTimeout(farewell, Math.max(validMs - FAREWELL_MS, 0))
    demand.timer.unref()
  }

  /** @internal Looks after all loans: those in demand are renewed ahead of need, the others given back. */
  tick(): void {
    try {
      const nowMs = this.#core.nowMs()
      for (const demand of this.#borrowing.values()) {
        if (demand.waiting === undefined) this.#lookAfter(demand, nowMs)
      }
    } catch {
      // A clock of the user's that fails, which calls will tell of.
    }
  }

  #lookAfter(demand: Demand, nowMs: number): void {
    const spanMs = this.#spanMs()
    const ageMs = nowMs - demand.sinceMs
    const leftMs = demand.validUntilMs - nowMs
    // What has lapsed was not spent.
    if (leftMs <= 0) demand.seen = 0
    const balance = this.#observe(demand)
    if (ageMs >= spanMs / 2 && demand.asked + demand.spent === 0) {
      this.#borrowing.delete(demand.name)
      void this.#giveAllBack(demand)
      return
    }
    const want = this.#wanted(demand, nowMs)
    const endsSoon = leftMs <= (demand.isCut ? 0 : spanMs / 2)
    if (want >= LEAST_DEMAND && (balance < demand.lent / 2 || endsSoon) && balance <= 2 * want) {
      const more = Math.max(want - balance, 2)
      if (more >= LEAST_DEMAND || endsSoon) this.#borrow(demand, 0, more, undefined)
    } else if (leftMs <= spanMs / LOOKS + FAREWELL_MS && !demand.isCut) {
      void this.#giveAllBack(demand)
    }
    if (ageMs > 2 * spanMs && demand.waiting === undefined) restart(demand, nowMs)
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
      core.send(new LongCall(core, core.base, key, name, item, false, done, done))
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

function newDemand(key: Key, name: string, sinceMs: number): Demand {
  return {
    key,
    name,
    sinceMs,
    calls: 0,
    asked: 0,
    spent: 0,
    seen: 0,
    lent: 0,
    validUntilMs: 0,
    isCut: false,
    origin: 0,
    restUntilMs: Number.NEGATIVE_INFINITY,
    waiting: undefined,
    isForgotten: false,
    timer: undefined,
  }
}

/** What has been counted so far counts no more. */
function restart(demand: Demand, nowMs: number): void {
  demand.sinceMs = nowMs
  demand.calls = 0
  demand.asked = 0
  demand.spent = 0
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
