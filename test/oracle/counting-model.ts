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
import { largerInt, smallerInt } from './rational'

/**
 * What the windows that slide have in common: a key has so much room, a call is admitted if its cost goes in, and a
 * block refuses everything for a time. Each model says what counts, and when it stops counting.
 */
export abstract class CountingModel implements KeyModel {
  #blockedUntilUs: bigint | undefined

  /** Forgets what does not count at `nowUs` any more. */
  protected abstract advance(nowUs: bigint): void
  /** Whole tokens that fit in; below zero if more is counted than this policy allows. */
  protected abstract room(nowUs: bigint, policy: OraclePolicy): Range<bigint>
  /** The least wait after which `cost` fits in, if nobody else spends. */
  protected abstract waitFor(nowUs: bigint, cost: bigint, policy: OraclePolicy): Range<bigint>
  protected abstract untilReset(nowUs: bigint): Range<bigint>
  protected abstract count(nowUs: bigint, tokens: Range<bigint>): void
  protected abstract giveBack(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint>
  /** Called when a block is set: what counts at its end is kept, as the model keeps it. */
  protected beginBlock(_untilUs: bigint): void {}
  /** Whether a penalty may go below empty. */
  protected readonly takesDebt: boolean = false
  /** Where counting ends, if that can be reached. */
  protected readonly mostCounted: bigint | undefined = undefined

  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected {
    const verdict = this.peek(nowUs, cost, policy)
    const admitted = verdict.allowed === 'either' ? witness : verdict.allowed
    if (!admitted || cost === 0n) return verdict
    this.count(nowUs, exactly(cost))
    return { ...this.peek(nowUs, 0n, policy), allowed: verdict.allowed, reason: verdict.reason }
  }

  peek(nowUs: bigint, cost: bigint, policy: OraclePolicy): Expected {
    this.#endBlock(nowUs)
    this.advance(nowUs)
    const room = this.room(nowUs, policy)
    const verdict: Expected = {
      allowed: true,
      reason: 'ok',
      limit: policy.limit,
      remaining: notBelowZero(room),
      retryAfterUs: NOTHING,
      resetAfterUs: this.untilReset(nowUs),
      delayUs: NOTHING,
      consumed: 0n,
    }
    const retryAfterUs = this.#untilFit(nowUs, cost, room, policy)
    if (this.#blockedUntilUs !== undefined)
      return blockedVerdict(verdict, this.#blockedUntilUs - nowUs, retryAfterUs)
    if (retryAfterUs === 'never') return { ...verdict, allowed: false, reason: 'too-costly', retryAfterUs }
    if (cost === 0n || cost <= room.lo) return verdict
    if (cost > room.hi) return { ...verdict, allowed: false, reason: 'limited', retryAfterUs }
    return { ...verdict, allowed: 'either', reason: 'either', retryAfterUs: { lo: 0n, hi: retryAfterUs.hi } }
  }

  refund(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint> {
    this.#endBlock(nowUs)
    this.advance(nowUs)
    return this.giveBack(nowUs, tokens, chargedAgoUs)
  }

  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy, maxDebt: bigint): Range<bigint> {
    this.#endBlock(nowUs)
    this.advance(nowUs)
    const debt = this.takesDebt ? smallerInt(maxDebt, policy.limit) : 0n
    const most = this.mostCounted === undefined ? debt : smallerInt(debt, this.mostCounted - policy.limit)
    const { lo, hi } = this.room(nowUs, policy)
    const take = (room: bigint): bigint => largerInt(0n, smallerInt(tokens, room + most))
    const taken = { lo: take(lo), hi: take(hi) }
    if (taken.hi > 0n) this.count(nowUs, taken)
    return taken
  }

  block(nowUs: bigint, untilUs: bigint): void {
    this.#endBlock(nowUs)
    this.advance(nowUs)
    if (untilUs <= (this.#blockedUntilUs ?? nowUs)) return
    this.#blockedUntilUs = untilUs
    this.beginBlock(untilUs)
  }

  /** No window here ends but at a time that the oracle knows. */
  adoptReset(): boolean {
    return true
  }

  isLive(nowUs: bigint): boolean | 'either' {
    this.#endBlock(nowUs)
    this.advance(nowUs)
    if (this.#blockedUntilUs !== undefined) return true
    const { lo, hi } = this.untilReset(nowUs)
    return hi === 0n ? false : lo === 0n ? 'either' : true
  }

  /** The end of the block that is in force. */
  protected get blockedUntilUs(): bigint | undefined {
    return this.#blockedUntilUs
  }

  #untilFit(nowUs: bigint, cost: bigint, room: Range<bigint>, policy: OraclePolicy): Range<bigint> | 'never' {
    if (cost > policy.limit) return 'never'
    if (cost === 0n || cost <= room.lo) return NOTHING
    const { lo, hi } = this.waitFor(nowUs, cost, policy)
    return { lo: cost <= room.hi ? 0n : lo, hi }
  }

  #endBlock(nowUs: bigint): void {
    if (this.#blockedUntilUs !== undefined && nowUs >= this.#blockedUntilUs) this.#blockedUntilUs = undefined
  }
}
