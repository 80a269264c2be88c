import {
  type BatchResult,
  type Decision,
  Limiter,
  type LimiterOptions,
  type LimiterView,
} from '../../lib/index'
import type { OracleSettings, TierSettings } from '../oracle/settings'
import type { Cost, Move, Op, Schedule, Step } from './schedules'

const CENTURY_US = 100 * 365 * 86_400_000_000
/** No schedule lasts longer, so that what takes 40 years to refill still ends within the engine's 146 years. */
const LONGEST_RUN_US = 1.04 * CENTURY_US
const MAX_TOKENS = Number.MAX_SAFE_INTEGER

/** What was asked of the engine, and what it answered. */
export type Event = { atMs: number; key: string; tier: string | undefined } & (
  | { op: 'consume'; tokens: number; answer: Decision }
  | { op: 'allow'; tokens: number; answer: boolean }
  | { op: 'many'; tokens: number; answer: BatchResult }
  | { op: 'peek'; answer: Decision }
  | { op: 'refund'; tokens: number; agoMs: number; answer: number }
  | { op: 'penalize'; tokens: number; answer: number }
  | { op: 'block'; ms: number }
  | { op: 'reset'; answer: boolean }
  | { op: 'set-policy'; policy: TierSettings }
  | { op: 'partial'; tokens: number; answer: Decision }
  | { op: 'acquire'; tokens: number; id: number; answer: Decision }
  | { op: 'release'; id: number; answer: boolean }
  | {
      op: 'reserve'
      tokens: number
      ttlMs: number
      maxDebt: number | undefined
      id: number
      answer: Decision
    }
  | { op: 'settle'; tokens: number; id: number; answer: number }
)

type View = Omit<LimiterView, 'wait' | 'waitForLease'>
type Where = { atMs: number; key: string; tier: string | undefined }
type Lease = ReturnType<View['acquire']>
type Reservation = ReturnType<View['reserve']>
/** A lease or reservation that can still be ended, with the number that events know it by. */
type Open<T> = { id: number; key: string; held: T }

/** Runs a schedule against a real limiter and reports every call, with a peek after each. */
export class Driver {
  readonly #users: Limiter[]
  #turn = 0
  readonly #tierNames: (string | undefined)[]
  readonly #readingUs: number
  readonly #startUs: number
  #nowUs: number
  #hadCentury = false
  #leases: Open<Lease>[] = []
  #reservations: Open<Reservation>[] = []
  #nextId = 0
  /** The last decision, and when it was made. */
  #last: { atUs: number; decision: Decision } | undefined

  /** @param userCount how many are attached to the limiter, to make the calls by turns */
  constructor(policy: OracleSettings, { startUs, readingUs }: Omit<Schedule, 'steps'>, userCount = 1) {
    this.#readingUs = readingUs
    this.#startUs = startUs
    this.#nowUs = startUs
    this.#tierNames = [undefined, ...Object.keys(policy.tiers ?? {})]
    const clock = (): number => this.#nowUs / 1000
    const limiter = new Limiter({ ...(policy as LimiterOptions), maxKeys: 64, clock })
    const others = Array.from({ length: userCount - 1 }, () => Limiter.attach(limiter.handle(), { clock }))
    this.#users = [limiter, ...others]
  }

  run(steps: Step[], report: (event: Event) => void): void {
    for (const { move, op, key, tier: tierIndex } of steps) {
      this.#move(move)
      this.#turn++
      const tier = this.#tierNames[tierIndex % this.#tierNames.length]
      const where = { atMs: this.#nowUs / 1000, key, tier }
      const event = this.#operate(op, where)
      if (event !== undefined) report(event)
      report(this.#peek(event ?? where))
    }
    for (const user of this.#users) user.close()
  }

  #peek({ atMs, key, tier }: Where): Event {
    const answer = this.#view(tier).peek(key)
    this.#last = { atUs: this.#nowUs, decision: answer }
    return { atMs, key, tier, op: 'peek', answer }
  }

  /** Nothing if there is no lease or reservation to end. */
  #operate(op: Op, where: Where): Event | undefined {
    const { key, tier } = where
    const view = this.#view(tier)
    if (op.op === 'peek') return this.#peek(where)
    if (op.op === 'reset') return { ...where, op: op.op, answer: view.reset(key) }
    if (op.op === 'set-policy') {
      this.#user.setPolicy(op.policy)
      return { ...where, op: op.op, policy: op.policy }
    }
    if (op.op === 'block') {
      view.block(key, op.us / 1000)
      return { ...where, op: op.op, ms: op.us / 1000 }
    }
    if (op.op === 'release') return this.#release(op.which, where)
    const tokens = resolve(op.cost, view.peek(key))
    switch (op.op) {
      case 'partial':
        return { ...where, op: op.op, tokens, answer: view.consume(key, tokens, { partial: true }) }
      case 'acquire': {
        const lease = view.acquire(key, tokens)
        const id = this.#nextId++
        this.#leases.push({ id, key, held: lease })
        return { ...where, op: op.op, tokens, id, answer: decisionIn(lease) }
      }
      case 'reserve':
        return this.#reserve(view, op, tokens, where)
      case 'settle':
        return this.#settle(op.which, tokens, where)
      case 'consume':
        return { ...where, op: op.op, tokens, answer: view.consume(key, tokens) }
      case 'allow':
        return { ...where, op: op.op, tokens, answer: view.allow(key, tokens) }
      case 'many':
        return {
          ...where,
          op: op.op,
          tokens,
          answer: view.consumeMany([key, key], undefined, { cost: tokens }),
        }
      case 'penalize':
        return { ...where, op: op.op, tokens, answer: view.penalize(key, tokens) }
      case 'refund': {
        const agoMs = this.#onGrid(op.agoUs) / 1000
        return { ...where, op: op.op, tokens, agoMs, answer: view.refund(key, tokens, agoMs) }
      }
    }
  }

  #release(which: number, { atMs }: Where): Event | undefined {
    const [open] = this.#leases.splice(which % this.#leases.length, 1)
    if (open === undefined) return undefined
    const { id, key, held } = open
    return { atMs, key, tier: undefined, op: 'release', id, answer: held.release() }
  }

  #reserve(
    view: View,
    { ttlUs, maxDebt }: Op & { op: 'reserve' },
    tokens: number,
    where: Where,
  ): Event | undefined {
    const ttlMs = ttlUs / 1000
    const reservation = view.reserve(where.key, tokens, ttlMs, maxDebt === undefined ? {} : { maxDebt })
    const id = this.#nextId++
    if (reservation.allowed) this.#reservations.push({ id, key: where.key, held: reservation })
    return { ...where, op: 'reserve', tokens, ttlMs, maxDebt, id, answer: decisionIn(reservation) }
  }

  #settle(which: number, tokens: number, { atMs }: Where): Event | undefined {
    const [open] = this.#reservations.splice(which % this.#reservations.length, 1)
    if (open === undefined) return undefined
    const { id, key, held } = open
    return { atMs, key, tier: undefined, op: 'settle', tokens, id, answer: held.settle(tokens) }
  }

  get #user(): Limiter {
    return this.#users[this.#turn % this.#users.length] as Limiter
  }

  #view(tier: string | undefined): View {
    return tier === undefined ? this.#user : this.#user.tier(tier)
  }

  /** Moves the clock to the first reading at or after the move's target. */
  #move(move: Move): void {
    const targetUs = this.#onGrid(this.#target(move))
    if (targetUs - this.#startUs <= LONGEST_RUN_US) this.#nowUs = targetUs
    // A step back of the clock is made up for by each user itself, so all must see it.
    if (this.#users.length > 1) for (const user of this.#users) user.peek('nobody')
  }

  #onGrid(us: number): number {
    return Math.ceil(us / this.#readingUs) * this.#readingUs
  }

  #target(move: Move): number {
    const { retryAfterMs, resetAfterMs } = this.#last?.decision ?? { retryAfterMs: 0, resetAfterMs: 0 }
    switch (move.kind) {
      case 'stay':
        return this.#nowUs
      case 'by':
        return this.#nowUs + move.us
      case 'to-retry':
        return this.#wait(retryAfterMs)
      case 'tick-before-retry':
        return Math.max(this.#nowUs, this.#wait(retryAfterMs) - this.#readingUs)
      case 'to-reset':
        return this.#wait(resetAfterMs)
      case 'tick-before-reset':
        return Math.max(this.#nowUs, this.#wait(resetAfterMs) - this.#readingUs)
      case 'century': {
        if (this.#hadCentury) return this.#nowUs
        this.#hadCentury = true
        return this.#nowUs + CENTURY_US
      }
    }
  }

  /** The time at which a wait that was told at the last decision is over. */
  #wait(ms: number): number {
    const sinceUs = this.#last?.atUs ?? this.#nowUs
    return Number.isFinite(ms) ? Math.max(this.#nowUs, sinceUs + Math.round(ms * 1000)) : this.#nowUs
  }
}

function resolve(cost: Cost, { limit, remaining }: Decision): number {
  return Math.min(Math.max(wanted(cost, limit, remaining), 0), MAX_TOKENS)
}

function wanted(cost: Cost, capacity: number, remaining: number): number {
  switch (cost.kind) {
    case 'burst':
      return capacity + cost.plus
    case 'remaining':
      return remaining + cost.plus
    case 'share':
      return Math.round(capacity * cost.share)
    case 'exactly':
      return cost.tokens
  }
}

/** The fields of a decision, without what else hangs on a lease or reservation. */
function decisionIn({
  allowed,
  limit,
  remaining,
  retryAfterMs,
  resetAfterMs,
  consumed,
  delayMs,
  reason,
  source,
}: Decision): Decision {
  return { allowed, limit, remaining, retryAfterMs, resetAfterMs, consumed, delayMs, reason, source }
}

/** An event as a failure report shows it. */
export function shownEvent({ atMs, key, tier, ...call }: Event): string {
  return `at ${atMs} ms, ${key}${tier === undefined ? '' : ` as ${tier}`}: ${JSON.stringify(call)}`
}
