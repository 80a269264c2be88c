import { unavailableError } from '../errors/errors'
import { type Decision, REASONS, type Reason } from '../limiter/decision'
import { type Key, keepKey } from '../limiter/view'
import type { Outgoing } from './courier'
import type { RedisCore, RedisPolicy, Sending } from './redis-core'
import { LONG_REPLY_BYTES, REPLY_BYTES, type Reply, readReply, type Script } from './scripts'

/** Of calls for which nobody waits. */
const REPORT_TIMEOUT_MS = 5000
/** The outcome of a script for a key that holds something which no script of ours has written. */
export const UNREADABLE = 6

/** One operation on one key, on its way to Redis and back. */
export abstract class Call implements Outgoing, Sending {
  protected readonly userKey: Key
  readonly now: string
  readonly sentMs: number
  readonly forgets: number
  /** Whose breaker it goes through. */
  route = ''

  constructor(
    protected readonly core: RedisCore,
    protected readonly under: RedisPolicy,
    userKey: Key,
    /** In Redis. */
    readonly key: string,
    readonly item: string,
  ) {
    // The user may fill the array with something else before there is an answer.
    this.userKey = typeof userKey === 'string' ? userKey : keepKey(userKey)
    this.now = core.now()
    this.sentMs = core.nowMs()
    this.forgets = core.forgets
  }

  get script(): Script {
    return this.core.script
  }

  get policy(): string {
    return this.under.text
  }

  get timeoutMs(): number {
    return this.core.settings.timeoutMs
  }

  get replyBytes(): number {
    return REPLY_BYTES
  }

  answer(buffer: Buffer, offset: number): void {
    this.core.succeeded(this.route)
    const reply = readReply(buffer, offset)
    if (reply.outcome === UNREADABLE) {
      this.core.foundUnreadable(this.key)
      this.failed(unreadable(this.key))
    } else this.succeeded(reply, buffer, offset)
  }

  fail(error: Error): void {
    this.core.failed(this.route, error)
    this.failed(error)
  }

  /** Redis has answered. */
  protected abstract succeeded(reply: Reply, buffer: Buffer, offset: number): void
  /** It has not, and may or may not have done it. Also called if it is not even asked. */
  abstract failed(error: Error): void
}

/** Whether it is admitted, and nothing else. */
export class AllowCall extends Call {
  constructor(
    core: RedisCore,
    under: RedisPolicy,
    userKey: Key,
    key: string,
    item: string,
    private readonly cost: number,
    private readonly resolve: (allowed: boolean) => void,
  ) {
    super(core, under, userKey, key, item)
  }

  protected succeeded(reply: Reply): void {
    const { outcome } = reply
    if (outcome !== 0) this.core.noteDenial(this.under, 'allow', this.cost, this.userKey, reply, this)
    this.core.count('exact', outcome === 0)
    this.resolve(outcome === 0)
  }

  failed(): void {
    this.resolve(this.core.withoutRedis(this.under, this.userKey, this.cost, 'allow').allowed)
  }
}

/** How a call is decided that Redis does not decide. */
export type Kind = 'allow' | 'consume' | 'partial' | 'peek' | 'wait'

/** What a decision is called back with: it, and when Redis made it, in µs (0 if it is not known). */
export type OnDecision = (decision: Decision, atUs: number) => void

/** A decision. */
export class DecisionCall extends Call {
  constructor(
    core: RedisCore,
    under: RedisPolicy,
    userKey: Key,
    key: string,
    item: string,
    private readonly kind: Kind,
    private readonly cost: number,
    private readonly resolve: OnDecision,
    private readonly maxDelayMs = Number.POSITIVE_INFINITY,
  ) {
    super(core, under, userKey, key, item)
  }

  protected succeeded(reply: Reply): void {
    this.decided(reply, 0)
  }

  protected decided(reply: Reply, atUs: number): void {
    const { core, under, cost, kind } = this
    if (reply.outcome !== 0) core.noteDenial(under, kind, cost, this.userKey, reply, this)
    core.count('exact', reply.outcome === 0, kind)
    this.resolve(exactDecision(reply, under.policy.capacity), atUs)
  }

  failed(): void {
    const { core, under, userKey, cost, kind, maxDelayMs } = this
    this.resolve(core.withoutRedis(under, userKey, cost, kind, maxDelayMs), 0)
  }
}

/** A decision, by an item that also answers when it was made. */
export class DatedDecisionCall extends DecisionCall {
  override get replyBytes(): number {
    return LONG_REPLY_BYTES
  }

  protected override succeeded(reply: Reply, buffer?: Buffer, offset = 0): void {
    this.decided(reply, buffer?.readDoubleLE(offset + REPLY_BYTES) ?? 0)
  }
}

/** What a long reply says besides. */
export type LongReply = readonly [first: number, second: number, third: number]

/** A decision that tells more, or a change of a key. */
export class LongCall extends Call {
  constructor(
    core: RedisCore,
    under: RedisPolicy,
    userKey: Key,
    key: string,
    item: string,
    private readonly isLong: boolean,
    private readonly onReply: (reply: Reply, more: LongReply) => void,
    private readonly onFailure: (error: Error) => void,
  ) {
    super(core, under, userKey, key, item)
  }

  override get replyBytes(): number {
    return this.isLong ? LONG_REPLY_BYTES : REPLY_BYTES
  }

  protected succeeded(reply: Reply, buffer: Buffer, offset: number): void {
    const at = (i: number): number => (this.isLong ? buffer.readDoubleLE(offset + REPLY_BYTES + 8 * i) : 0)
    this.onReply(reply, [at(0), at(1), at(2)])
  }

  failed(error: Error): void {
    this.onFailure(error)
  }
}

/** Of something for which nobody waits. */
export class ReportCall extends LongCall {
  override get timeoutMs(): number {
    return REPORT_TIMEOUT_MS
  }
}

export function exactDecision(reply: Reply, limit: number): Decision {
  const { outcome } = reply
  return {
    allowed: outcome === 0,
    limit,
    remaining: reply.remaining,
    retryAfterMs: reply.retryAfterMs,
    resetAfterMs: reply.resetAfterMs,
    consumed: reply.amount,
    delayMs: reply.delayMs,
    reason: REASONS[outcome] as Reason,
    source: 'exact',
  }
}

function unreadable(key: string): Error {
  return unavailableError(
    `the key ${JSON.stringify(key)} in Redis holds something that sluice has not written; delete it, or choose another prefix`,
  )
}
