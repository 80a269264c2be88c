import type { Redis } from 'ioredis'
import { expect } from 'vitest'
import type { BatchResult, Decision } from '../../lib/index'
import {
  RedisLimiter,
  type RedisLimiterOptions,
  type RedisReservation,
  type RedisView,
} from '../../lib/redis/index'
import type { OracleSettings } from '../oracle/settings'
import type { Event } from '../property/driver'
import { Lockstep } from '../property/lockstep'
import type { Cost, Move, Op, Schedule } from '../property/schedules'
import { UNHURRIED_MS } from './limiter-scene'

const CENTURY_US = 100 * 365 * 86_400_000_000
const LONGEST_RUN_US = 1.04 * CENTURY_US
const MAX_TOKENS = Number.MAX_SAFE_INTEGER

type Spend = Extract<Op, { cost: Cost }>

interface Where {
  atMs: number
  key: string
  tier: string | undefined
}

type Lease = Awaited<ReturnType<RedisView['acquire']>>
/** A lease or reservation that can still be ended, with the number that events know it by. */
type Open<T> = { id: number; key: string; held: T }

export type DenyCache = NonNullable<RedisLimiterOptions['denyCache']>

let made = 0

/**
 * Runs limiters of these clients, which make the calls by turns, and the oracle through the same schedule, and throws where
 * they part.
 */
export async function runLimitersInLockstep(
  clients: Redis[],
  policy: OracleSettings,
  { startUs, ...schedule }: Schedule,
  denyCache: DenyCache,
): Promise<void> {
  // Blocks end on whole milliseconds since 1970; the oracle counts them from where a limiter's windows are.
  const isWhole = Number.isInteger(policy.windowMs ?? policy.holdMs)
  const run = { ...schedule, startUs: isWhole ? startUs : 0 }
  const lockstep = new Lockstep(policy, run)
  const driver = new LimiterDriver(clients, policy, run, denyCache)
  try {
    await driver.run((event) => lockstep.check(event))
  } finally {
    await driver.close()
  }
}

/** As the driver of the engine: reports every call, with a peek after each. */
class LimiterDriver {
  readonly #users: RedisLimiter[]
  /** Never believes anything but what Redis says. */
  readonly #onlooker: RedisLimiter
  readonly #schedule: Schedule
  readonly #tierNames: (string | undefined)[]
  readonly #leases: Open<Lease>[] = []
  readonly #reservations: (Open<RedisReservation> & { tier: string | undefined })[] = []
  #turn = 0
  #nextId = 0
  #nowUs: number
  #hadCentury = false
  #last: { atUs: number; decision: Decision } | undefined

  constructor(clients: Redis[], policy: OracleSettings, schedule: Schedule, denyCache: DenyCache) {
    this.#schedule = schedule
    this.#nowUs = schedule.startUs
    this.#tierNames = [undefined, ...Object.keys(policy.tiers ?? {})]
    const prefix = `lockstep-${made++}`
    const clock = (): number => this.#nowUs / 1000
    const open = (client: Redis, cache: DenyCache): RedisLimiter =>
      new RedisLimiter({
        ...(policy as Omit<RedisLimiterOptions, 'client'>),
        client,
        prefix,
        clock,
        denyCache: cache,
        timeoutMs: UNHURRIED_MS,
        onUnavailable: 'deny',
      })
    this.#users = clients.map((client) => open(client, denyCache))
    this.#onlooker = open(clients[0] as Redis, false)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#users, this.#onlooker].map((user) => user.close()))
  }

  async run(report: (event: Event) => void): Promise<void> {
    for (const { move, op, key, tier: tierIndex } of this.#schedule.steps) {
      await this.#move(move)
      this.#turn++
      const tier = this.#tierNames[tierIndex % this.#tierNames.length]
      const where = { atMs: this.#nowUs / 1000, key, tier }
      for (const event of await this.#operate(op, where)) report(event)
      report(await this.#peek(where))
    }
  }

  /** What is answered from memory may be older, so it is held against what Redis says. */
  async #peek(where: Where): Promise<Event> {
    const { key, tier } = where
    const answer = await this.#view(tier).peek(key)
    const known = answer.source === 'cache' ? await viewOf(this.#onlooker, tier).peek(key) : answer
    if (answer.source === 'cache') {
      expect(answer).toMatchObject({ allowed: known.allowed, remaining: 0 })
      // A block may be over before the call would be admitted.
      expect(['blocked', known.reason]).toContain(answer.reason)
      expect(answer.retryAfterMs).toBeLessThanOrEqual(known.retryAfterMs)
      expect(answer.resetAfterMs).toBeLessThanOrEqual(known.resetAfterMs)
    }
    this.#last = { atUs: this.#nowUs, decision: known }
    return { ...where, op: 'peek', answer: known }
  }

  async #operate(op: Op, where: Where): Promise<Event[]> {
    const { key, tier } = where
    const view = this.#view(tier)
    switch (op.op) {
      case 'peek':
        return [await this.#peek(where)]
      case 'reset':
        return [{ ...where, op: op.op, answer: await view.reset(key) }]
      case 'block':
        await view.block(key, op.us / 1000)
        return [{ ...where, op: op.op, ms: op.us / 1000 }]
      case 'release':
        return this.#release(op.which, where)
      case 'set-policy':
        throw new Error('a key in Redis keeps what it has spent under any policy')
      default:
        return this.#spend(view, op, where)
    }
  }

  async #spend(view: RedisView, op: Spend, where: Where): Promise<Event[]> {
    const { key, tier } = where
    const tokens = costOf(op.cost, await viewOf(this.#onlooker, tier).peek(key))
    switch (op.op) {
      case 'consume':
        return this.#decided(where, tokens, await view.consume(key, tokens))
      case 'partial': {
        const answer = await view.consume(key, tokens, { partial: true })
        return [{ ...where, op: op.op, tokens, answer }]
      }
      case 'allow':
        return [{ ...where, op: op.op, tokens, answer: await view.allow(key, tokens) }]
      case 'many':
        return this.#many(where, tokens, await view.consumeMany([key, key], { cost: tokens }))
      case 'penalize':
        return [{ ...where, op: op.op, tokens, answer: await view.penalize(key, tokens) }]
      case 'refund': {
        const agoMs = this.#onGrid(op.agoUs) / 1000
        const answer = await view.refund(key, tokens, agoMs)
        return [{ ...where, op: op.op, tokens, agoMs, answer }]
      }
      case 'acquire': {
        const held = await view.acquire(key, tokens)
        const id = this.#nextId++
        this.#leases.push({ id, key, held })
        return [{ ...where, op: op.op, tokens, id, answer: held }]
      }
      case 'reserve':
        return this.#reserve(view, op, tokens, where)
      case 'settle':
        return this.#settle(op.which, tokens, where)
    }
  }

  /** Of a denial from memory there is no more to check than that it is right. */
  #decided(where: Where, tokens: number, answer: Decision): Event[] {
    if (answer.source === 'exact') return [{ ...where, op: 'consume', tokens, answer }]
    expect(answer).toMatchObject({ source: 'cache', allowed: false, consumed: 0, delayMs: 0 })
    return [{ ...where, op: 'allow', tokens, answer: false }]
  }

  #many(where: Where, tokens: number, both: Decision[]): Event[] {
    if (both.some(({ source }) => source !== 'exact'))
      return both.flatMap((answer) => this.#decided(where, tokens, answer))
    const answer = {
      allowedCount: both.filter(({ allowed }) => allowed).length,
      allowed: Uint8Array.from(both, ({ allowed }) => Number(allowed)),
      remaining: Float64Array.from(both, ({ remaining }) => remaining),
      retryAfterMs: Float64Array.from(both, ({ retryAfterMs }) => retryAfterMs),
      delayMs: Float64Array.from(both, ({ delayMs }) => delayMs),
    } as unknown as BatchResult
    return [{ ...where, op: 'many', tokens, answer }]
  }

  async #reserve(
    view: RedisView,
    { ttlUs, maxDebt }: Op & { op: 'reserve' },
    tokens: number,
    where: Where,
  ): Promise<Event[]> {
    const ttlMs = ttlUs / 1000
    const held = await view.reserve(where.key, tokens, ttlMs, maxDebt === undefined ? {} : { maxDebt })
    const id = this.#nextId++
    if (held.allowed) this.#reservations.push({ id, key: where.key, tier: where.tier, held })
    return [{ ...where, op: 'reserve', tokens, ttlMs, maxDebt, id, answer: held }]
  }

  async #settle(which: number, tokens: number, { atMs }: Where): Promise<Event[]> {
    const [open] = this.#reservations.splice(which % this.#reservations.length, 1)
    if (open === undefined) return []
    const { id, key, tier, held } = open
    return [{ atMs, key, tier, op: 'settle', tokens, id, answer: await held.settle(tokens) }]
  }

  async #release(which: number, { atMs }: Where): Promise<Event[]> {
    const [open] = this.#leases.splice(which % this.#leases.length, 1)
    if (open === undefined) return []
    const { id, key, held } = open
    return [{ atMs, key, tier: undefined, op: 'release', id, answer: await held.release() }]
  }

  #view(tier: string | undefined): RedisView {
    return viewOf(this.#users[this.#turn % this.#users.length] as RedisLimiter, tier)
  }

  /** A step back of the clock is made up for by each limiter itself, so all must see it. */
  async #move(move: Move): Promise<void> {
    const targetUs = this.#onGrid(this.#target(move))
    if (targetUs - this.#schedule.startUs <= LONGEST_RUN_US) this.#nowUs = targetUs
    await Promise.all([...this.#users, this.#onlooker].map((user) => user.peek('nobody')))
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

function viewOf(limiter: RedisLimiter, tier: string | undefined): RedisView {
  return tier === undefined ? limiter : limiter.tier(tier)
}

function costOf(cost: Cost, { limit, remaining }: Decision): number {
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
