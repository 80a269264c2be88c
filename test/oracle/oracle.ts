import { isExactAt, isRolloverExact, stepTokens, windowStepUs } from './bounds'
import { ClockModel, toUs } from './clock-model'
import { type EscalationPolicy, type KeyState, Offences } from './escalation'
import { type Expected, type KeyModel, NOTHING, type OraclePolicy, type Range } from './expected'
import { FixedWindowModel } from './fixed-window-model'
import { floorMod, largerInt, Rational, smallerInt } from './rational'
import { baseOf, type OracleSettings, tierOf } from './settings'
import { SlidingLogModel } from './sliding-log-model'
import { SlidingWindowModel } from './sliding-window-model'
import { SubWindowModel, type Ticket } from './sub-window-model'
import { TokenBucketModel } from './token-bucket-model'

const US_PER_MS = 1000n

export interface OracleOptions {
  /** The clock when the limiter is made. Default 0. */
  startMs?: number
  /** The clock readings of this run are multiples of so many microseconds. Default 1. */
  readingUs?: 1 | 1000
}

/** Places that were acquired; none if the call was refused. */
export interface OracleLease {
  key: string
  tokens: bigint
  ticket: Ticket | undefined
}

/** An estimate that was charged. */
export interface OracleReservation {
  key: string
  tier: string | undefined
  estimate: bigint
  chargedUs: bigint
  ttlUs: bigint
  /** Undefined: one capacity, of what the policy is when it is settled. */
  maxDebt: bigint | undefined
}

/** What the engine answered to a call, believed only where the oracle leaves it open. */
export interface Witness {
  allowed: boolean
  consumed: number
}

/**
 * A limiter that is slow, exact and written from the definitions: whole microseconds, BigInt fractions, no state
 * packing. It shares no code with the engine. Every method first reads the clock, as the engine does.
 */
export class Oracle {
  readonly #clock: ClockModel
  readonly #keys = new Map<string, KeyState>()
  #base: OraclePolicy
  /** The widest policy that the table was made for. */
  readonly #widest: OraclePolicy
  readonly #tiers = new Map<string, OraclePolicy>()
  readonly #escalation: EscalationPolicy | undefined
  readonly #readingUs: 1 | 1000
  readonly #msOriginUs: bigint

  constructor(settings: OracleSettings, { startMs = 0, readingUs = 1 }: OracleOptions = {}) {
    this.#clock = new ClockModel(startMs)
    this.#base = baseOf(settings)
    const wholeMsWindow = this.#base.windowUs % US_PER_MS === 0n
    this.#readingUs = wholeMsWindow ? readingUs : 1
    const startUs = toUs(startMs)
    const intoWindowUs = isByEpoch(this.#base) ? floorMod(startUs, this.#base.windowUs) : 0n
    this.#msOriginUs = floorMod(startUs - intoWindowUs, US_PER_MS)
    for (const [name, tier] of Object.entries(settings.tiers ?? {})) {
      this.#tiers.set(name, tierOf(settings, tier))
    }
    this.#widest = [...this.#tiers.values()].reduce((a, b) => (widthOf(b) > widthOf(a) ? b : a), this.#base)
    const { escalate } = settings
    this.#escalation = escalate && {
      blockUs: escalate.blockMs.map(toUs),
      forgetUs: toUs(escalate.forgetMs),
    }
  }

  /**
   * @param witness the engine's own decision
   * @param atOnce admitted only if it may go out without a delay: what `allow` asks
   */
  consume(atMs: number, key: string, cost: number, tier?: string, witness = false, atOnce = false): Expected {
    const nowUs = this.#clock.read(atMs)
    const policy = this.#policy(tier)
    const state = this.#state(key, nowUs)
    const expected = state.model.consume(nowUs, BigInt(cost), policy, witness, atOnce)
    return spending(
      BigInt(cost),
      this.#punishing(nowUs, state, expected, BigInt(cost), policy, witness),
      witness,
    )
  }

  /** Takes what is left of `most`; refused only if that is nothing. */
  consumePartial(atMs: number, key: string, most: number, tier?: string, witness?: Witness): Expected {
    const nowUs = this.#clock.read(atMs)
    const policy = this.#policy(tier)
    const state = this.#state(key, nowUs)
    const { lo, hi } = state.model.peek(nowUs, 0n, policy, false).remaining
    const left = smallerInt(hi, largerInt(lo, BigInt(witness?.consumed ?? 0)))
    const tokens = smallerInt(smallerInt(BigInt(most), policy.capacity), largerInt(left, 1n))
    const allowed = witness?.allowed ?? false
    const expected = state.model.consume(nowUs, tokens, policy, allowed, false)
    return spending(tokens, this.#punishing(nowUs, state, expected, tokens, policy, allowed), allowed)
  }

  peek(atMs: number, key: string, tier?: string, witness = false, cost = 1): Expected {
    const nowUs = this.#clock.read(atMs)
    return this.#state(key, nowUs).model.peek(nowUs, BigInt(cost), this.#policy(tier), witness)
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
    const { model } = this.#state(key, nowUs)
    return model.refund(nowUs, BigInt(tokens), toUs(chargedAgoMs), policy, BigInt(witness))
  }

  penalize(atMs: number, key: string, tokens: number, tier?: string): Range<bigint> {
    const nowUs = this.#clock.read(atMs)
    return this.#state(key, nowUs).model.penalize(nowUs, BigInt(tokens), this.#policy(tier), 0n)
  }

  /** Takes places of a concurrency limit, to be given back by `release`. */
  acquire(
    atMs: number,
    key: string,
    cost: number,
    tier?: string,
  ): { expected: Expected; lease: OracleLease } {
    const expected = this.consume(atMs, key, cost, tier)
    const { model } = this.#state(key, this.#clock.read(atMs))
    const isHeld = expected.allowed === true && model instanceof SubWindowModel
    const ticket = isHeld ? model.ticket(this.#clock.read(atMs)) : undefined
    return { expected, lease: { key, tokens: BigInt(cost), ticket } }
  }

  /** Whether the places still counted, and are free now. */
  release(atMs: number, { key, tokens, ticket }: OracleLease, witness = false): boolean | 'either' {
    const nowUs = this.#clock.read(atMs)
    const { model } = this.#state(key, nowUs)
    if (ticket === undefined || !(model instanceof SubWindowModel)) return false
    return model.release(nowUs, tokens, ticket, witness)
  }

  /** Charges an estimate. Without `maxDebt` settling may take one capacity more than there is. */
  reserve(
    atMs: number,
    key: string,
    estimate: number,
    ttlMs: number,
    maxDebt: number | undefined,
    tier?: string,
    witness = false,
  ): { expected: Expected; reservation: OracleReservation } {
    const expected = this.consume(atMs, key, estimate, tier, witness)
    const debt = maxDebt === undefined ? undefined : BigInt(maxDebt)
    const [chargedUs, ttlUs] = [this.#clock.read(atMs), toUs(ttlMs)]
    const reservation = { key, tier, estimate: BigInt(estimate), chargedUs, ttlUs, maxDebt: debt }
    return { expected, reservation }
  }

  /** Makes the estimate the actual amount; how much of that could not be charged any more. */
  settle(atMs: number, reservation: OracleReservation, actual: number): Range<bigint> {
    const nowUs = this.#clock.read(atMs)
    const { key, tier, estimate, chargedUs, ttlUs, maxDebt } = reservation
    const { model } = this.#state(key, nowUs)
    const more = BigInt(actual) - estimate
    const agoUs = nowUs - chargedUs
    const policy = this.#policy(tier)
    if (more > 0n) {
      const { lo, hi } = model.penalize(nowUs, more, policy, maxDebt ?? policy.capacity)
      return { lo: more - hi, hi: more - lo }
    }
    if (more < 0n && agoUs <= ttlUs) model.refund(nowUs, -more, agoUs, policy, -more)
    return NOTHING
  }

  /**
   * Where a window's end may be rounded, hands over the engine's resetAfterMs, which the oracle checks against the
   * bound and then goes by. False if it is out of bounds.
   */
  adoptReset(atMs: number, key: string, resetAfterMs: number): boolean {
    const nowUs = this.#clock.read(atMs)
    return this.#state(key, nowUs).model.adoptReset(nowUs, toUs(resetAfterMs))
  }

  /** How many microseconds late a window may end. */
  get resetSlackUs(): bigint {
    const isRounded = this.#base.algorithm === 'fixed-window' && !isExactAt(this.#widest, this.#readingUs)
    return isRounded ? windowStepUs(this.#widest) : 0n
  }

  block(atMs: number, key: string, ms: number, tier?: string): void {
    const nowUs = this.#clock.read(atMs)
    const untilUs = ms > 0 ? this.#wholeMs(nowUs + toUs(ms)) : nowUs
    this.#state(key, nowUs).model.block(nowUs, untilUs, this.#policy(tier))
  }

  /**
   * True if there was something to forget: not a bucket that has refilled, nor a window that is over. Open where only
   * offences were known.
   */
  reset(atMs: number, key: string): boolean | 'either' {
    const nowUs = this.#clock.read(atMs)
    const state = this.#keys.get(key)
    this.#keys.delete(key)
    const isLive = state?.model.isLive(nowUs) ?? false
    const forgetUs = this.#escalation?.forgetUs ?? 0n
    return !isLive && state?.offences.isRemembered(nowUs, forgetUs) ? 'either' : isLive
  }

  /** Changes the limiter's own policy. See `TokenBucketModel` for what a key makes of it; a window keeps its count. */
  setPolicy(settings: OracleSettings): void {
    this.#base = baseOf(settings)
  }

  /** Blocks a key that was refused as limited, if repeat offenders are. The call is then answered as blocked. */
  #punishing(
    nowUs: bigint,
    { model, offences }: KeyState,
    expected: Expected,
    cost: bigint,
    policy: OraclePolicy,
    witness: boolean,
  ): Expected {
    const isRefused = expected.reason === 'limited' || (expected.reason === 'either' && !witness)
    if (this.#escalation === undefined || !isRefused) return expected
    const untilUs = this.#wholeMs(nowUs + offences.nextBlockUs(nowUs, this.#escalation))
    offences.record(untilUs)
    model.block(nowUs, untilUs, policy)
    return model.peek(nowUs, cost, policy, false)
  }

  /**
   * Blocks end on whole milliseconds: the first one at or after their end. They count from the beginning of the epoch
   * window in which the limiter was made, which matters only to windows of broken milliseconds.
   */
  #wholeMs(untilUs: bigint): bigint {
    return untilUs + floorMod(this.#msOriginUs - untilUs, US_PER_MS)
  }

  #policy(tier: string | undefined): OraclePolicy {
    const policy = tier === undefined ? this.#base : this.#tiers.get(tier)
    if (policy === undefined) throw new RangeError(`no tier ${tier}`)
    return policy
  }

  #state(key: string, nowUs: bigint): KeyState {
    let state = this.#keys.get(key)
    if (state === undefined) {
      state = { model: this.#newModel(nowUs), offences: new Offences() }
      this.#keys.set(key, state)
    }
    return state
  }

  #newModel(nowUs: bigint): KeyModel {
    const base = this.#base
    switch (base.algorithm) {
      case 'token-bucket':
      case 'leaky-bucket':
        return new TokenBucketModel(nowUs, base, (policy) => this.slackOf(policy))
      case 'fixed-window':
        return new FixedWindowModel(base, this.resetSlackUs)
      case 'sliding-window':
        return new SlidingWindowModel(base, isRolloverExact(this.#widest.limit))
      case 'sliding-log':
        return new SlidingLogModel(base)
      case 'strict-window':
      case 'concurrency':
        return new SubWindowModel(base)
    }
  }

  /** How many tokens a level of this policy may be off at this run's clock readings. */
  slackOf(policy: OraclePolicy): Rational {
    return isExactAt(policy, this.#readingUs) ? Rational.ZERO : stepTokens(policy)
  }
}

/** Whether windows are multiples of windowMs since the clock's zero. */
function isByEpoch({ algorithm, align }: OraclePolicy): boolean {
  if (algorithm === 'fixed-window') return align === 'epoch'
  return algorithm === 'sliding-window' || algorithm === 'strict-window' || algorithm === 'concurrency'
}

function spending(tokens: bigint, expected: Expected, witness: boolean): Expected {
  const admitted = expected.allowed === 'either' ? witness : expected.allowed
  return { ...expected, consumed: admitted ? tokens : 0n }
}

function widthOf({ limit, initial = 0n }: OraclePolicy): bigint {
  return largerInt(limit, initial)
}
