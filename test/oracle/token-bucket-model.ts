import { roundedByBlock, roundedByMove, stepTokens } from './bounds'
import { type Expected, exactly, type KeyModel, type OraclePolicy, type Range } from './expected'
import { larger, largerInt, Rational, smaller } from './rational'

const ZERO = Rational.ZERO

/** Whose rate the bucket refills at. Two only after a penalty of which rounding may have left nothing. */
interface Draining {
  fastest: OraclePolicy
  slowest: OraclePolicy
}

/**
 * A token bucket, from its definition: full for a new key, refilled continuously, and a call is admitted if the
 * level covers its cost. Kept as what is spent (capacity less level), which is what moves between tiers. The
 * spent amount drains at the rate of the policy of the last admitted charge or penalty.
 *
 * While a key is blocked, what counts is what will still be spent when the block ends: refunds and penalties act on
 * that. `spent` is a range, and answers are ranges, only where bounds.ts says so.
 */
export class TokenBucketModel implements KeyModel {
  #spent: Range<Rational> = exactly(ZERO)
  /** When `spent` was so. The block's end, in the future, while the key is blocked. */
  #atUs: bigint
  #draining: Draining
  #blockedUntilUs: bigint | undefined
  #untouched = true
  readonly #gridSlackOf: (policy: OraclePolicy) => Rational

  constructor(nowUs: bigint, policy: OraclePolicy, gridSlackOf: (policy: OraclePolicy) => Rational) {
    this.#atUs = nowUs
    this.#draining = { fastest: policy, slowest: policy }
    this.#gridSlackOf = gridSlackOf
  }

  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected {
    this.#advance(nowUs)
    this.#carryOver(policy)
    const verdict = this.#judge(nowUs, cost, policy)
    const admitted = verdict.allowed === 'either' ? witness : verdict.allowed
    if (verdict.allowed === 'either') this.#learn(cost, policy, admitted)
    if (!admitted || cost === 0n) return verdict
    this.#charge(exactly(Rational.of(cost)), policy)
    const after = this.#judge(nowUs, 0n, policy)
    return { ...after, allowed: verdict.allowed, reason: verdict.reason }
  }

  peek(nowUs: bigint, policy: OraclePolicy, witness: boolean): Expected {
    this.#advance(nowUs)
    const before = { spent: this.#spent, draining: this.#draining }
    const resetAfterUs = this.#untilFull(policy, nowUs)
    if (!this.#carryOver(policy)) return this.#judge(nowUs, 1n, policy)
    const verdict = this.#judge(nowUs, 1n, policy)
    const allowed = verdict.allowed === 'either' ? witness : verdict.allowed
    if (!allowed) {
      if (verdict.allowed === 'either') this.#learn(1n, policy, false)
      return verdict
    }
    // Only a call that spends, or is refused, moves a key to the limiter's new policy.
    this.#spent = before.spent
    this.#draining = before.draining
    return { ...verdict, resetAfterUs }
  }

  refund(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint> {
    this.#advance(nowUs)
    const { fastest, slowest } = this.#draining
    const left = (policy: OraclePolicy, slack: Rational): Rational =>
      larger(
        ZERO,
        Rational.of(tokens)
          .minus(rateOf(policy).times(Rational.of(chargedAgoUs)))
          .minus(slack),
      )
    const most = left(slowest, ZERO)
    const slack = this.#gridSlack(fastest)
    const least = left(fastest, chargedAgoUs === 0n ? ZERO : slack.plus(slack))
    const missing = this.#seenBy(slowest)
    const credited = { lo: smaller(least, missing.lo).floor(), hi: smaller(most, missing.hi).floor() }
    this.#spent = {
      lo: larger(ZERO, this.#spent.lo.minus(most)),
      hi: larger(ZERO, this.#spent.hi.minus(least)),
    }
    this.#rewriteBlock()
    return credited
  }

  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy): Range<bigint> {
    this.#advance(nowUs)
    const take = (spent: Rational): Rational =>
      larger(ZERO, smaller(Rational.of(tokens), Rational.of(policy.capacity).minus(spent)))
    const seen = this.#seenBy(policy)
    const taken = { lo: take(seen.hi), hi: take(seen.lo) }
    if (taken.hi.isZero()) return exactly(0n)
    const before = { spent: this.#spent, draining: this.#draining }
    const { lo, hi } = this.#afterMoveTo(policy)
    this.#charge({ lo: take(lo), hi: take(hi) }, policy)
    if (taken.lo.isZero()) {
      // Rounding may have left nothing to take; then nothing has changed.
      this.#spent = { lo: before.spent.lo, hi: larger(before.spent.hi, this.#spent.hi) }
      this.#draining = spanning(before.draining, policy)
    }
    this.#rewriteBlock()
    return { lo: taken.lo.floor(), hi: taken.hi.floor() }
  }

  block(nowUs: bigint, untilUs: bigint): void {
    this.#advance(nowUs)
    if (untilUs <= (this.#blockedUntilUs ?? nowUs)) return
    this.#spent = this.#settled()
    this.#blockedUntilUs = untilUs
    this.#untouched = false
    this.#drainUntil(untilUs)
    this.#rewriteBlock()
  }

  /** Buckets have no window to adopt: their answers are ranges instead. */
  adoptReset(): boolean {
    return true
  }

  isLive(nowUs: bigint): boolean | 'either' {
    this.#advance(nowUs)
    if (this.#blockedUntilUs !== undefined) return true
    const { lo, hi } = this.#seenBy(this.#draining.slowest)
    return hi.isZero() ? false : lo.isZero() ? 'either' : true
  }

  #advance(nowUs: bigint): void {
    if (this.#blockedUntilUs !== undefined && nowUs >= this.#blockedUntilUs) this.#blockedUntilUs = undefined
    if (this.#blockedUntilUs === undefined) this.#drainUntil(nowUs)
  }

  #drainUntil(timeUs: bigint): void {
    const elapsed = Rational.of(timeUs - this.#atUs)
    const { fastest, slowest } = this.#draining
    this.#spent = {
      lo: larger(ZERO, this.#spent.lo.minus(rateOf(fastest).times(elapsed))),
      hi: larger(ZERO, this.#spent.hi.minus(rateOf(slowest).times(elapsed))),
    }
    this.#atUs = timeUs
  }

  #charge(tokens: Range<Rational>, policy: OraclePolicy): void {
    const { lo, hi } = this.#afterMoveTo(policy)
    this.#spent = { lo: lo.plus(tokens.lo), hi: hi.plus(tokens.hi) }
    this.#draining = { fastest: policy, slowest: policy }
    this.#untouched = false
  }

  /**
   * Moves a key that the limiter's own policy drains to what that policy has become. False if there is nothing to move.
   */
  #carryOver(policy: OraclePolicy): boolean {
    if (this.#blockedUntilUs !== undefined || !this.#isFromFormer(policy)) return false
    this.#spent = this.#afterMoveTo(policy)
    this.#draining = { fastest: policy, slowest: policy }
    return true
  }

  #isFromFormer(policy: OraclePolicy): boolean {
    const { fastest, slowest } = this.#draining
    return policy.isBase && fastest.isBase && slowest.isBase && (fastest !== policy || slowest !== policy)
  }

  #rewriteBlock(): void {
    if (this.#blockedUntilUs === undefined) return
    this.#spent = roundedByBlock(this.#spent, this.#draining.fastest)
  }

  /** An answer the oracle left open says on which side of the cost the level was. */
  #learn(cost: bigint, policy: OraclePolicy, admitted: boolean): void {
    const edge = Rational.of(policy.capacity - cost)
    const slack = this.#gridSlack(policy).plus(stepTokens(policy))
    const { lo, hi } = this.#spent
    this.#spent = admitted
      ? { lo, hi: larger(lo, smaller(hi, edge.plus(slack))) }
      : { lo: smaller(hi, larger(lo, edge.minus(slack))), hi }
  }

  #gridSlack(policy: OraclePolicy): Rational {
    if (this.#untouched) return ZERO
    const { fastest, slowest } = this.#draining
    return [policy, fastest, slowest].map(this.#gridSlackOf).reduce(larger)
  }

  /** What is spent, if `policy` charges now: rounded up to one of its steps if another policy charged last. */
  #afterMoveTo(policy: OraclePolicy): Range<Rational> {
    const { fastest, slowest } = this.#draining
    if (policy === fastest && policy === slowest) return this.#spent
    if (!this.#isFromFormer(policy)) return roundedByMove(this.#settled(), policy)
    const { lo, hi } = this.#settled()
    const capacities = [fastest.capacity, slowest.capacity].map((capacity) => Rational.of(capacity))
    const spents = [lo, hi].map((spent) => capacities.map((capacity) => spentAfter(spent, capacity, policy)))
    const [least, most] = spents as [Rational[], Rational[]]
    return roundedByMove({ lo: least.reduce(smaller), hi: most.reduce(larger) }, policy)
  }

  /** What is spent, with the steps of the policies that drained it so far: another policy's do not undo theirs. */
  #settled(): Range<Rational> {
    const slack = this.#gridSlack(this.#draining.slowest)
    const { lo, hi } = this.#spent
    return { lo: larger(ZERO, lo.minus(slack)), hi: hi.plus(slack) }
  }

  #untilFull(policy: OraclePolicy, nowUs: bigint): Range<bigint> {
    // A key that has not moved yet goes on under its former policy.
    return this.#untilSpentIs(ZERO, this.#isFromFormer(policy) ? this.#draining.slowest : policy, nowUs)
  }

  /** What is spent as `policy` sees it, with all that the engine may round. */
  #seenBy(policy: OraclePolicy): Range<Rational> {
    const slack = this.#gridSlack(policy)
    const { lo, hi } = this.#afterMoveTo(policy)
    return { lo: larger(ZERO, lo.minus(slack)), hi: hi.plus(slack) }
  }

  /** Time until no more than `allowance` is spent. */
  #untilSpentIs(allowance: Rational, policy: OraclePolicy, nowUs: bigint): Range<bigint> {
    const { lo, hi } = this.#seenBy(policy)
    const until = (spent: Rational, draining: OraclePolicy): bigint =>
      largerInt(0n, this.#atUs - nowUs + spent.minus(allowance).over(rateOf(draining)).ceil())
    return { lo: until(lo, this.#draining.fastest), hi: until(hi, this.#draining.slowest) }
  }

  #judge(nowUs: bigint, cost: bigint, policy: OraclePolicy): Expected {
    const seen = this.#seenBy(policy)
    const capacity = Rational.of(policy.capacity)
    const levelOf = (spent: Rational): bigint => largerInt(0n, capacity.minus(spent).floor())
    const verdict: Expected = {
      allowed: true,
      reason: 'ok',
      limit: policy.capacity,
      remaining: { lo: levelOf(seen.hi), hi: levelOf(seen.lo) },
      retryAfterUs: exactly(0n),
      resetAfterUs: this.#untilFull(policy, nowUs),
    }
    if (this.#blockedUntilUs !== undefined) return blocked(verdict, this.#blockedUntilUs - nowUs)
    if (cost > policy.capacity)
      return { ...verdict, allowed: false, reason: 'too-costly', retryAfterUs: 'never' }
    const allowance = Rational.of(policy.capacity - cost)
    if (cost === 0n || seen.hi.compare(allowance) <= 0) return verdict
    const retryAfterUs = this.#untilSpentIs(allowance, policy, nowUs)
    if (seen.lo.compare(allowance) > 0) return { ...verdict, allowed: false, reason: 'limited', retryAfterUs }
    return { ...verdict, allowed: 'either', reason: 'either', retryAfterUs: { lo: 0n, hi: retryAfterUs.hi } }
  }
}

function blocked(verdict: Expected, untilEndUs: bigint): Expected {
  const { lo, hi } = verdict.resetAfterUs
  return {
    ...verdict,
    allowed: false,
    reason: 'blocked',
    remaining: exactly(0n),
    retryAfterUs: exactly(untilEndUs),
    resetAfterUs: { lo: largerInt(lo, untilEndUs), hi: largerInt(hi, untilEndUs) },
  }
}

/**
 * What `spent` of a bucket of `capacity` is when the limiter's policy becomes `to`. In a larger bucket what is left stays
 * the same, in a smaller one what is spent, as far as it goes in; a full bucket stays full.
 */
function spentAfter(spent: Rational, capacity: Rational, to: OraclePolicy): Rational {
  if (spent.isZero()) return spent
  const newCapacity = Rational.of(to.capacity)
  return smaller(newCapacity, spent.plus(larger(ZERO, newCapacity.minus(capacity))))
}

/** The rates of `draining`, and that of `policy`. */
function spanning({ fastest, slowest }: Draining, policy: OraclePolicy): Draining {
  return {
    fastest: rateOf(policy).compare(rateOf(fastest)) > 0 ? policy : fastest,
    slowest: rateOf(policy).compare(rateOf(slowest)) < 0 ? policy : slowest,
  }
}

/** Tokens per microsecond. */
function rateOf(policy: OraclePolicy): Rational {
  return Rational.of(policy.limit, policy.windowUs)
}
