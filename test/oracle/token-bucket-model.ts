import { roundedByBlock, roundedByMove, stepTokens } from './bounds'
import {
  atLeast,
  blockedVerdict,
  type Expected,
  exactly,
  type KeyModel,
  NOTHING,
  notBelowZero,
  type OraclePolicy,
  type Range,
} from './expected'
import { larger, largerInt, Rational, smaller, smallerInt } from './rational'

const ZERO = Rational.ZERO

/** Whose rate the bucket refills at. Two only after a penalty of which rounding may have left nothing. */
interface Draining {
  fastest: OraclePolicy
  slowest: OraclePolicy
}

interface State {
  spent: Range<Rational>
  draining: Draining
  fullAtUs: Range<bigint>
  isUntouched: boolean
}

/**
 * A token bucket, from its definition: full for a new key, refilled continuously, and a call is admitted if the
 * level covers its cost. Kept as what is spent (capacity less level), which is what moves between tiers. The
 * spent amount drains at the rate of the policy of the last admitted charge or penalty.
 *
 * Under a policy with `initial` a key of which nothing is known has that level, until it is charged, denied as
 * limited, penalized or blocked; from then on it refills. It is known until it has been full for `rememberMs`.
 *
 * A leaky bucket is the same, seen from the other side: what is spent is the queue, which leaks. A call may go out when
 * all before it has leaked out. A place in time that was given away is not taken back, so refunds give nothing.
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
  /** When nothing was spent any more. */
  #fullAtUs: Range<bigint>
  #isUntouched = true
  readonly #gridSlackOf: (policy: OraclePolicy) => Rational

  constructor(nowUs: bigint, policy: OraclePolicy, gridSlackOf: (policy: OraclePolicy) => Rational) {
    this.#atUs = nowUs
    this.#fullAtUs = exactly(nowUs)
    this.#draining = { fastest: policy, slowest: policy }
    this.#gridSlackOf = gridSlackOf
  }

  consume(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean, atOnce: boolean): Expected {
    this.#advance(nowUs)
    const before = this.#state()
    const isNew = this.#begin(policy)
    this.#carryOver(policy)
    const isPressed = atOnce && isQueue(policy)
    const verdict = isPressed ? this.#judgeAtOnce(nowUs, cost, policy) : this.#judge(nowUs, cost, policy)
    const admitted = verdict.allowed === 'either' ? witness : verdict.allowed
    if (verdict.allowed === 'either' && !isPressed) this.#learn(cost, policy, admitted)
    const leavesNoTrace = admitted ? cost === 0n : verdict.retryAfterUs === 'never'
    if (isNew && leavesNoTrace) this.#restore(before)
    if (!admitted || cost === 0n) return verdict
    this.#charge(exactly(Rational.of(cost)), policy)
    const after = this.#judge(nowUs, 0n, policy)
    return { ...after, allowed: verdict.allowed, reason: verdict.reason, delayUs: verdict.delayUs }
  }

  peek(nowUs: bigint, cost: bigint, policy: OraclePolicy, witness: boolean): Expected {
    this.#advance(nowUs)
    const before = this.#state()
    if (this.#begin(policy)) {
      const verdict = this.#judge(nowUs, cost, policy)
      this.#restore(before)
      return verdict
    }
    const resetAfterUs = this.#untilFull(policy, nowUs)
    if (!this.#carryOver(policy)) return this.#judge(nowUs, cost, policy)
    const verdict = this.#judge(nowUs, cost, policy)
    const allowed = verdict.allowed === 'either' ? witness : verdict.allowed
    if (!allowed) {
      if (verdict.allowed === 'either') this.#learn(cost, policy, false)
      return verdict
    }
    // Only a call that spends, or is refused, moves a key to the limiter's new policy.
    this.#restore(before)
    return { ...verdict, resetAfterUs }
  }

  refund(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint, policy: OraclePolicy): Range<bigint> {
    this.#advance(nowUs)
    if (isQueue(policy)) return NOTHING
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
    const { lo, hi } = this.#spent
    this.#fullAtUs = {
      lo: lo.isZero() ? this.#fullAtUs.lo : this.#atUs,
      hi: hi.isZero() ? this.#fullAtUs.hi : this.#atUs,
    }
    this.#spent = atLeast(ZERO, { lo: lo.minus(most), hi: hi.minus(least) })
    this.#rewriteBlock()
    return credited
  }

  penalize(nowUs: bigint, tokens: bigint, policy: OraclePolicy, maxDebt: bigint): Range<bigint> {
    this.#advance(nowUs)
    const before = this.#state()
    this.#begin(policy)
    const lowest = Rational.of(policy.capacity + smallerInt(maxDebt, policy.capacity))
    const take = (spent: Rational): Rational =>
      larger(ZERO, smaller(Rational.of(tokens), lowest.minus(spent)))
    const seen = this.#seenBy(policy)
    const taken = { lo: take(seen.hi), hi: take(seen.lo) }
    if (taken.hi.isZero()) {
      this.#restore(before)
      return NOTHING
    }
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

  block(nowUs: bigint, untilUs: bigint, policy: OraclePolicy): void {
    this.#advance(nowUs)
    if (untilUs <= (this.#blockedUntilUs ?? nowUs)) return
    this.#begin(policy)
    this.#spent = this.#settled()
    this.#blockedUntilUs = untilUs
    this.#isUntouched = false
    this.#drainUntil(untilUs)
    this.#fullAtUs = exactly(untilUs)
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
    if (this.#draining.slowest.initial !== undefined) {
      const isUnknown = this.#isUnknown()
      return isUnknown === 'either' ? isUnknown : !isUnknown
    }
    return hi.isZero() ? false : lo.isZero() ? 'either' : true
  }

  /** Gives a key of which nothing is known its first level, if `policy` has one. False if there is nothing to do. */
  #begin(policy: OraclePolicy): boolean {
    const isUnknown = this.#isUnknown()
    if (policy.initial === undefined || !isUnknown) return false
    const missing = Rational.of(policy.capacity - policy.initial)
    this.#spent = isUnknown === true ? exactly(missing) : { lo: ZERO, hi: larger(missing, this.#spent.hi) }
    this.#draining = { fastest: policy, slowest: policy }
    this.#fullAtUs = exactly(this.#atUs)
    this.#isUntouched = false
    return true
  }

  /** Open where rounding may have made the bucket full a little later. */
  #isUnknown(): boolean | 'either' {
    if (this.#isUntouched) return true
    if (this.#blockedUntilUs !== undefined || !this.#spent.lo.isZero()) return false
    const { lo, hi } = this.#fullAtUs
    const { rememberUs } = this.#draining.slowest
    if (this.#atUs < lo + rememberUs) return false
    return this.#spent.hi.isZero() && this.#atUs >= hi + rememberUs ? true : 'either'
  }

  #state(): State {
    return {
      spent: this.#spent,
      draining: this.#draining,
      fullAtUs: this.#fullAtUs,
      isUntouched: this.#isUntouched,
    }
  }

  #restore({ spent, draining, fullAtUs, isUntouched }: State): void {
    this.#spent = spent
    this.#fullAtUs = fullAtUs
    this.#draining = draining
    this.#isUntouched = isUntouched
  }

  #advance(nowUs: bigint): void {
    if (this.#blockedUntilUs !== undefined && nowUs >= this.#blockedUntilUs) this.#blockedUntilUs = undefined
    if (this.#blockedUntilUs === undefined) this.#drainUntil(nowUs)
  }

  #drainUntil(timeUs: bigint): void {
    const elapsed = Rational.of(timeUs - this.#atUs)
    const { fastest, slowest } = this.#draining
    const { lo, hi } = this.#spent
    if (!lo.isZero()) this.#fullAtUs.lo = this.#atUs + lo.over(rateOf(fastest)).ceil()
    if (!hi.isZero()) this.#fullAtUs.hi = this.#atUs + hi.over(rateOf(slowest)).ceil()
    this.#spent = atLeast(ZERO, {
      lo: lo.minus(rateOf(fastest).times(elapsed)),
      hi: hi.minus(rateOf(slowest).times(elapsed)),
    })
    this.#atUs = timeUs
  }

  #charge(tokens: Range<Rational>, policy: OraclePolicy): void {
    const { lo, hi } = this.#afterMoveTo(policy)
    this.#spent = { lo: lo.plus(tokens.lo), hi: hi.plus(tokens.hi) }
    this.#draining = { fastest: policy, slowest: policy }
    this.#isUntouched = false
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
    if (isQueue(policy)) return false
    return policy.isBase && fastest.isBase && slowest.isBase && (fastest !== policy || slowest !== policy)
  }

  #rewriteBlock(): void {
    if (this.#blockedUntilUs === undefined) return
    this.#spent = roundedByBlock(this.#spent, this.#draining.fastest)
  }

  /** An answer the oracle left open says on which side of the cost the level was. */
  #learn(cost: bigint, policy: OraclePolicy, admitted: boolean): void {
    // What is queued counts in the tokens of the policy that drains it.
    if (isQueue(policy) && policy !== this.#draining.fastest) return
    const edge = Rational.of(policy.capacity - cost)
    const slack = this.#gridSlack(policy).plus(stepTokens(policy))
    const { lo, hi } = this.#spent
    this.#spent = admitted
      ? { lo, hi: larger(lo, smaller(hi, edge.plus(slack))) }
      : { lo: smaller(hi, larger(lo, edge.minus(slack))), hi }
  }

  #gridSlack(policy: OraclePolicy): Rational {
    if (this.#isUntouched) return ZERO
    const { fastest, slowest } = this.#draining
    return [policy, fastest, slowest].map(this.#gridSlackOf).reduce(larger)
  }

  /** What is spent, if `policy` charges now: rounded up to one of its steps if another policy charged last. */
  #afterMoveTo(policy: OraclePolicy): Range<Rational> {
    const { fastest, slowest } = this.#draining
    if (policy === fastest && policy === slowest) return this.#spent
    if (isQueue(policy)) return bookedAfter(this.#settled(), this.#draining, policy)
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
    if (isQueue(policy)) {
      const { lo, hi } = this.#settled()
      const until = (spent: Rational, draining: OraclePolicy): bigint =>
        this.#atUs - nowUs + spent.over(rateOf(draining)).ceil()
      return notBelowZero({ lo: until(lo, this.#draining.fastest), hi: until(hi, this.#draining.slowest) })
    }
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
    if (isQueue(policy)) return { lo: until(lo, policy), hi: until(hi, policy) }
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
      retryAfterUs: NOTHING,
      resetAfterUs: this.#untilFull(policy, nowUs),
      delayUs: this.#delay(seen, cost, policy, nowUs),
      consumed: 0n,
    }
    if (this.#blockedUntilUs !== undefined) {
      const untilFitUs = this.#untilFit(cost, policy, nowUs)
      return blockedVerdict(verdict, this.#blockedUntilUs - nowUs, untilFitUs)
    }
    if (cost > policy.capacity)
      return { ...verdict, allowed: false, reason: 'too-costly', retryAfterUs: 'never', delayUs: NOTHING }
    const allowance = Rational.of(policy.capacity - cost)
    if (cost === 0n || seen.hi.compare(allowance) <= 0) return verdict
    const retryAfterUs = this.#untilSpentIs(allowance, policy, nowUs)
    if (seen.lo.compare(allowance) > 0)
      return { ...verdict, allowed: false, reason: 'limited', retryAfterUs, delayUs: NOTHING }
    return {
      ...verdict,
      allowed: 'either',
      reason: 'either',
      retryAfterUs: { lo: 0n, hi: retryAfterUs.hi },
      delayUs: { lo: 0n, hi: verdict.delayUs.hi },
    }
  }

  /** When a call that a block refuses would fit in, if nobody touches the key until then. */
  #untilFit(cost: bigint, policy: OraclePolicy, nowUs: bigint): Range<bigint> | 'never' {
    if (cost > policy.capacity) return 'never'
    if (cost === 0n) return NOTHING
    if (!this.#isFromFormer(policy))
      return this.#untilSpentIs(Rational.of(policy.capacity - cost), policy, nowUs)
    // It goes on under the former policy, and is moved to the present one only by that call.
    const { fastest, slowest } = this.#draining
    const grown = largerInt(0n, policy.capacity - slowest.capacity)
    const allowance = Rational.of(largerInt(0n, policy.capacity - cost - grown))
    const { lo, hi } = this.#settled()
    const until = (spent: Rational, draining: OraclePolicy): bigint =>
      this.#atUs - nowUs + spent.minus(allowance).over(rateOf(draining)).ceil()
    return notBelowZero({ lo: until(lo, fastest), hi: until(hi.plus(stepTokens(policy)), slowest) })
  }

  /** The verdict of one who does not wait: admitted only onto an empty queue. */
  #judgeAtOnce(nowUs: bigint, cost: bigint, policy: OraclePolicy): Expected {
    const verdict = this.#judge(nowUs, cost, policy)
    if (cost === 0n || verdict.allowed === false || verdict.delayUs.hi === 0n) return verdict
    if (verdict.delayUs.lo > 0n) return { ...verdict, allowed: false, reason: 'limited', delayUs: NOTHING }
    return { ...verdict, allowed: 'either', reason: 'either' }
  }

  /** How long until all that was spent before has drained. */
  #delay(seen: Range<Rational>, cost: bigint, policy: OraclePolicy, nowUs: bigint): Range<bigint> {
    if (!policy.evenly && !isQueue(policy)) return NOTHING
    const rate = rateOf(policy)
    const delay = notBelowZero({ lo: seen.lo.over(rate).ceil(), hi: seen.hi.over(rate).ceil() })
    if (cost > 0n) return delay
    // A call that spends nothing leaves the bucket to the policy that drains it.
    const { lo, hi } = this.#untilFull(policy, nowUs)
    return { lo: smallerInt(lo, delay.lo), hi: largerInt(hi, delay.hi) }
  }
}

/**
 * What `spent` of a bucket of `capacity` is when the limiter's policy becomes `to`. In a larger bucket what is left stays
 * the same, in a smaller one what is spent, as far as it goes in; a full bucket stays full. A debt is kept, up to the
 * new capacity.
 */
function spentAfter(spent: Rational, capacity: Rational, to: OraclePolicy): Rational {
  if (spent.isZero()) return spent
  const newCapacity = Rational.of(to.capacity)
  if (spent.compare(capacity) > 0) return newCapacity.plus(smaller(newCapacity, spent.minus(capacity)))
  return smaller(newCapacity, spent.plus(larger(ZERO, newCapacity.minus(capacity))))
}

function isQueue(policy: OraclePolicy): boolean {
  return policy.algorithm === 'leaky-bucket'
}

/** What is queued, when another policy asks: it goes out at the times that it was told. Up to a nanosecond and a step more. */
function bookedAfter({ lo, hi }: Range<Rational>, draining: Draining, to: OraclePolicy): Range<Rational> {
  const booked = (spent: Rational, from: OraclePolicy) => spent.over(rateOf(from)).times(rateOf(to))
  const nanosecond = rateOf(to).over(Rational.of(1000n))
  const most = booked(hi, draining.slowest)
  return {
    lo: booked(lo, draining.fastest),
    hi: most.isZero() ? most : most.plus(nanosecond).plus(stepTokens(to)),
  }
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
