import type { Redis } from 'ioredis'
import { type Decision, REASONS } from '../../../lib/limiter/decision'
import { ALGORITHMS } from '../../../lib/policy/algorithms'
import { checkEscalation } from '../../../lib/policy/escalation'
import { makePolicy, type Policy, type PolicyVariant, varyPolicy } from '../../../lib/policy/policy'
import {
  policyText,
  REPLY_BYTES,
  readReply,
  type Script,
  scriptOf,
  setScript,
} from '../../../lib/redis/scripts'
import { ClockModel } from '../../oracle/clock-model'
import type { OracleSettings } from '../../oracle/settings'

export type Answer = Omit<Decision, 'source'>

/** What a long reply says besides. */
export interface LongAnswer {
  answer: Answer
  more: [number, number, number]
}

export interface Ticket {
  key: string
  tokens: number
  atUs: number
  nonce: number
}

export interface Estimate {
  key: string
  tier: string | undefined
  tokens: number
  chargedAtUs: number
  ttlUs: number
  maxDebt: number
  isCharged: boolean
}

export async function evalScript(
  redis: Redis,
  script: Script,
  keys: string[],
  args: (string | number)[],
): Promise<Buffer> {
  try {
    return (await redis.callBuffer('EVALSHA', script.sha, keys.length, ...keys, ...args)) as Buffer
  } catch (error) {
    if (!String(error).includes('NOSCRIPT')) throw error
    return (await redis.callBuffer('EVAL', script.text, keys.length, ...keys, ...args)) as Buffer
  }
}

function pickPolicy(settings: object): PolicyVariant {
  const names = ['limit', 'windowMs', 'holdMs', 'burst', 'queue', 'initial', 'rememberMs', 'evenly']
  return Object.fromEntries(Object.entries(settings).filter(([name]) => names.includes(name)))
}

export interface ScriptLimiterOptions {
  /** Whether all policies, and one that no call asks for, go with each script call. Default false: just the one asked for. */
  isIndexed?: boolean
  startMs?: number
  /** Default: that of the algorithm. */
  script?: Script
}

let made = 0

/** A limiter of nothing but scripts, whose clock is moved by hand. */
export class ScriptLimiter {
  readonly #clock: ClockModel
  readonly #isIndexed: boolean
  readonly #script: Script
  readonly #policies: { text: string; policy: Policy }[] = []
  readonly #names: (string | undefined)[] = [undefined]
  readonly #prefix = `{t${process.pid}}:${made++}:`
  #nowUs = 0n
  #nonce = 1

  constructor(
    readonly redis: Redis,
    readonly settings: OracleSettings,
    { isIndexed = false, startMs = 0, script = scriptOf(settings.algorithm) }: ScriptLimiterOptions = {},
  ) {
    this.#clock = new ClockModel(startMs)
    this.#isIndexed = isIndexed
    this.#script = script
    const { algorithm } = settings
    const base = pickPolicy(settings) as PolicyVariant & { limit: number }
    this.#add(makePolicy(algorithm, base))
    for (const [name, tier] of Object.entries(settings.tiers ?? {})) {
      this.#names.push(name)
      this.#add(varyPolicy(algorithm, base, tier, name))
    }
  }

  setTime(ms: number): void {
    this.#nowUs = this.#clock.read(ms)
  }

  get now(): string {
    return `${this.#nowUs}`
  }

  keyOf(key: string): string {
    return this.#prefix + key
  }

  policyOf(tier?: string): { text: string; policy: Policy } {
    return this.#policies[this.#names.indexOf(tier)] as { text: string; policy: Policy }
  }

  async ask(items: string[], key: string, tier?: string): Promise<Buffer> {
    const keys = items.map(() => this.keyOf(key))
    const index = this.#names.indexOf(tier)
    if (this.#isIndexed) {
      const texts = [...this.#policies, this.policyOf()].map(({ text }) => text)
      const named = items.map((item) => `${index + 1}:${item}`)
      return evalScript(this.redis, this.#script, keys, [this.now, texts.length, ...texts, ...named])
    }
    return evalScript(this.redis, this.#script, keys, [this.now, 1, this.policyOf(tier).text, ...items])
  }

  async decide(item: string, key: string, tier?: string): Promise<Answer> {
    return this.answerIn(await this.ask([item], key, tier), 0, tier)
  }

  async decideLong(item: string, key: string, tier?: string): Promise<LongAnswer> {
    const reply = await this.ask([item], key, tier)
    const at = (i: number): number => reply.readDoubleLE(REPLY_BYTES + 8 * i)
    return { answer: this.answerIn(reply, 0, tier), more: [at(0), at(1), at(2)] }
  }

  async amount(item: string, key: string, tier?: string): Promise<number> {
    return readReply(await this.ask([item], key, tier), 0).amount
  }

  answerIn(reply: Buffer, offset: number, tier?: string): Answer {
    const { outcome, amount, ...rest } = readReply(reply, offset)
    return {
      allowed: outcome === 0,
      reason: REASONS[outcome] as Answer['reason'],
      limit: this.policyOf(tier).policy.capacity,
      consumed: amount,
      ...rest,
    }
  }

  async acquire(key: string, tokens: number, tier?: string): Promise<{ answer: Answer; ticket: Ticket }> {
    const { answer, more } = await this.decideLong(`q ${tokens} ${this.#nonce++}`, key, tier)
    const [atUs, nonce] = more
    return { answer, ticket: { key, tokens: answer.allowed ? tokens : 0, atUs, nonce } }
  }

  async release({ key, tokens, atUs, nonce }: Ticket): Promise<boolean> {
    return tokens > 0 && (await this.amount(`g ${tokens} ${atUs} ${nonce}`, key)) > 0
  }

  async reserve(
    key: string,
    tokens: number,
    ttlMs: number,
    maxDebt: number | undefined,
    tier?: string,
  ): Promise<{ answer: Answer; estimate: Estimate }> {
    const { answer, more } = await this.decideLong(`v ${tokens}`, key, tier)
    const estimate = {
      key,
      tier,
      tokens,
      chargedAtUs: more[0],
      ttlUs: Math.round(ttlMs * 1000),
      maxDebt: maxDebt ?? this.policyOf(tier).policy.capacity,
      isCharged: answer.allowed,
    }
    return { answer, estimate }
  }

  /** How much could not be charged. */
  async settle(
    { key, tier, tokens, chargedAtUs, ttlUs, maxDebt }: Estimate,
    actual: number,
  ): Promise<number> {
    if (actual > tokens) {
      const taken = await this.amount(`n ${actual - tokens} ${maxDebt}`, key, tier)
      return actual - tokens - taken
    }
    if (actual < tokens) await this.amount(`R ${tokens - actual} ${chargedAtUs} ${ttlUs}`, key, tier)
    return 0
  }

  #add(policy: Policy): void {
    const { algorithm, align } = this.settings
    const text = policyText(algorithm, policy, checkEscalation(this.settings.escalate), align)
    this.#policies.push({ text, policy })
  }
}

/** Decides several limits as one. `limiters` have one clock. */
export async function decideTogether(
  limiters: ScriptLimiter[],
  op: string,
  keys: string[],
  costs: number[],
): Promise<Answer[]> {
  const [first] = limiters as [ScriptLimiter]
  const members = limiters.flatMap(({ settings, policyOf }, i) => [
    ALGORITHMS.indexOf(settings.algorithm) + 1,
    policyOf.call(limiters[i]).text,
  ])
  const names = keys.map((key, i) => (limiters[i] as ScriptLimiter).keyOf(key))
  const reply = await evalScript(first.redis, setScript(), names, [first.now, ...members, op, ...costs])
  return limiters.map((limiter, i) => limiter.answerIn(reply, i * REPLY_BYTES))
}
