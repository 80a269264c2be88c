import { countRoundedByBlock } from './bounds'
import {
  blockedVerdict,
  type Expected,
  exactly,
  type KeyModel,
  NOTHING,
  notBelowZero,
  type OraclePolicy,
  type Range,
} from './expected'
import { floorMod, largerInt, Rational, smallerInt } from './rational'

interface OpenWindow {
  /** When it was opened, or for epoch windows began. */
  startUs: bigint
  endUs: bigint
  /** A range only after a block (see bounds.ts). */
  count: Range<bigint>
  /** True once `endUs` is the engine's own (see bounds.ts). */
  adopted: boolean
  /** Whether nothing was known of the key when the window opened. */
  isFirst: boolean
}

/**
 * A fixed window, from its definition. 'first-request': the window [t, t + windowMs) opens at the first admitted
 * charge after the previous one ended. 'epoch': windows are [k * windowMs, (k + 1) * windowMs).
 *
 * While a key is blocked its window is the one after the block: if the block ends inside the window that was open,
 * the count goes on in a full window that opens at the block's end (epoch: in the same window); otherwise, or if
 * nothing was counted, there is none. Refunds and penalties during the block act on that window.
 *
 * Under a policy with `initial` that is the limit of a key's first window, which also a denial opens, where the cost
 * would fit into a later one. A key is known until `rememberMs` after its last window or block.
 */
export class FixedWindowModel implements KeyModel {
  #window: OpenWindow | undefined
  #blockedUntilUs: bigint | undefined
  /** When the last window or block ended. */
  #lastEndUs: bigint | undefined
  /** The longest that any policy which charged the key remembers it. */
  #rememberUs = 0n
  readonly #windowUs: bigint
  readonly #epoch: boolean
  readonly #stepUs: bigint

  /** @param stepUs how late a window may open; 0 where the engine is exact */
  constructor(policy: OraclePolicy, stepUs: bigint) {
    this.#stepUs = stepUs
    this.#windowUs = policy.windowUs
    this.#epoch = policy.align === 'epoch'
  }

  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected {
    this.#advance(nowUs)
    const verdict = this.#judge(nowUs, cost, policy)
    const admitted = verdict.allowed === 'either' ? witness : verdict.allowed
    if (verdict.allowed === 'either') this.#learn(this.#limitOf(nowUs, policy) - cost, admitted)
    const opens = verdict.reason === 'limited' && this.#window === undefined
    if (opens) this.#count(nowUs, NOTHING, policy)
    if (opens) return { ...this.#judge(nowUs, cost, policy), reason: 'limited' }
    if (!admitted || cost === 0n) return verdict
    this.#count(nowUs, exactly(cost), policy)
    const after = this.#judge(nowUs, 0n, policy)
    return { ...after, allowed: verdict.allowed, reason: verdict.reason, delayUs: verdict.delayUs }
  }

  peek(nowUs: bigint, cost: bigint, policy: OraclePolicy): Expected {
    this.#advance(nowUs)
    const verdict = this.#judge(nowUs, cost, policy)
    if (verdict.reason !== 'limited' || this.#window !== undefined) return verdict
    // Such a call would open the first window.
    this.#window = this.#windowAt(nowUs, true)
    const refused = this.#judge(nowUs, cost, policy)
    this.#window = undefined
    return refused
  }

  refund(
    nowUs: bigint,
    tokens: bigint,
    chargedAgoUs: bigint,
    _: OraclePolicy,
    witness: bigint,
  ): Range<bigint> {
    this.#advance(nowUs)
    const open = this.#window
    if (open === undefined) return NOTHING
    const olderUs = chargedAgoUs === 0n ? 0n : open.startUs - (nowUs - chargedAgoUs)
    if (olderUs > this.#stepUs) return NOTHING
    if (olderUs > 0n && witness === 0n) return NOTHING
    const { lo, hi } = open.count
    const credited = { lo: smallerInt(tokens, lo), hi: smallerInt(tokens, hi) }
    // Less credited than asked: that was the whole count.
    const isWhole = credited.lo !== credited.hi && witness < tokens
    open.count = isWhole ? exactly(0n) : { lo: largerInt(0n, lo - tokens), hi: largerInt(0n, hi - tokens) }
    this.#rewriteBlock()
    return credited
  }

  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy, maxDebt: bigint): Range<bigint> {
    this.#advance(nowUs)
    const { lo, hi } = this.#counted()
    const most = this.#limitOf(nowUs, policy) + smallerInt(maxDebt, policy.limit)
    const take = (count: bigint): bigint => largerInt(0n, smallerInt(most - count, tokens))
    const taken = { lo: take(hi), hi: take(lo) }
    if (taken.hi === 0n) return taken
    this.#count(this.#blockedUntilUs ?? nowUs, { lo: take(lo), hi: take(hi) }, policy)
    this.#rewriteBlock()
    return taken
  }

  block(nowUs: bigint, untilUs: bigint, policy: OraclePolicy): void {
    this.#advance(nowUs)
    if (untilUs <= (this.#blockedUntilUs ?? nowUs)) return
    this.#blockedUntilUs = untilUs
    this.#rememberUs = largerInt(this.#rememberUs, policy.rememberUs)
    const open = this.#window
    this.#window = undefined
    if (open === undefined || open.endUs <= untilUs) return
    this.#window = { ...this.#windowAt(untilUs), count: open.count }
    this.#rewriteBlock()
  }

  adoptReset(nowUs: bigint, resetAfterUs: bigint): boolean {
    this.#advance(nowUs)
    const open = this.#window
    const endUs = nowUs + resetAfterUs
    const isNone = endUs === (this.#blockedUntilUs ?? nowUs)
    if (open === undefined) return isNone
    if (isNone && this.#blockedUntilUs !== undefined && open.count.lo === 0n) {
      this.#window = undefined
      return true
    }
    const latest = open.adopted || this.#epoch ? open.endUs : open.endUs + this.#stepUs
    if (endUs < open.endUs || endUs > latest) return false
    open.endUs = endUs
    open.adopted = true
    return true
  }

  isLive(nowUs: bigint): boolean {
    this.#advance(nowUs)
    if (this.#blockedUntilUs !== undefined || this.#window !== undefined) return true
    return this.#lastEndUs !== undefined && nowUs < this.#lastEndUs + this.#rememberUs
  }

  /** Ends what has ended. */
  #advance(nowUs: bigint): void {
    if (this.#blockedUntilUs !== undefined && nowUs >= this.#blockedUntilUs) {
      this.#lastEndUs = this.#blockedUntilUs
      this.#blockedUntilUs = undefined
    }
    if (this.#window !== undefined && nowUs >= this.#window.endUs) {
      this.#lastEndUs = this.#window.endUs
      this.#window = undefined
    }
  }

  /** Whether the window that opens now is the first of a key of which nothing is known. */
  #isUnknown(nowUs: bigint, { initial, rememberUs }: OraclePolicy): boolean {
    if (initial === undefined || this.#blockedUntilUs !== undefined) return false
    return this.#lastEndUs === undefined || nowUs >= this.#lastEndUs + rememberUs
  }

  /** What may be counted in the open window, or in the one that a charge would open. */
  #limitOf(nowUs: bigint, policy: OraclePolicy): bigint {
    const isFirst = this.#window?.isFirst ?? this.#isUnknown(nowUs, policy)
    return isFirst ? (policy.initial ?? policy.limit) : policy.limit
  }

  /** The window that a charge at `timeUs` opens. */
  #windowAt(timeUs: bigint, isFirst = false): OpenWindow {
    const startUs = this.#epoch ? timeUs - floorMod(timeUs, this.#windowUs) : timeUs
    return { startUs, endUs: startUs + this.#windowUs, count: NOTHING, adopted: false, isFirst }
  }

  #counted(): Range<bigint> {
    return this.#window?.count ?? NOTHING
  }

  /** Counts in the open window, or in one that opens at `timeUs`. */
  #count(timeUs: bigint, tokens: Range<bigint>, policy: OraclePolicy): void {
    this.#window ??= this.#windowAt(timeUs, this.#isUnknown(timeUs, policy))
    this.#rememberUs = largerInt(this.#rememberUs, policy.rememberUs)
    const { lo, hi } = this.#window.count
    this.#window.count = { lo: lo + tokens.lo, hi: hi + tokens.hi }
  }

  #rewriteBlock(): void {
    if (this.#blockedUntilUs === undefined || this.#window === undefined) return
    this.#window.count = countRoundedByBlock(this.#window.count)
    if (this.#window.count.hi === 0n) this.#window = undefined
  }

  /** An answer the oracle left open says whether the count was above what left room for the cost. */
  #learn(mostForCost: bigint, admitted: boolean): void {
    if (this.#window === undefined) return
    const { lo, hi } = this.#window.count
    this.#window.count = admitted
      ? { lo, hi: smallerInt(hi, mostForCost) }
      : { lo: largerInt(lo, mostForCost + 1n), hi }
  }

  #judge(nowUs: bigint, cost: bigint, policy: OraclePolicy): Expected {
    const { lo, hi } = this.#counted()
    const most = this.#limitOf(nowUs, policy)
    const untilReset = (this.#window?.endUs ?? nowUs) - nowUs
    const verdict: Expected = {
      allowed: true,
      reason: 'ok',
      limit: policy.limit,
      remaining: notBelowZero({ lo: most - hi, hi: most - lo }),
      retryAfterUs: NOTHING,
      resetAfterUs: exactly(untilReset),
      delayUs: this.#delay(nowUs, policy),
      consumed: 0n,
    }
    if (this.#blockedUntilUs !== undefined) {
      const untilFitUs = {
        lo: cost > 0n && lo + cost > most ? untilReset : 0n,
        hi: cost > 0n && hi + cost > most ? untilReset : 0n,
      }
      const fits = cost <= policy.limit
      return blockedVerdict(verdict, this.#blockedUntilUs - nowUs, fits ? untilFitUs : 'never')
    }
    const refused = { ...verdict, delayUs: NOTHING }
    if (cost > policy.limit)
      return { ...refused, allowed: false, reason: 'too-costly', retryAfterUs: 'never' }
    if (cost === 0n || hi + cost <= most) return verdict
    const wait = { ...refused, retryAfterUs: exactly(untilReset) }
    if (lo + cost > most) return { ...wait, allowed: false, reason: 'limited' }
    const delayUs = { lo: 0n, hi: verdict.delayUs.hi }
    return { ...wait, allowed: 'either', reason: 'either', retryAfterUs: { lo: 0n, hi: untilReset }, delayUs }
  }

  /** How long until the share of the window is over that belongs to what was counted before. */
  #delay(nowUs: bigint, policy: OraclePolicy): Range<bigint> {
    if (!policy.evenly || this.#window === undefined) return NOTHING
    const { count, endUs } = this.#window
    const startUs = endUs - this.#windowUs
    const until = (before: bigint): bigint =>
      startUs - nowUs + Rational.of(before * this.#windowUs, policy.limit).ceil()
    return notBelowZero({ lo: until(count.lo), hi: until(count.hi) })
  }
}
