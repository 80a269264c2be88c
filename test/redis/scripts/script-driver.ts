import type { Redis } from 'ioredis'
import type { BatchResult, Decision } from '../../../lib/index'
import { REPLY_BYTES } from '../../../lib/redis/scripts'
import type { OracleSettings } from '../../oracle/settings'
import type { Event } from '../../property/driver'
import { Lockstep } from '../../property/lockstep'
import type { Cost, Move, Op, Schedule } from '../../property/schedules'
import { type Answer, type Estimate, ScriptLimiter, type Ticket } from './script-limiter'

const CENTURY_US = 100 * 365 * 86_400_000_000
const LONGEST_RUN_US = 1.04 * CENTURY_US
const MAX_TOKENS = Number.MAX_SAFE_INTEGER

interface Where {
  atMs: number
  key: string
  tier: string | undefined
}

/** Runs the scripts and the oracle through the same schedule and throws where they part. */
export async function runScriptsInLockstep(
  redis: Redis,
  policy: OracleSettings,
  { startUs, ...schedule }: Schedule,
): Promise<void> {
  // Blocks end on whole milliseconds since 1970; the oracle counts them from where a limiter's windows are.
  const isWhole = Number.isInteger(policy.windowMs ?? policy.holdMs)
  const run = { ...schedule, startUs: isWhole ? startUs : 0 }
  const lockstep = new Lockstep(policy, run)
  await new ScriptDriver(redis, policy, run).run((event) => lockstep.check(event))
}

/** As the driver of the engine, for the scripts: reports every call, with a peek after each. */
class ScriptDriver {
  readonly #limiter: ScriptLimiter
  readonly #tierNames: (string | undefined)[]
  readonly #schedule: Schedule
  #nowUs: number
  #hadCentury = false
  readonly #tickets: { id: number; ticket: Ticket }[] = []
  readonly #estimates: { id: number; estimate: Estimate }[] = []
  #nextId = 0
  #last: { atUs: number; decision: Answer } | undefined

  constructor(redis: Redis, policy: OracleSettings, schedule: Schedule) {
    const { startUs, steps } = schedule
    this.#limiter = new ScriptLimiter(redis, policy, {
      isIndexed: steps.length % 2 === 1,
      startMs: startUs / 1000,
    })
    this.#tierNames = [undefined, ...Object.keys(policy.tiers ?? {})]
    this.#schedule = schedule
    this.#nowUs = startUs
  }

  async run(report: (event: Event) => void): Promise<void> {
    for (const step of this.#schedule.steps) {
      this.#move(step.move)
      const tier = this.#tierNames[step.tier % this.#tierNames.length]
      const where = { atMs: this.#nowUs / 1000, key: step.key, tier }
      const event = await this.#operate(step.op, where)
      if (event !== undefined) report(event)
      report(await this.#peek(event ?? where))
    }
  }

  async #peek({ atMs, key, tier }: Where): Promise<Event> {
    const answer = (await this.#limiter.decide('k 1', key, tier)) as Decision
    this.#last = { atUs: this.#nowUs, decision: answer }
    return { atMs, key, tier, op: 'peek', answer }
  }

  /** Nothing if there is no lease or reservation to end. */
  async #operate(op: Op, where: Where): Promise<Event | undefined> {
    const { key, tier } = where
    const limiter = this.#limiter
    switch (op.op) {
      case 'peek':
        return this.#peek(where)
      case 'reset':
        return { ...where, op: op.op, answer: (await limiter.amount('x', key, tier)) === 1 }
      case 'block':
        await limiter.amount(`b ${op.us}`, key, tier)
        return { ...where, op: op.op, ms: op.us / 1000 }
      case 'release':
        return this.#release(op.which, where)
      case 'set-policy':
        throw new Error('a key in Redis keeps what it has spent under any policy')
      default:
        return this.#spend(op, where)
    }
  }

  async #spend(op: Extract<Op, { cost: Cost }>, where: Where): Promise<Event | undefined> {
    const { key, tier } = where
    const limiter = this.#limiter
    const tokens = resolve(op.cost, await limiter.decide('k 1', key, tier))
    const decide = async (letter: string) => (await limiter.decide(letter + tokens, key, tier)) as Decision
    switch (op.op) {
      case 'consume':
        return { ...where, op: op.op, tokens, answer: await decide('') }
      case 'partial':
        return { ...where, op: op.op, tokens, answer: await decide('p ') }
      case 'allow':
        return { ...where, op: op.op, tokens, answer: (await decide('a ')).allowed }
      case 'many':
        return { ...where, op: op.op, tokens, answer: await this.#twice(tokens, where) }
      case 'penalize':
        return { ...where, op: op.op, tokens, answer: await limiter.amount(`n ${tokens} 0`, key, tier) }
      case 'refund': {
        const agoUs = this.#onGrid(op.agoUs)
        const answer = await limiter.amount(`r ${tokens} ${agoUs}`, key, tier)
        return { ...where, op: op.op, tokens, agoMs: agoUs / 1000, answer }
      }
      case 'acquire': {
        const { answer, ticket } = await limiter.acquire(key, tokens, tier)
        const id = this.#nextId++
        this.#tickets.push({ id, ticket })
        return { ...where, op: op.op, tokens, id, answer: answer as Decision }
      }
      case 'reserve':
        return this.#reserve(op, tokens, where)
      case 'settle':
        return this.#settle(op.which, tokens, where)
    }
  }

  async #reserve(
    { ttlUs, maxDebt }: Op & { op: 'reserve' },
    tokens: number,
    where: Where,
  ): Promise<Event | undefined> {
    const ttlMs = ttlUs / 1000
    const { answer, estimate } = await this.#limiter.reserve(where.key, tokens, ttlMs, maxDebt, where.tier)
    const id = this.#nextId++
    if (answer.allowed) this.#estimates.push({ id, estimate })
    return { ...where, op: 'reserve', tokens, ttlMs, maxDebt, id, answer: answer as Decision }
  }

  async #settle(which: number, tokens: number, { atMs }: Where): Promise<Event | undefined> {
    const [open] = this.#estimates.splice(which % this.#estimates.length, 1)
    if (open === undefined) return undefined
    const { id, estimate } = open
    const answer = await this.#limiter.settle(estimate, tokens)
    return { atMs, key: estimate.key, tier: estimate.tier, op: 'settle', tokens, id, answer }
  }

  /** Two items for one key in one script call. */
  async #twice(tokens: number, { key, tier }: Where): Promise<BatchResult> {
    const reply = await this.#limiter.ask([`${tokens}`, `${tokens}`], key, tier)
    const both = [0, REPLY_BYTES].map((offset) => this.#limiter.answerIn(reply, offset, tier))
    return {
      allowedCount: both.filter(({ allowed }) => allowed).length,
      allowed: Uint8Array.from(both, ({ allowed }) => Number(allowed)),
      remaining: Float64Array.from(both, ({ remaining }) => remaining),
      retryAfterMs: Float64Array.from(both, ({ retryAfterMs }) => retryAfterMs),
      delayMs: Float64Array.from(both, ({ delayMs }) => delayMs),
    } as unknown as BatchResult
  }

  async #release(which: number, { atMs }: Where): Promise<Event | undefined> {
    const [open] = this.#tickets.splice(which % this.#tickets.length, 1)
    if (open === undefined) return undefined
    const { id, ticket } = open
    return {
      atMs,
      key: ticket.key,
      tier: undefined,
      op: 'release',
      id,
      answer: await this.#limiter.release(ticket),
    }
  }

  #move(move: Move): void {
    const targetUs = this.#onGrid(this.#target(move))
    if (targetUs - this.#schedule.startUs <= LONGEST_RUN_US) this.#nowUs = targetUs
    this.#limiter.setTime(this.#nowUs / 1000)
  }

  #onGrid(us: number): number {
    const { readingUs } = this.#schedule
    return Math.ceil(us / readingUs) * readingUs
  }

  #target(move: Move): number {
    const { retryAfterMs, resetAfterMs } = this.#last?.decision ?? { retryAfterMs: 0, resetAfterMs: 0 }
    const { readingUs } = this.#schedule
    switch (move.kind) {
      case 'stay':
        return this.#nowUs
      case 'by':
        return this.#nowUs + move.us
      case 'to-retry':
        return this.#wait(retryAfterMs)
      case 'tick-before-retry':
        return Math.max(this.#nowUs, this.#wait(retryAfterMs) - readingUs)
      case 'to-reset':
        return this.#wait(resetAfterMs)
      case 'tick-before-reset':
        return Math.max(this.#nowUs, this.#wait(resetAfterMs) - readingUs)
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

function resolve(cost: Cost, { limit, remaining }: Answer): number {
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
