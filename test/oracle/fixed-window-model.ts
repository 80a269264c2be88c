import { countRoundedByBlock } from './bounds'
import { type Expected, exactly, type KeyModel, type OraclePolicy, type Range } from './expected'
import { floorMod, largerInt, smallerInt } from './rational'

interface OpenWindow {
  /** When it was opened, or for epoch windows began. */
  startUs: bigint
  endUs: bigint
  /** A range only after a block (see bounds.ts). */
  count: Range<bigint>
  /** True once `endUs` is the engine's own (see bounds.ts). */
  adopted: boolean
}

/**
 * A fixed window, from its definition. 'first-request': the window [t, t + windowMs) opens at the first admitted
 * charge after the previous one ended. 'epoch': windows are [k * windowMs, (k + 1) * windowMs).
 *
 * While a key is blocked its window is the one after the block: if the block ends inside the window that was open,
 * the count goes on in a full window that opens at the block's end (epoch: in the same window); otherwise, or if
 * nothing was counted, there is none. Refunds and penalties during the block act on that window.
 */
export class FixedWindowModel implements KeyModel {
  #window: OpenWindow | undefined
  #blockedUntilUs: bigint | undefined
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
    if (verdict.allowed === 'either') this.#learn(policy.limit - cost, admitted)
    if (!admitted || cost === 0n) return verdict
    this.#count(nowUs, exactly(cost))
    return { ...this.#judge(nowUs, 0n, policy), allowed: verdict.allowed, reason: verdict.reason }
  }

  peek(nowUs: bigint, policy: OraclePolicy): Expected {
    this.#advance(nowUs)
    return this.#judge(nowUs, 1n, policy)
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
    if (open === undefined) return exactly(0n)
    const olderUs = chargedAgoUs === 0n ? 0n : open.startUs - (nowUs - chargedAgoUs)
    if (olderUs > this.#stepUs) return exactly(0n)
    if (olderUs > 0n && witness === 0n) return exactly(0n)
    const { lo, hi } = open.count
    const credited = { lo: smallerInt(tokens, lo), hi: smallerInt(tokens, hi) }
    // Less credited than asked: that was the whole count.
    const isWhole = credited.lo !== credited.hi && witness < tokens
    open.count = isWhole ? exactly(0n) : { lo: largerInt(0n, lo - tokens), hi: largerInt(0n, hi - tokens) }
    this.#rewriteBlock()
    return credited
  }

  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy): Range<bigint> {
    this.#advance(nowUs)
    const { lo, hi } = this.#counted()
    const take = (count: bigint): bigint => largerInt(0n, smallerInt(policy.limit - count, tokens))
    const taken = { lo: take(hi), hi: take(lo) }
    if (taken.hi === 0n) return taken
    this.#count(this.#blockedUntilUs ?? nowUs, { lo: take(lo), hi: take(hi) })
    this.#rewriteBlock()
    return taken
  }

  block(nowUs: bigint, untilUs: bigint): void {
    this.#advance(nowUs)
    if (untilUs <= (this.#blockedUntilUs ?? nowUs)) return
    this.#blockedUntilUs = untilUs
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
    return this.#blockedUntilUs !== undefined || this.#window !== undefined
  }

  /** Ends what has ended. */
  #advance(nowUs: bigint): void {
    if (this.#blockedUntilUs !== undefined && nowUs >= this.#blockedUntilUs) this.#blockedUntilUs = undefined
    if (this.#window !== undefined && nowUs >= this.#window.endUs) this.#window = undefined
  }

  /** The window that a charge at `timeUs` opens. */
  #windowAt(timeUs: bigint): OpenWindow {
    const startUs = this.#epoch ? timeUs - floorMod(timeUs, this.#windowUs) : timeUs
    return { startUs, endUs: startUs + this.#windowUs, count: exactly(0n), adopted: false }
  }

  #counted(): Range<bigint> {
    return this.#window?.count ?? exactly(0n)
  }

  /** Counts in the open window, or in one that opens at `timeUs`. */
  #count(timeUs: bigint, tokens: Range<bigint>): void {
    this.#window ??= this.#windowAt(timeUs)
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
    const untilReset = (this.#window?.endUs ?? nowUs) - nowUs
    const verdict: Expected = {
      allowed: true,
      reason: 'ok',
      limit: policy.limit,
      remaining: { lo: largerInt(0n, policy.limit - hi), hi: largerInt(0n, policy.limit - lo) },
      retryAfterUs: exactly(0n),
      resetAfterUs: exactly(untilReset),
    }
    if (this.#blockedUntilUs !== undefined) return blocked(verdict, this.#blockedUntilUs - nowUs, untilReset)
    if (cost > policy.limit)
      return { ...verdict, allowed: false, reason: 'too-costly', retryAfterUs: 'never' }
    if (cost === 0n || hi + cost <= policy.limit) return verdict
    const wait = { ...verdict, retryAfterUs: exactly(untilReset) }
    if (lo + cost > policy.limit) return { ...wait, allowed: false, reason: 'limited' }
    return { ...wait, allowed: 'either', reason: 'either', retryAfterUs: { lo: 0n, hi: untilReset } }
  }
}

function blocked(verdict: Expected, untilEndUs: bigint, untilResetUs: bigint): Expected {
  return {
    ...verdict,
    allowed: false,
    reason: 'blocked',
    remaining: exactly(0n),
    retryAfterUs: exactly(untilEndUs),
    resetAfterUs: exactly(largerInt(untilResetUs, untilEndUs)),
  }
}
