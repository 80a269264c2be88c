import { type BatchResult, type Decision, Limiter } from '../../lib/index'
import type { OracleSettings, TierSettings } from '../oracle/oracle'
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
)

type View = Pick<
  Limiter,
  'allow' | 'consume' | 'peek' | 'consumeMany' | 'refund' | 'penalize' | 'block' | 'reset'
>

/** Runs a schedule against a real limiter and reports every call, with a peek after each. */
export class Driver {
  readonly #users: Limiter[]
  #turn = 0
  readonly #tierNames: (string | undefined)[]
  readonly #readingUs: number
  readonly #startUs: number
  #nowUs: number
  #hadCentury = false
  /** The last decision, and when it was made. */
  #last: { atUs: number; decision: Decision } | undefined

  /** @param userCount how many are attached to the limiter, to make the calls by turns */
  constructor(policy: OracleSettings, { startUs, readingUs }: Omit<Schedule, 'steps'>, userCount = 1) {
    this.#readingUs = readingUs
    this.#startUs = startUs
    this.#nowUs = startUs
    this.#tierNames = [undefined, ...Object.keys(policy.tiers ?? {})]
    const clock = (): number => this.#nowUs / 1000
    const limiter = new Limiter({ ...withoutUndefined(policy), maxKeys: 64, clock })
    const others = Array.from({ length: userCount - 1 }, () => Limiter.attach(limiter.handle(), { clock }))
    this.#users = [limiter, ...others]
  }

  run(steps: Step[], report: (event: Event) => void): void {
    for (const { move, op, key, tier: tierIndex } of steps) {
      this.#move(move)
      this.#turn++
      const tier = this.#tierNames[tierIndex % this.#tierNames.length]
      const where = { atMs: this.#nowUs / 1000, key, tier }
      for (const event of [this.#operate(op, where), this.#peek(where)]) report(event)
    }
    for (const user of this.#users) user.close()
  }

  #peek(where: { atMs: number; key: string; tier: string | undefined }): Event {
    const answer = this.#view(where.tier).peek(where.key)
    this.#last = { atUs: this.#nowUs, decision: answer }
    return { ...where, op: 'peek', answer }
  }

  #operate(op: Op, where: { atMs: number; key: string; tier: string | undefined }): Event {
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
    const tokens = resolve(op.cost, view.peek(key))
    switch (op.op) {
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

function withoutUndefined({ burst, align, tiers, ...rest }: OracleSettings) {
  return {
    ...rest,
    ...(burst === undefined ? {} : { burst }),
    ...(align === undefined ? {} : { align }),
    ...(tiers === undefined ? {} : { tiers }),
  }
}

/** An event as a failure report shows it. */
export function shownEvent({ atMs, key, tier, ...call }: Event): string {
  return `at ${atMs} ms, ${key}${tier === undefined ? '' : ` as ${tier}`}: ${JSON.stringify(call)}`
}
