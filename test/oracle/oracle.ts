import { isExactAt, stepTokens, windowStepUs } from './bounds'
import { ClockModel, toUs } from './clock-model'
import type { Expected, KeyModel, OraclePolicy, Range } from './expected'
import { FixedWindowModel } from './fixed-window-model'
import { floorMod, Rational } from './rational'
import { TokenBucketModel } from './token-bucket-model'

const US_PER_MS = 1000n

export interface TierSettings {
  limit?: number
  windowMs?: number
  burst?: number
}

export interface OracleSettings {
  algorithm: 'token-bucket' | 'fixed-window'
  limit: number
  windowMs: number
  burst?: number | undefined
  align?: 'first-request' | 'epoch' | undefined
  tiers?: Record<string, TierSettings> | undefined
}

export interface OracleOptions {
  /** The clock when the limiter is made. Default 0. */
  startMs?: number
  /** The clock readings of this run are multiples of so many microseconds. Default 1. */
  readingUs?: 1 | 1000
}

/**
 * A limiter that is slow, exact and written from the definitions: whole microseconds, BigInt fractions, no state
 * packing. It shares no code with the engine. Every method first reads the clock, as the engine does.
 */
export class Oracle {
  readonly #clock: ClockModel
  readonly #keys = new Map<string, KeyModel>()
  #base: OraclePolicy
  /** The widest policy that the table was made for. */
  readonly #widest: OraclePolicy
  readonly #tiers = new Map<string, OraclePolicy>()
  readonly #readingUs: 1 | 1000
  readonly #msOriginUs: bigint

  constructor(settings: OracleSettings, { startMs = 0, readingUs = 1 }: OracleOptions = {}) {
    this.#clock = new ClockModel(startMs)
    this.#base = baseOf(settings)
    const wholeMsWindow = this.#base.windowUs % US_PER_MS === 0n
    this.#readingUs = wholeMsWindow ? readingUs : 1
    const startUs = toUs(startMs)
    const intoWindowUs = settings.align === 'epoch' ? floorMod(startUs, this.#base.windowUs) : 0n
    this.#msOriginUs = floorMod(startUs - intoWindowUs, US_PER_MS)
    for (const [name, tier] of Object.entries(settings.tiers ?? {})) {
      this.#tiers.set(name, toOraclePolicy(tierOf(settings, tier)))
    }
    this.#widest = [...this.#tiers.values()].reduce((a, b) => (b.limit > a.limit ? b : a), this.#base)
  }

  /** `witness` is the engine's own decision, believed only where the oracle leaves it open. */
  consume(atMs: number, key: string, cost: number, tier?: string, witness = false): Expected {
    const nowUs = this.#clock.read(atMs)
    return this.#model(key, nowUs).consume(nowUs, BigInt(cost), this.#policy(tier), witness)
  }

  peek(atMs: number, key: string, tier?: string, witness = false): Expected {
    const nowUs = this.#clock.read(atMs)
    return this.#model(key, nowUs).peek(nowUs, this.#policy(tier), witness)
  }

  refund(
    atMs: number,
    key: string,
    tokens: number,
    chargedAgoMs = 0,
    tier?: string,
    witness = 0,
  ): Range<bigint> {
    const nowUs = this.#clock.read(atMs)
    const policy = this.#policy(tier)
    return this.#model(key, nowUs).refund(nowUs, BigInt(tokens), toUs(chargedAgoMs), policy, BigInt(witness))
  }

  penalize(atMs: number, key: string, tokens: number, tier?: string): Range<bigint> {
    const nowUs = this.#clock.read(atMs)
    return this.#model(key, nowUs).penalize(nowUs, BigInt(tokens), this.#policy(tier))
  }

  /**
   * Where a window's end may be rounded, hands over the engine's resetAfterMs, which the oracle checks against the
   * bound and then goes by. False if it is out of bounds.
   */
  adoptReset(atMs: number, key: string, resetAfterMs: number): boolean {
    const nowUs = this.#clock.read(atMs)
    return this.#model(key, nowUs).adoptReset(nowUs, toUs(resetAfterMs))
  }

  /** How many microseconds late a window may end. */
  get resetSlackUs(): bigint {
    if (this.#base.algorithm === 'token-bucket' || isExactAt(this.#widest, this.#readingUs)) return 0n
    return windowStepUs(this.#widest)
  }

  /**
   * Blocks end on whole milliseconds: the first one at or after now + ms. They count from the beginning of the epoch
   * window in which the limiter was made, which matters only to windows of broken milliseconds.
   */
  block(atMs: number, key: string, ms: number, tier?: string): void {
    const nowUs = this.#clock.read(atMs)
    const untilUs = nowUs + toUs(ms)
    const wholeMs = untilUs + floorMod(this.#msOriginUs - untilUs, US_PER_MS)
    this.#model(key, nowUs).block(nowUs, ms > 0 ? wholeMs : nowUs, this.#policy(tier))
  }

  /** True if there was something to forget: not a bucket that has refilled, nor a window that is over. */
  reset(atMs: number, key: string): boolean | 'either' {
    const nowUs = this.#clock.read(atMs)
    const model = this.#keys.get(key)
    this.#keys.delete(key)
    return model?.isLive(nowUs) ?? false
  }

  /** Changes the limiter's own policy. See `TokenBucketModel` for what a key makes of it; a window keeps its count. */
  setPolicy(settings: OracleSettings): void {
    this.#base = baseOf(settings)
  }

  #policy(tier: string | undefined): OraclePolicy {
    const policy = tier === undefined ? this.#base : this.#tiers.get(tier)
    if (policy === undefined) throw new RangeError(`no tier ${tier}`)
    return policy
  }

  #model(key: string, nowUs: bigint): KeyModel {
    let model = this.#keys.get(key)
    if (model === undefined) {
      model = this.#newModel(nowUs)
      this.#keys.set(key, model)
    }
    return model
  }

  #newModel(nowUs: bigint): KeyModel {
    if (this.#base.algorithm === 'fixed-window') return new FixedWindowModel(this.#base, this.resetSlackUs)
    return new TokenBucketModel(nowUs, this.#base, (policy) => this.slackOf(policy))
  }

  /** How many tokens a level of this policy may be off at this run's clock readings. */
  slackOf(policy: OraclePolicy): Rational {
    return isExactAt(policy, this.#readingUs) ? Rational.ZERO : stepTokens(policy)
  }
}

function baseOf(settings: OracleSettings): OraclePolicy {
  return { ...toOraclePolicy(settings), isBase: true }
}

function tierOf(settings: OracleSettings, tier: TierSettings): OracleSettings {
  const limit = tier.limit ?? settings.limit
  const burst = tier.burst ?? (tier.limit === undefined ? settings.burst : undefined)
  return { ...settings, limit, burst, windowMs: tier.windowMs ?? settings.windowMs }
}

export function toOraclePolicy(settings: OracleSettings): OraclePolicy {
  const { algorithm, limit, windowMs, burst, align } = settings
  return {
    algorithm,
    limit: BigInt(limit),
    windowUs: toUs(windowMs),
    capacity: BigInt(algorithm === 'token-bucket' ? (burst ?? limit) : limit),
    align: align ?? 'first-request',
    isBase: false,
  }
}
