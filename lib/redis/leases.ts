import type { Decision } from '../limiter/decision'
import { Purse } from '../limiter/purse'
import type { Key } from '../limiter/view'
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

/** A key must be asked for so often within a lease that borrowing pays. */
const LEAST_DEMAND = 4
/** By how much a loan may exceed the one before: one burst is no lasting demand. */
const GROWTH = 8
/** Keys of which the demand is watched. */
const MAX_WATCHED = 10_000

/** What is known of the demand for one key. Those who are not asked for any more are forgotten. */
interface Demand {
  readonly key: Key
  readonly name: string
  /** Since when what follows counts. */
  sinceMs: number
  /** Tokens that were asked of Redis call by call. */
  asked: number
  /** What the purse held then, and what was borrowed since. */
  lent: number
  /** What the last loan came to. */
  lastLoan: number
  /** Until when the purse may be spent. */
  validUntilMs: number
  /** Tells loans of one busy period, or window, from those of another. */
  origin: number
  /** Those who wait for a loan that is on its way; undefined: none is. */
  waiting: (() => void)[] | undefined
}

/**
 * Tokens that this host has borrowed in Redis, and spends by itself. Calls that find the purse empty are decided in Redis;
 * where there are many of them, one brings a loan back, for as much as the key is likely to need for `leaseMs`.
 *
 * Tokens are charged in Redis before anybody has them, as if spent at the worst time of the loan: so no order of spending
 * admits more than deciding each call in Redis would. Redis lends at most half of what is left, shared by all hosts: a key
 * that is nearly exhausted is decided exactly.
 */
export class Leases {
  readonly #core: RedisCore
  readonly #leaseMs: number
  readonly #purse: Purse
  readonly #demands = new Map<string, Demand>()
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(core: RedisCore, { leaseMs, maxKeys, shared, clock }: LeasesOptions) {
    this.#core = core
    this.#leaseMs = leaseMs
    this.#purse = new Purse({
      maxKeys,
      leaseMs,
      ...(shared === undefined ? {} : { shared: `${shared}.p` }),
      ...(clock === undefined ? {} : { clock }),
    })
  }

  /** Spends from the purse. @returns whether that held enough */
  take(key: Key, cost: number): boolean {
    return this.#purse.take(key, cost)
  }

  /** What the purse of that key holds. */
  balance(key: Key): number {
    return this.#purse.balance(key)
  }

  /** A call that the purse could not serve. */
  decide(key: Key, name: string, cost: number, resolve: (decision: Decision) => void): void {
    const demand = this.#demands.get(name)
    if (demand === undefined) this.#watch(key, name, cost)
    else if (demand.waiting !== undefined) {
      demand.waiting.push(() => this.#retry(demand, cost, resolve))
      return
    } else {
      const want = this.#wanted(demand)
      demand.asked += cost
      if (want >= LEAST_DEMAND) {
        this.#borrow(demand, cost, want, resolve)
        return
      }
    }
    this.#decideExactly(key, name, cost, resolve)
  }

  /** After a loan has come, or not. */
  #retry(demand: Demand, cost: number, resolve: (decision: Decision) => void): void {
    if (this.#purse.take(demand.key, cost)) {
      this.#core.count('lease', true)
      resolve(leaseDecision(this.#core.base.policy, cost, this.#purse.balance(demand.key)))
      return
    }
    demand.asked += cost
    this.#decideExactly(demand.key, demand.name, cost, resolve)
  }

  #decideExactly(key: Key, name: string, cost: number, resolve: (decision: Decision) => void): void {
    const core = this.#core
    core.send(new DecisionCall(core, core.base, key, name, String(cost), 'consume', cost, resolve))
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
    const held = this.#purse.balance(demand.key)
    const sentMs = this.#nowMs()
    const waiting: (() => void)[] = []
    demand.waiting = waiting
    const done = (): void => {
      demand.waiting = undefined
      for (const next of waiting) next()
    }
    const item = `l ${cost} ${want} ${held} ${this.#leaseMs * 1000} ${core.hosts.count} ${demand.origin.toFixed(0)}`
    const onReply = (reply: Reply, more: LongReply): void => {
      this.#receive(demand, held, sentMs, more)
      if (resolve !== undefined) {
        if (reply.outcome !== 0) core.noteDenial(under, 'consume', cost, demand.key, reply, sentMs)
        core.count('exact', reply.outcome === 0)
        resolve(exactDecision(reply, under.policy.capacity))
      }
      done()
    }
    const onFailure = (): void => {
      resolve?.(core.withoutRedis(under, demand.key, cost, 'consume'))
      done()
    }
    core.send(new LongCall(core, under, demand.key, demand.name, item, true, onReply, onFailure))
  }

  /** A loan is valid from the time on at which it was asked for: Redis has counted from later on. */
  #receive(demand: Demand, held: number, sentMs: number, more: LongReply): void {
    const [granted, validUs, origin] = more
    const nowMs = this.#nowMs()
    const validMs = validUs / 1000 - (nowMs - sentMs)
    demand.lastLoan = granted
    demand.sinceMs = nowMs
    demand.asked = 0
    demand.lent = held
    if (granted === 0) return
    if (validMs <= 0 || this.#isClosed) {
      void this.#return(demand.key, granted, origin)
      return
    }
    demand.origin = origin
    demand.validUntilMs = nowMs + validMs
    demand.lent = held + granted
    this.#purse.grant(demand.key, granted, validMs)
    this.#arm()
  }

  /** How much the key is likely to need for the time of a loan. */
  #wanted(demand: Demand): number {
    const elapsedMs = Math.max(this.#nowMs() - demand.sinceMs, 0.05)
    const spent = demand.asked + Math.max(0, demand.lent - this.#purse.balance(demand.key))
    const likely = Math.ceil((spent / elapsedMs) * this.#leaseMs)
    return Math.min(likely, GROWTH * Math.max(demand.lastLoan, LEAST_DEMAND))
  }

  #watch(key: Key, name: string, cost: number): void {
    if (this.#isClosed) return
    // The one that has been watched for longest makes room; if it is in demand it soon comes again.
    if (this.#demands.size >= MAX_WATCHED) {
      const oldest = this.#demands.keys().next().value as string
      this.#demands.delete(oldest)
    }
    this.#demands.set(name, {
      key,
      name,
      sinceMs: this.#nowMs(),
      asked: cost,
      lent: 0,
      lastLoan: 0,
      validUntilMs: 0,
      origin: 0,
      waiting: undefined,
    })
    this.#arm()
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = setInterval(() => this.tick(), this.#leaseMs / 4)
    this.#timer.unref()
  }

  /** @internal Looks after all loans: those in demand are renewed ahead of need, the others given back. */
  tick(): void {
    for (const demand of this.#demands.values()) {
      if (demand.waiting === undefined) this.#lookAfter(demand)
    }
    if (this.#demands.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #lookAfter(demand: Demand): void {
    const nowMs = this.#nowMs()
    const balance = this.#purse.balance(demand.key)
    const spent = demand.asked + Math.max(0, demand.lent - balance)
    const isIdle = spent === 0 || nowMs - demand.sinceMs > 2 * this.#leaseMs
    const endsSoon = demand.validUntilMs - nowMs <= this.#leaseMs / 2
    if (isIdle && nowMs - demand.sinceMs >= this.#leaseMs / 2) {
      this.#demands.delete(demand.name)
      if (balance > 0) void this.#giveBack(demand)
    } else if (demand.lastLoan > 0 && (balance < demand.lastLoan / 2 || endsSoon)) {
      const want = this.#wanted(demand)
      if (want - balance >= LEAST_DEMAND) this.#borrow(demand, 0, want - balance, undefined)
    }
  }

  async #giveBack(demand: Demand): Promise<void> {
    const unspent = this.#purse.drain(demand.key)
    if (unspent > 0) await this.#return(demand.key, unspent, demand.origin)
  }

  /** What cannot be given back stays spent. */
  #return(key: Key, tokens: number, origin: number): Promise<void> {
    return new Promise((resolve) => {
      const core = this.#core
      const item = `u ${tokens} ${origin.toFixed(0)}`
      const done = (): void => resolve()
      core.send(new LongCall(core, core.base, key, core.nameOf(key), item, false, done, done))
    })
  }

  /** Of a key that was reset or blocked. */
  forget(key: Key): void {
    this.#demands.delete(this.#core.nameOf(key))
    this.#purse.drain(key)
  }

  forgetAll(): void {
    for (const { key } of this.#demands.values()) this.forget(key)
  }

  /** Gives all loans back. Later ones are given back as they come. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    await Promise.all([...this.#demands.values()].map((demand) => this.#giveBack(demand)))
    this.#demands.clear()
    this.#purse.close()
  }

  #nowMs(): number {
    return this.#core.nowMs()
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
