import type { Decision } from '../limiter/decision'
import type { Key } from '../limiter/view'
import { ALGORITHMS } from '../policy/algorithms'
import { DecisionCall, exactDecision, type Kind } from './calls'
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

/** Lets one script decide for all members. */
export function askTogether(kind: SetKind, seats: readonly Seat[], leftMs: number): Promise<Decision[]> {
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
      replyBytes: REPLY_BYTES * seats.length,
      answer: (buffer, offset) => {
        core.succeeded(route)
        const replies = seats.map((_, i) => readReply(buffer, offset + i * REPLY_BYTES))
        const isReadable = replies.every((reply) => reply.outcome in OUTCOMES)
        if (!isReadable) return failed()
        const decisions = replies.map((reply, i) =>
          exactDecision(reply, (seats[i] as Seat).under.policy.capacity),
        )
        decisions.forEach(({ allowed }, i) => {
          ;(seats[i] as Seat).core.count('exact', allowed, kind)
        })
        resolve(decisions)
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

/** What a script can answer for a key that it could read. */
const OUTCOMES = { 0: 'ok', 1: 'limited', 2: 'too-costly', 3: 'blocked' }

const OPERATIONS: Readonly<Record<SetKind, string>> = { consume: 'c', allow: 'a', peek: 'k', wait: 'w' }

function argumentsOf(kind: SetKind, seats: readonly Seat[], leftMs: number): string[] {
  const policies = seats.flatMap(({ core, under }) => [
    String(ALGORITHMS.indexOf(core.settings.algorithm) + 1),
    under.text,
  ])
  const mostUs = Math.min(Math.floor(leftMs * 1000), Number.MAX_SAFE_INTEGER)
  const operation = kind === 'wait' ? `w ${mostUs}` : OPERATIONS[kind]
  return [...policies, operation, ...seats.map(({ cost }) => String(cost))]
}

/** Asks each member by itself; what some have admitted is given back if others refuse. */
export async function askEach(kind: SetKind, seats: readonly Seat[], leftMs: number): Promise<Decision[]> {
  const decisions = await Promise.all(seats.map((seat) => askOne(kind, seat, leftMs)))
  return kind === 'peek' ? decisions : allOrNothing(seats, decisions)
}

function askOne(kind: SetKind, { core, under, key, name, cost }: Seat, leftMs: number): Promise<Decision> {
  const mostUs = kind === 'wait' ? Math.min(Math.floor(leftMs * 1000), Number.MAX_SAFE_INTEGER) : 0
  const isPaced = kind === 'allow' && core.settings.algorithm === 'leaky-bucket'
  const items: Readonly<Record<SetKind, string>> = {
    consume: `${cost}`,
    allow: isPaced ? `a ${cost}` : `${cost}`,
    peek: `k ${cost}`,
    wait: `w ${cost} ${mostUs}`,
  }
  return new Promise((resolve) => {
    core.send(new DecisionCall(core, under, key, name, items[kind], kind, cost, resolve))
  })
}

/** What `onUnavailable` of each member says. */
function withoutRedis(kind: SetKind, seats: readonly Seat[]): Decision[] {
  const decisions = seats.map(({ core, under, key, cost }) => core.withoutRedis(under, key, cost, kind))
  return kind === 'peek' ? decisions : allOrNothing(seats, decisions)
}

function allOrNothing(seats: readonly Seat[], decisions: readonly Decision[]): Decision[] {
  if (decisions.every(({ allowed }) => allowed)) return [...decisions]
  return decisions.map((decision, i) => {
    if (!decision.allowed) return decision
    undo(seats[i] as Seat, decision)
    const remaining = decision.remaining + decision.consumed
    return { ...decision, remaining, consumed: 0, delayMs: 0 }
  })
}

/** Gives back what such a decision has spent. If that fails it stays spent. */
export function undo({ core, under, key }: Seat, { source, consumed }: Decision): void {
  if (consumed === 0) return
  if (source === 'exact') core.giveBack(under, key, `r ${consumed} 0`).catch(() => {})
  else if (source === 'local') core.share?.refund(under, key, consumed)
}
