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
import type { BreakerState } from './breaker'
import { type Call, type Kind, LongCall, ReportCall } from './calls'
import { Courier } from './courier'
import { Denials } from './denials'
import { Hosts } from './hosts'
import { keyOf, redisKey } from './keys'
import { Leases } from './leases'
import { LocalShare } from './local-share'
import { Nodes } from './nodes'
import { checkLeasable, checkWholeMicroseconds, type RedisSettings } from './options'
import type { RedisEvents, StateChange } from './redis-events'
import { reportSpent } from './report'
import { policyText, type Reply, type Script, scriptOf } from './scripts'
import type { Spent } from './spent-record'
import { TransportError } from './transport-error'

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
/** `close` takes no longer. */
const CLOSE_MS = 1000
/** How long ago a charge may have been made that is undone. */
const UNDO_WITHIN_US = 120_000_000
/** When a call was made. */
export interface Sending {
  /** By the limiter's clock. */
  readonly sentMs: number
  /** How often the limiter had been told to forget keys by then. */
  readonly forgets: number
}

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
  /** How often it was said that what is remembered of a key is not true any more. */
  forgets = 0
  /** How many answers were that a key holds something else. */
  unreadable = 0
  #announcements: Announcements | undefined
  readonly #nodes: Nodes
  readonly #clock: WaitingClock | undefined
  readonly #policies: RedisPolicy[] = []
  #base: RedisPolicy
  #isClosed = false
  /** Whether there may be something that was admitted without Redis, and when it was told last. */
  #hasUnreported = false
  #reportedMs = Number.NEGATIVE_INFINITY
  #isReporting = false
  #toldUnreadableMs = Number.NEGATIVE_INFINITY

  constructor(settings: RedisSettings) {
    this.settings = settings
    const { client, prefix, algorithm, clock, denyCache, lease, shared, mode } = settings
    this.script = scriptOf(algorithm)
    this.courier = Courier.of(client)
    const onState = (change: StateChange): void => this.tell('state', change)
    this.#nodes = new Nodes(settings.breaker, () => this.courier.routes, onState)
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
    const policy = this.vary(own, keepingOwn(own, variant), 'policy')
    if (this.leases !== undefined) checkLeasable({ ...this.settings, policy })
    this.#base = this.add(policy)
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
    else call.failed(new TransportError('unsent', 'it has not answered lately, and is not asked for a while'))
  }

  /** Whether that node is thought to answer. Who is told so must tell how it went. */
  admits(route: string): boolean {
    return this.#nodes.of(route).admit(performance.now())
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
    this.forgets++
    this.denials?.forget(key)
    this.waiting.wake(key)
    return amount
  }

  succeeded(route: string): void {
    this.#nodes.of(route).succeeded()
    if (this.#hasUnreported && performance.now() - this.#reportedMs >= LEAST_BETWEEN_REPORTS_MS)
      this.#report()
  }

  failed(route: string, error: Error): void {
    this.#nodes.of(route).failed(performance.now(), error)
  }

  /** Redis has refused a call. */
  noteDenial(under: RedisPolicy, kind: Kind, cost: number, key: Key, reply: Reply, sent: Sending): void {
    // Of a cost that would be taken in part, the answer is about less.
    if (this.denials === undefined || kind === 'partial') return
    // Redis must hear of each offence, and of the call that opens a key's first window.
    const { escalation } = this.settings
    const onlyLooks = kind === 'peek' || kind === 'wait'
    const mustHear = escalation !== undefined || (onlyLooks && under.policy.initial !== 0)
    if (mustHear && reply.outcome === LIMITED) return
    // It may be from before the key was reset.
    if (sent.forgets !== this.forgets) return
    try {
      this.denials.note(this.#denialIndex(under), cost, key, reply, this.nowMs() - sent.sentMs)
    } catch {
      // A clock of the user's that fails: its own calls tell of that.
    }
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
      if (this.share !== undefined) {
        const decision = this.share.decide(under, key, cost, kind, maxDelayMs)
        const fitsLater = decision.reason === 'too-costly' && cost <= under.policy.capacity
        if (!fitsLater) return decision
        // More than the share of this host, but not more than Redis could admit.
        return { ...decision, reason: 'unavailable', retryAfterMs: this.#retryAfterMs(this.nameOf(key)) }
      }
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

  /**
   * Gives back what such a decision has spent, as nobody wants it. What cannot be given back stays spent. Never throws.
   * @param atUs when Redis made it
   */
  undo(under: RedisPolicy, key: Key, { source, consumed }: Decision, atUs: number): void {
    if (consumed === 0) return
    try {
      // To the window that it came from, and no other.
      if (source === 'exact')
        this.giveBack(under, key, `R ${consumed} ${atUs.toFixed(0)} ${UNDO_WITHIN_US}`).catch(ignore)
      else if (source === 'local') this.share?.refund(under, key, consumed)
    } catch {
      // Closed meanwhile, or a clock that fails.
    }
  }

  /** When Redis is asked again. */
  #retryAfterMs(key: string): number {
    const breaker = this.#nodes.of(this.courier.route(key))
    return Math.max(breaker.retryAfterMs(performance.now()), this.settings.timeoutMs)
  }

  /** What was known of that key's denials and loans is not true any more. */
  forget(key: Key): void {
    this.forgets++
    this.denials?.forget(key)
    this.leases?.forget(key)
  }

  forgetAll(): void {
    this.forgets++
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

  /** Tells Redis what was admitted without it, now that it answers. */
  async #report(): Promise<void> {
    // What comes up while one is under way is for the next.
    if (this.share === undefined || this.#isClosed || this.#isReporting) return
    this.#hasUnreported = false
    this.#reportedMs = performance.now()
    this.#isReporting = true
    const report = await reportSpent(this.share, (spent) => this.#tellOf(spent))
    this.#isReporting = false
    this.#hasUnreported ||= report.isLeft
    const { tokens, keys, lostTokens } = report
    if (keys > 0 || lostTokens > 0) this.tell('reconciled', { tokens, keys, lostTokens })
  }

  #tellOf({ index, key, tokens }: Spent): Promise<void> {
    return new Promise((resolve, reject) => {
      const under = this.#policies[index] as RedisPolicy
      const breaker = this.#nodes.of(this.courier.route(this.nameOf(key)))
      // Not what is to find out whether a node answers: it would not be known what became of it.
      if (breaker.state !== 'closed') {
        reject(new TransportError('unsent', 'its node does not answer yet'))
        return
      }
      this.send(
        new ReportCall(this, under, key, this.nameOf(key), `n ${tokens} 0`, false, () => resolve(), reject),
      )
    })
  }

  /** Ends what the limiter has of its own. See `RedisLimiter.close`. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.waiting.close()
    this.#announcements?.close()
    await withinMs(CLOSE_MS, Promise.allSettled([this.leases?.close(), this.hosts.stop()]))
    this.denials?.close()
    this.share?.close()
  }

  /** A key holds something that no script of ours has written. */
  foundUnreadable(name: string): void {
    this.unreadable++
    const nowMs = performance.now()
    if (nowMs - this.#toldUnreadableMs < 1000) return
    this.#toldUnreadableMs = nowMs
    this.tell('unreadable', name)
  }

  /** Tells the listeners, later: what they throw is to show as theirs, not in the midst of a decision. */
  tell<Name extends keyof RedisEvents>(name: Name, ...args: RedisEvents[Name]): void {
    const emit: (name: string, ...args: unknown[]) => void = this.events.emit.bind(this.events)
    queueMicrotask(() => emit(name, ...args))
  }

  /** The worst of all nodes. */
  get state(): BreakerState {
    return this.#nodes.state
  }
}

/** Why an operation that only Redis can do was not done. */
function notDone(error: Error): Error {
  return unavailableError(`Redis did not do it, or did not say so in time: ${error.message}`, error)
}

function ignore(): void {}

/** What is not done by then goes on by itself. */
function withinMs(ms: number, done: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  return Promise.race([done, late]).finally(() => clearTimeout(timer))
}
