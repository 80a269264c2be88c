import { EventEmitter } from 'node:events'
import { rangeError, typeError, unavailableError } from '../errors/errors'
import { clockSource } from '../limiter/clock-cell'
import type { Decision, DecisionSource } from '../limiter/decision'
import type { Key } from '../limiter/view'
import { Waiting } from '../limiter/waiting'
import {
  keepingOwn,
  type Policy,
  type PolicyOptions,
  type PolicyVariant,
  policyFromNumbers,
  policyNumbers,
  varyPolicy,
} from '../policy/policy'
import type { WaitingClock } from '../waiting/waiting-clock'
import { Announcements } from './announcements'
import { Breaker, type BreakerState } from './breaker'
import { type Call, type Kind, LongCall } from './calls'
import { Courier } from './courier'
import { Denials } from './denials'
import { Hosts } from './hosts'
import { keyOf, redisKey } from './keys'
import { Leases } from './leases'
import { LocalShare } from './local-share'
import { checkWholeMicroseconds, type RedisSettings } from './options'
import type { RedisEvents } from './redis-events'
import { policyText, type Reply, type Script, scriptOf } from './scripts'

/** One policy of a limiter: its own, a tier's, or that of `with`. */
export interface RedisPolicy {
  /** Tells it from the limiter's other ones. */
  readonly index: number
  readonly policy: Policy
  /** As the scripts take it. */
  readonly text: string
}

/** So that a node that is still away is not asked for ever. */
const LEAST_BETWEEN_REPORTS_MS = 1000
/** See `Reply.outcome`. */
const LIMITED = 1
/** The most policies of a limiter, as of a native one. */
const MAX_POLICIES = 1024

/** What the views of a `RedisLimiter` have in common: the way to Redis, and what to do when it leads nowhere. */
export class RedisCore {
  readonly settings: RedisSettings
  readonly script: Script
  readonly courier: Courier
  readonly denials: Denials | undefined
  readonly leases: Leases | undefined
  readonly waiting: Waiting
  readonly hosts: Hosts
  readonly share: LocalShare | undefined
  /** Decisions by who made them: how many were admitted, and how many refused. */
  readonly counts: Record<DecisionSource, [number, number]> = {
    local: [0, 0],
    exact: [0, 0],
    lease: [0, 0],
    cache: [0, 0],
    open: [0, 0],
    closed: [0, 0],
  }
  readonly events = new EventEmitter()
  #announcements: Announcements | undefined
  readonly #breakers = new Map<string, Breaker>()
  readonly #clock: WaitingClock | undefined
  readonly #policies: RedisPolicy[] = []
  #base: RedisPolicy
  #isClosed = false
  /** Whether there may be something that was admitted without Redis, and when it was told last. */
  #hasUnreported = false
  #reportedMs = Number.NEGATIVE_INFINITY

  constructor(settings: RedisSettings) {
    this.settings = settings
    const { client, prefix, algorithm, clock, denyCache, lease, shared, mode } = settings
    this.script = scriptOf(algorithm)
    this.courier = Courier.of(client)
    const time = clockSource(clock).waiting
    this.#clock = clock === undefined ? undefined : time
    // Its time begins now: a step back right after this is one.
    this.#clock?.nowUs()
    this.waiting = new Waiting(time, settings.maxWaiters)
    this.#base = this.add(settings.policy)
    const isCached = denyCache !== undefined && algorithm !== 'concurrency' && algorithm !== 'leaky-bucket'
    // All go by one view of the user's clock: each step back counts once.
    const ownClock = clock === undefined ? undefined : () => this.nowMs()
    this.denials = isCached ? new Denials({ ...denyCache, clock: ownClock }) : undefined
    const onHosts = (count: number): void => this.tell('hosts', count)
    this.hosts = new Hosts(this.courier, { prefix, least: settings.hosts, shared, onChange: onHosts })
    this.leases = mode === 'leased' ? new Leases(this, { ...lease, shared, clock: ownClock }) : undefined
    this.share =
      settings.onUnavailable === 'local'
        ? new LocalShare({ ...settings, hosts: () => this.hosts.count })
        : undefined
  }

  /** Begins what goes on by itself until it is closed. */
  start(): void {
    const { client, prefix, mode } = this.settings
    this.#announcements = new Announcements(client, prefix, (name) => this.#forgetName(name), {
      listens:
        mode === 'leased' || (this.denials !== undefined && this.settings.denyCache?.announce === true),
      onChange: (isHeard) => this.tell('announcements', isHeard),
    })
    this.hosts.start()
  }

  /** The policy of the limiter itself. */
  get base(): RedisPolicy {
    return this.#base
  }

  /** Since any moment. */
  nowMs(): number {
    return this.#clock === undefined ? performance.now() : this.#clock.nowUs() / 1000
  }

  /** '' for the server's clock; else µs. */
  now(): string {
    return this.#clock === undefined ? '' : String(this.#clock.nowUs())
  }

  /** Another policy for the limiter itself. @throws as `vary` and `add` */
  setPolicy(variant: PolicyVariant): RedisPolicy {
    const own = this.optionsOf(this.#base.policy)
    this.#base = this.add(this.vary(own, keepingOwn(own, variant), 'policy'))
    this.share?.setPolicy(this.#base)
    this.denials?.forgetAll()
    return this.#base
  }

  checkOpen(): void {
    if (this.#isClosed) throw typeError('ERR_SLUICE_CLOSED', 'the limiter is closed; create a new one')
  }

  /** @throws RangeError ERR_SLUICE_POLICY if there are too many */
  add(policy: Policy): RedisPolicy {
    const { algorithm, escalation, align } = this.settings
    const text = policyText(algorithm, policy, escalation, align)
    const known = this.#policies.find((other) => other.text === text)
    if (known !== undefined) return known
    const index = this.#policies.length
    if (index === MAX_POLICIES) {
      throw rangeError('ERR_SLUICE_POLICY', `a limiter can have ${MAX_POLICIES} different policies at most`)
    }
    const added = { index, policy, text }
    this.#policies.push(added)
    return added
  }

  /** A variant of that policy. @throws TypeError, RangeError as the options of a limiter */
  vary(base: PolicyOptions, variant: unknown, where: string): Policy {
    const policy = varyPolicy(this.settings.algorithm, base, variant, where)
    checkWholeMicroseconds(policy, `${where}.`)
    return policy
  }

  optionsOf(policy: Policy): PolicyOptions {
    return policyFromNumbers(this.settings.algorithm, Float64Array.from(policyNumbers(policy)))
  }

  /** What the key is called in Redis. @throws TypeError ERR_SLUICE_KEY_TYPE, RangeError ERR_SLUICE_KEY_RANGE */
  nameOf(key: Key): string {
    return redisKey(this.settings.prefix, key)
  }

  /** Sends a call, if its node is thought to answer. */
  send(call: Call): void {
    const route = this.courier.route(call.key)
    call.route = route
    if (this.admits(route)) this.courier.send(call)
    else call.failed(unavailableError('Redis has not answered lately, and is not asked for a while'))
  }

  /** Whether that node is thought to answer. Who is told so must tell how it went. */
  admits(route: string): boolean {
    return (this.#breakers.get(route) ?? this.#newBreaker(route)).admit(performance.now())
  }

  /** An operation that nobody else can do. Rejects with ERR_SLUICE_UNAVAILABLE. */
  change(under: RedisPolicy, key: Key, item: string): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(notDone(error))
      this.send(
        new LongCall(this, under, key, this.nameOf(key), item, false, (reply) => resolve(reply), fail),
      )
    })
  }

  /** `change` for an item that gives tokens back. @returns how many were credited */
  async giveBack(under: RedisPolicy, key: Key, item: string): Promise<number> {
    const { amount } = await this.change(under, key, item)
    this.denials?.forget(key)
    this.waiting.wake(key)
    return amount
  }

  succeeded(route: string): void {
    this.#breakers.get(route)?.succeeded()
    if (this.#hasUnreported && performance.now() - this.#reportedMs >= LEAST_BETWEEN_REPORTS_MS)
      this.#report()
  }

  failed(route: string, error: Error): void {
    this.#breakers.get(route)?.failed(performance.now(), error)
  }

  /** Redis has refused a call that was made at `sentMs`. */
  noteDenial(under: RedisPolicy, kind: Kind, cost: number, key: Key, reply: Reply, sentMs: number): void {
    if (this.denials === undefined) return
    // Redis must hear of each offence, and of the call that opens a key's first window.
    const { escalation } = this.settings
    const onlyLooks = kind === 'peek' || kind === 'wait'
    const mustHear = escalation !== undefined || (onlyLooks && under.policy.initial !== 0)
    if (mustHear && reply.outcome === LIMITED) return
    this.denials.note(this.#denialIndex(under), cost, key, reply, this.nowMs() - sentMs)
  }

  /** Whether such a call is known to be refused. */
  isDenied(under: RedisPolicy, cost: number, key: Key): boolean {
    return this.denials?.isDenied(this.#denialIndex(under), cost, key) === true
  }

  /** The refusal of such a call, if it is known. */
  denialOf(under: RedisPolicy, cost: number, key: Key): Decision | undefined {
    return this.denials?.find(this.#denialIndex(under), cost, key, under.policy.capacity)
  }

  /** 0, of which the look-up is the fastest, is the limiter's own policy, whichever that is. */
  #denialIndex(under: RedisPolicy): number {
    return under === this.#base ? 0 : under.index + 1
  }

  count(source: DecisionSource, allowed: boolean, kind: Kind = 'consume'): void {
    // Who waits tries again and again.
    if (kind === 'peek' || (kind === 'wait' && !allowed)) return
    this.counts[source][allowed ? 0 : 1]++
  }

  /**
   * What `onUnavailable` says. Never throws.
   * @param maxDelayMs of `wait`: what would have to be held back for longer is refused
   */
  withoutRedis(
    under: RedisPolicy,
    key: Key,
    cost: number,
    kind: Kind,
    maxDelayMs = Number.POSITIVE_INFINITY,
  ): Decision {
    const decision = this.#withoutRedis(under, key, cost, kind, maxDelayMs)
    if (decision.source === 'local' && decision.consumed > 0) this.#hasUnreported = true
    this.count(decision.source, decision.allowed, kind)
    return decision
  }

  #withoutRedis(under: RedisPolicy, key: Key, cost: number, kind: Kind, maxDelayMs: number): Decision {
    const { onUnavailable } = this.settings
    try {
      if (this.share !== undefined) return this.share.decide(under, key, cost, kind, maxDelayMs)
    } catch {
      // Closed meanwhile, or a clock that fails: refused.
    }
    const isOpen = onUnavailable === 'allow'
    const retryAfterMs = isOpen ? 0 : this.#retryAfterMs(this.nameOf(key))
    return {
      allowed: isOpen,
      limit: under.policy.capacity,
      remaining: 0,
      retryAfterMs,
      resetAfterMs: retryAfterMs,
      consumed: 0,
      delayMs: 0,
      reason: 'unavailable',
      source: isOpen ? 'open' : 'closed',
    }
  }

  /** When Redis is asked again. */
  #retryAfterMs(key: string): number {
    const breaker = this.#breakers.get(this.courier.route(key))
    return Math.max(breaker?.retryAfterMs(performance.now()) ?? 0, this.settings.timeoutMs)
  }

  /** What was known of that key's denials and loans is not true any more. */
  forget(key: Key): void {
    this.denials?.forget(key)
    this.leases?.forget(key)
  }

  forgetAll(): void {
    this.denials?.forgetAll()
    this.leases?.forgetAll()
  }

  /** Another host has said so. @param name in Redis; undefined: of all */
  #forgetName(name: string | undefined): void {
    if (name === undefined) {
      this.forgetAll()
      return
    }
    const key = keyOf(this.settings.prefix, name)
    if (key !== undefined) this.forget(key)
  }

  /** Tells the other hosts so. */
  announce(key: Key): void {
    this.forget(key)
    this.#announcements?.publish(this.nameOf(key))
  }

  #newBreaker(route: string): Breaker {
    const onChange = (from: BreakerState, to: BreakerState, error?: Error): void => {
      this.tell('state', { node: route, from, to, ...(error === undefined ? {} : { error }) })
    }
    const breaker = new Breaker(this.settings.breaker, onChange)
    this.#dropBreakers()
    this.#breakers.set(route, breaker)
    return breaker
  }

  /** Tells Redis what was admitted without it, now that it answers. What does not get there is told another time. */
  #report(): void {
    this.#hasUnreported = false
    this.#reportedMs = performance.now()
    if (this.share === undefined || this.#isClosed) return
    const { spent, lostTokens } = this.share.takeSpent()
    const reports = spent.map(async ({ index, key, tokens }) => {
      const under = this.#policies[index] as RedisPolicy
      try {
        await this.change(under, key, `n ${tokens} 0`)
        return tokens
      } catch {
        this.share?.record(under, key, tokens)
        this.#hasUnreported = true
        return 0
      }
    })
    void Promise.all(reports).then((told) => {
      const tokens = told.reduce((sum, count) => sum + count, 0)
      const keys = told.filter((count) => count > 0).length
      if (keys > 0 || lostTokens > 0) this.tell('reconciled', { tokens, keys, lostTokens })
    })
  }

  /** Ends what the limiter has of its own. See `RedisLimiter.close`. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.waiting.close()
    this.#announcements?.close()
    await Promise.allSettled([this.leases?.close(), this.hosts.stop()])
    this.denials?.close()
    this.share?.close()
  }

  /** Tells the listeners, later: what they throw is to show as theirs, not in the midst of a decision. */
  tell<Name extends keyof RedisEvents>(name: Name, ...args: RedisEvents[Name]): void {
    const emit: (name: string, ...args: unknown[]) => void = this.events.emit.bind(this.events)
    queueMicrotask(() => emit(name, ...args))
  }

  /** Nodes that have left a Cluster are not thought of any more. */
  #dropBreakers(): void {
    const present = this.courier.routes
    for (const route of this.#breakers.keys()) if (!present.has(route)) this.#breakers.delete(route)
  }

  /** The worst of all nodes. */
  get state(): BreakerState {
    this.#dropBreakers()
    const states = [...this.#breakers.values()].map(({ state }) => state)
    return states.includes('open') ? 'open' : states.includes('half-open') ? 'half-open' : 'closed'
  }
}

/** Why an operation that only Redis can do was not done. */
export function notDone(error: Error): Error {
  return unavailableError(`Redis did not do it, or did not say so in time: ${error.message}`, error)
}
