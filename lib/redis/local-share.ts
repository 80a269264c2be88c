import type { CodedError } from '../errors/errors'
import { type Decision, decisionOf } from '../limiter/decision'
import { Lease } from '../limiter/lease'
import { Limiter } from '../limiter/limiter'
import type { Alignment, LimiterOptions } from '../limiter/options'
import { type Key, keepKey, type LimiterView, partsOf } from '../limiter/view'
import { LONGEST_DELAY_MS } from '../limiter/waiting'
import { type Algorithm, TRAITS } from '../policy/algorithms'
import type { EscalationOptions } from '../policy/escalation'
import { type Policy, type PolicyOptions, policyFromNumbers, policyNumbers } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'
import type { Kind } from './calls'
import { type Spent, SpentRecord } from './spent-record'

export interface LocalShareOptions {
  readonly algorithm: Algorithm
  /** The limiter's own, for all hosts together. */
  readonly policy: Policy
  /** As the user has given them: the greatest limit among them can be counted to. */
  readonly tiers?: unknown
  readonly align?: Alignment
  readonly escalation?: EscalationOptions | undefined
  /** Among how many hosts a limit is divided. */
  readonly hosts: () => number
  /** Of the table. Default 100,000. */
  readonly maxKeys?: number
  /** What the processes of this machine share: the table's name is made of it, and at most two characters longer. */
  readonly shared?: string | undefined
  readonly clock?: ManualClock | ClockFunction | undefined
}

/** One policy of a limiter, and what tells it from the others. */
export interface IndexedPolicy {
  readonly index: number
  readonly policy: Policy
}

interface ShareView {
  readonly hosts: number
  readonly view: LimiterView
}

const DEFAULT_MAX_KEYS = 100_000
const MAX_REFILL_NS = 2 ** 62

/**
 * What decides while Redis is away: a native limiter with this host's share of each limit. It knows nothing of what was
 * spent before in Redis. It stays from one outage to the next, so a connection that comes and goes mints nothing.
 */
export class LocalShare {
  readonly #algorithm: Algorithm
  readonly #hosts: () => number
  readonly #limiter: Limiter
  /** The greatest limit that the table can surely count to. */
  readonly #greatest: number
  readonly #spent = new SpentRecord()
  readonly #views = new Map<Policy, ShareView>()
  #base: Policy
  /** What the base of the native limiter is made of. */
  #setBase: Policy
  #setHosts: number

  /** @throws as the constructor of `Limiter` */
  constructor(options: LocalShareOptions) {
    const { algorithm, policy, align, escalation, shared, clock } = options
    this.#algorithm = algorithm
    this.#hosts = options.hosts
    this.#base = this.#setBase = policy
    this.#setHosts = options.hosts()
    this.#greatest = Math.max(policy.limit, policy.initial, ...limitsOf(options.tiers))
    const native: LimiterOptions = {
      algorithm,
      ...shareOf(algorithm, policy, this.#setHosts),
      maxKeys: options.maxKeys ?? DEFAULT_MAX_KEYS,
    }
    // Named, so that it can be counted to when hosts leave and the shares grow.
    if (TRAITS[algorithm].sharesWindow) native.tiers = { greatest: { limit: this.#greatest } }
    if (align !== undefined && algorithm === 'fixed-window') native.align = align
    if (escalation !== undefined) native.escalate = escalation
    if (shared !== undefined) native.shared = { name: `${shared}.s`, changePolicy: true }
    if (clock !== undefined) native.clock = clock
    this.#limiter = new Limiter(native)
  }

  /** From now on that is the limiter's own policy. Nobody's bucket is refilled. */
  setPolicy({ policy }: IndexedPolicy): void {
    this.#base = policy
  }

  /**
   * Decides a call; `source` is `local`. Of concurrency the decision is a `Lease`, unless it was a `peek`.
   * @param maxDelayMs of `wait`: what would have to be held back for longer is refused
   * @throws as the operations of a limiter
   */
  decide(
    under: IndexedPolicy,
    key: Key,
    cost: number,
    kind: Kind,
    maxDelayMs = Number.POSITIVE_INFINITY,
  ): Decision {
    const decision = this.#decide(this.#viewOf(under.policy), key, cost, kind, maxDelayMs)
    // A place that is held is not told to Redis: it is given back here.
    if (decision.consumed > 0 && this.#algorithm !== 'concurrency') this.record(under, key, decision.consumed)
    return decision
  }

  /** Gives back a place that `decide` has given. @returns false if it had none to give back. @throws as `Lease.release` */
  release(decision: Decision): boolean {
    return decision instanceof Lease && decision.release()
  }

  /** Undoes a call that `decide` has just admitted. @throws as `Limiter.refund` */
  refund(under: IndexedPolicy, key: Key, tokens: number): void {
    this.#viewOf(under.policy).refund(key, tokens)
    this.#spent.lessen(under.index, key, tokens)
  }

  /** Notes what was spent without Redis; also what could not be told to Redis after all. */
  record({ index, policy }: IndexedPolicy, key: Key, tokens: number): void {
    this.#spent.add(index, policy, keepKey(key), tokens)
  }

  /**
   * What was spent since the last time, as far as it still counts, to be charged in Redis without going into debt; and how
   * many tokens were lost count of, as too many keys had spent.
   */
  takeSpent(): { spent: Spent[]; lostTokens: number } {
    const { spent, lostTokens } = this.#spent.take()
    const counting = spent.map((entry) => ({ ...entry, tokens: this.#counting(entry) }))
    return { spent: counting.filter(({ tokens }) => tokens > 0), lostTokens }
  }

  close(): void {
    this.#limiter.close()
  }

  #decide(view: LimiterView, key: Key, cost: number, kind: Kind, maxDelayMs: number): Decision {
    if (kind === 'peek') return view.peek(key)
    if (kind === 'partial') return view.consume(key, cost, { partial: true })
    if (this.#algorithm === 'concurrency') return view.acquire(key, cost)
    if (kind === 'wait') return attempt(view, key, cost, maxDelayMs)
    // Whoever only hears yes or no cannot hold the call back.
    if (kind === 'allow' && this.#algorithm === 'leaky-bucket') return attempt(view, key, cost, 0)
    return view.consume(key, cost)
  }

  /** As much of it as has not come back since, by the host's own count. */
  #counting({ policy, key, tokens }: Spent): number {
    // A new key may begin with more or less than a limit: then what is left does not say what was spent.
    if (policy.initial !== 0) return tokens
    const { limit, remaining } = this.#viewOf(policy).peek(key)
    return Math.min(tokens, limit - remaining)
  }

  #viewOf(policy: Policy): LimiterView {
    const hosts = this.#hosts()
    if (policy === this.#base) {
      if (hosts !== this.#setHosts || policy !== this.#setBase) this.#changeBase(policy, hosts)
      return this.#limiter
    }
    const known = this.#views.get(policy)
    if (known?.hosts === hosts) return known.view
    const view = this.#makeView(policy, hosts) ?? known?.view ?? this.#limiter
    this.#views.set(policy, { hosts, view })
    return view
  }

  #changeBase(policy: Policy, hosts: number): void {
    this.#setBase = policy
    this.#setHosts = hosts
    unlessTooMany(() => this.#limiter.setPolicy(this.#share(policy, hosts)))
  }

  /** Nothing if the table has too many policies: after some hundred different numbers of hosts. */
  #makeView(policy: Policy, hosts: number): LimiterView | undefined {
    return unlessTooMany(() => this.#limiter.with(this.#share(policy, hosts)))
  }

  #share(policy: Policy, hosts: number): PolicyOptions {
    const share = shareOf(this.#algorithm, policy, hosts)
    // A policy that came later may have a greater share than the table can count to.
    if (!TRAITS[this.#algorithm].sharesWindow) return share
    share.limit = Math.min(share.limit, this.#greatest)
    if (share.initial !== undefined) share.initial = Math.min(share.initial, this.#greatest)
    return share
  }
}

/** What one of so many hosts may admit: at least one at a time, so together they may admit one each. */
export function shareOf(algorithm: Algorithm, policy: Policy, hosts: number): PolicyOptions {
  const part = (whole: number): number => Math.max(1, Math.floor(whole / hosts))
  const options = policyFromNumbers(algorithm, Float64Array.from(policyNumbers(policy)))
  const limit = part(options.limit)
  options.limit = limit
  // A limit may round down further than a burst: the bucket must still be full within 146 years.
  const most = Math.floor((MAX_REFILL_NS / policy.windowNs) * limit * (1 - 2 ** -50)) - 1
  const room = (whole: number): number => Math.max(1, Math.min(part(whole), most))
  if (options.burst !== undefined) options.burst = room(options.burst)
  if (options.queue !== undefined) options.queue = Math.max(1, Math.min(part(options.queue), most - 1))
  if (options.initial !== undefined) {
    options.initial = Math.min(part(options.initial), options.burst ?? Number.POSITIVE_INFINITY)
  }
  return options
}

function attempt(view: LimiterView, key: Key, cost: number, maxDelayMs: number): Decision {
  const { native, results, readClock } = partsOf(view)
  readClock?.()
  return decisionOf(native.attempt(key, cost, Math.min(maxDelayMs, LONGEST_DELAY_MS)), results)
}

function limitsOf(tiers: unknown): number[] {
  return Object.values((tiers ?? {}) as Record<string, { limit?: unknown } | undefined>)
    .map((tier) => tier?.limit)
    .filter((limit) => typeof limit === 'number')
}

function unlessTooMany<T>(make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    if ((error as CodedError).code === 'ERR_SLUICE_POLICY') return undefined
    throw error
  }
}
