import { rangeError } from '../errors/errors'
import type { Decision } from '../limiter/decision'
import type { Key } from '../limiter/view'
import { ALGORITHMS } from '../policy/algorithms'
import { DatedDecisionCall, DecisionCall, exactDecision, type Kind, UNREADABLE } from './calls'
import type { OutgoingSet } from './courier'
import type { RedisCore, RedisPolicy } from './redis-core'
import type { RedisView } from './redis-view'
import { REPLY_BYTES, readReply, setScript } from './scripts'

export type SetKind = Exclude<Kind, 'partial'>

/** A member of a set, and what a call asks of it. */
export interface Seat {
  readonly view: RedisView
  readonly core: RedisCore
  readonly under: RedisPolicy
  readonly key: Key
  readonly cost: number
  /** Of the key, in Redis. */
  readonly name: string
}

/** What a member says, and when Redis decided it, in µs (0: not Redis, or nobody knows). */
export interface Decided {
  readonly decision: Decision
  readonly atUs: number
}

/** Lets one script decide for all members. */
export function askTogether(kind: SetKind, seats: readonly Seat[], leftMs: number): Promise<Decided[]> {
  const { core, name } = seats[0] as Seat
  return new Promise((resolve) => {
    const route = core.courier.route(name)
    const failed = (): void => resolve(withoutRedis(kind, seats))
    const call: OutgoingSet = {
      script: setScript(),
      keys: seats.map((seat) => seat.name),
      args: argumentsOf(kind, seats, leftMs),
      now: core.now(),
      timeoutMs: Math.min(...seats.map((seat) => seat.core.settings.timeoutMs)),
      replyBytes: REPLY_BYTES * seats.length + 8,
      answer: (buffer, offset) => {
        core.succeeded(route)
        const replies = seats.map((_, i) => readReply(buffer, offset + i * REPLY_BYTES))
        const unreadable = replies.findIndex((reply) => reply.outcome === UNREADABLE)
        if (unreadable >= 0) {
          core.foundUnreadable((seats[unreadable] as Seat).name)
          failed()
          return
        }
        const decisions = replies.map((reply, i) =>
          exactDecision(reply, (seats[i] as Seat).under.policy.capacity),
        )
        decisions.forEach(({ allowed }, i) => {
          ;(seats[i] as Seat).core.count('exact', allowed, kind)
        })
        const atUs = buffer.readDoubleLE(offset + REPLY_BYTES * seats.length)
        resolve(decisions.map((decision) => ({ decision, atUs })))
      },
      fail: (error) => {
        core.failed(route, error)
        failed()
      },
    }
    if (core.admits(route)) core.courier.sendSet(call)
    else failed()
  })
}

const OPERATIONS: Readonly<Record<SetKind, string>> = { consume: 'c', allow: 'a', peek: 'k', wait: 'w' }

function argumentsOf(kind: SetKind, seats: readonly Seat[], leftMs: number): string[] {
  const policies = seats.flatMap(({ core, under }) => [
    String(ALGORITHMS.indexOf(core.settings.algorithm) + 1),
    under.text,
  ])
  const operation = kind === 'wait' ? `w ${usOf(leftMs)}` : OPERATIONS[kind]
  return [...policies, operation, ...seats.map(({ cost }) => String(cost))]
}

/**
 * Asks each member by itself; what some have admitted is given back if others refuse.
 * @throws RangeError ERR_SLUICE_UNSUPPORTED if one is a leaky bucket, of which nothing can be given back
 */
export async function askEach(kind: SetKind, seats: readonly Seat[], leftMs: number): Promise<Decided[]> {
  if (seats.some(({ core }) => core.settings.algorithm === 'leaky-bucket')) {
    throw rangeError(
      'ERR_SLUICE_UNSUPPORTED',
      'a leaky-bucket can be in a set only if all keys of a call are on one slot of one client: a place in its queue cannot be given back',
    )
  }
  const decided = await Promise.all(seats.map((seat) => askOne(kind, seat, leftMs)))
  return kind === 'peek' ? decided : allOrNothing(seats, decided)
}

function askOne(kind: SetKind, seat: Seat, leftMs: number): Promise<Decided> {
  const { core, under, key, name, cost } = seat
  const item = kind === 'peek' ? `k ${cost}` : kind === 'wait' ? `w ${cost} ${usOf(leftMs)}` : `v ${cost}`
  const Asked = kind === 'peek' ? DecisionCall : DatedDecisionCall
  return new Promise((resolve) => {
    const done = (decision: Decision, atUs: number): void => resolve({ decision, atUs })
    core.send(new Asked(core, under, key, name, item, kind, cost, done))
  })
}

function usOf(ms: number): number {
  return Math.min(Math.floor(ms * 1000), Number.MAX_SAFE_INTEGER)
}

/** What `onUnavailable` of each member says. */
function withoutRedis(kind: SetKind, seats: readonly Seat[]): Decided[] {
  const decided = seats.map(({ core, under, key, cost }) => ({
    decision: core.withoutRedis(under, key, cost, kind),
    atUs: 0,
  }))
  return kind === 'peek' ? decided : allOrNothing(seats, decided)
}

function allOrNothing(seats: readonly Seat[], decided: readonly Decided[]): Decided[] {
  if (decided.every(({ decision }) => decision.allowed)) return [...decided]
  return decided.map(({ decision, atUs }, i) => {
    if (!decision.allowed) return { decision, atUs }
    undo(seats[i] as Seat, { decision, atUs })
    const remaining = decision.remaining + decision.consumed
    return { decision: { ...decision, remaining, consumed: 0, delayMs: 0 }, atUs }
  })
}

/** Gives back what such a decision has spent. */
export function undo({ core, under, key }: Seat, { decision, atUs }: Decided): void {
  core.undo(under, key, decision, atUs)
}
