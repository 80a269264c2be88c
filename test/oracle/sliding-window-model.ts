import { countRoundedByBlock, roundedByRollover } from './bounds'
import { CountingModel } from './counting-model'
import { NOTHING, notBelowZero, type OraclePolicy, type Range } from './expected'
import { floorMod, largerInt, Rational, smallerInt } from './rational'

/**
 * Two windows, at multiples of windowMs since the clock's zero: what counts is the present one, and of the one before
 * the share that still lies within windowMs of now.
 *
 * While a key is blocked, what counts is what will count at the block's end, rounded up to a whole token, in the window
 * in which the block ends; refunds and penalties act on that. Ranges only where bounds.ts says so.
 */
export class SlidingWindowModel extends CountingModel {
  protected override readonly takesDebt = true
  readonly #windowUs: bigint
  readonly #isExact: boolean
  /** Which window `present` is of. During a block: that in which the block ends. */
  #index = 0n
  #present: Range<bigint> = NOTHING
  #previous: Range<bigint> = NOTHING

  /** @param isExact whether the previous window's count is kept as it is */
  constructor(policy: OraclePolicy, isExact: boolean) {
    super()
    this.#windowUs = policy.windowUs
    this.#isExact = isExact
  }

  protected advance(nowUs: bigint): void {
    this.#rollTo(this.#indexAt(this.#asOf(nowUs)))
  }

  protected room(nowUs: bigint, policy: OraclePolicy): Range<bigint> {
    const { lo, hi } = this.#weight(this.#asOf(nowUs))
    const roomBeside = (weight: Rational): bigint => Rational.of(policy.limit).minus(weight).floor()
    return { lo: roomBeside(hi), hi: roomBeside(lo) }
  }

  protected waitFor(nowUs: bigint, cost: bigint, policy: OraclePolicy): Range<bigint> {
    const room = policy.limit - cost
    const next = this.#rounded(this.#present)
    return {
      lo: this.#untilWithin(room, nowUs, this.#previous.lo, this.#present.lo, next.lo),
      hi: this.#untilWithin(room, nowUs, this.#previous.hi, this.#present.hi, next.hi),
    }
  }

  protected untilReset(nowUs: bigint): Range<bigint> {
    const endUs = (this.#index + 1n) * this.#windowUs
    const until = (present: bigint, previous: bigint): bigint => {
      if (present > 0n) return endUs + this.#windowUs - nowUs
      return previous > 0n ? endUs - nowUs : 0n
    }
    return {
      lo: until(this.#present.lo, this.#previous.lo),
      hi: until(this.#present.hi, this.#previous.hi),
    }
  }

  protected count(_nowUs: bigint, { lo, hi }: Range<bigint>): void {
    this.#present = this.#keptByBlock({ lo: this.#present.lo + lo, hi: this.#present.hi + hi })
  }

  protected giveBack(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint> {
    const age = this.#index - this.#indexAt(nowUs - chargedAgoUs)
    if (age < 0n || age > 1n) return NOTHING
    const from = age === 0n ? this.#present : this.#previous
    const credited = { lo: smallerInt(tokens, from.lo), hi: smallerInt(tokens, from.hi) }
    const left = notBelowZero({ lo: from.lo - tokens, hi: from.hi - tokens })
    if (age === 0n) {
      this.#present = this.#keptByBlock(left)
      return credited
    }
    // What rounding leaves spent is not credited.
    this.#previous = this.#rounded(left)
    return notBelowZero({ lo: credited.lo - (this.#previous.hi - left.hi), hi: credited.hi })
  }

  protected override beginBlock(untilUs: bigint): void {
    this.#rollTo(this.#indexAt(untilUs))
    const { lo, hi } = this.#weight(untilUs)
    this.#present = this.#keptByBlock({ lo: lo.ceil(), hi: hi.ceil() })
    this.#previous = NOTHING
  }

  /** The present, or the end of the block that is in force. */
  #asOf(nowUs: bigint): bigint {
    return this.blockedUntilUs ?? nowUs
  }

  #indexAt(timeUs: bigint): bigint {
    return Rational.of(timeUs, this.#windowUs).floor()
  }

  #rollTo(index: bigint): void {
    if (index <= this.#index && this.#isCounting()) return
    this.#previous = index === this.#index + 1n ? this.#rounded(this.#present) : NOTHING
    this.#present = NOTHING
    this.#index = index
  }

  #isCounting(): boolean {
    return this.#present.hi > 0n || this.#previous.hi > 0n
  }

  #weight(atUs: bigint): Range<Rational> {
    const shareLeft = Rational.of(this.#windowUs - floorMod(atUs, this.#windowUs), this.#windowUs)
    const weightOf = (present: bigint, previous: bigint): Rational =>
      Rational.of(present).plus(Rational.of(previous).times(shareLeft))
    return {
      lo: weightOf(this.#present.lo, this.#previous.lo),
      hi: weightOf(this.#present.hi, this.#previous.hi),
    }
  }

  /** The wait until at most `room` counts: in this window, or in the next, when `next` is what the present one was. */
  #untilWithin(room: bigint, nowUs: bigint, previous: bigint, present: bigint, next: bigint): bigint {
    const startUs = this.#index * this.#windowUs
    if (present <= room) {
      const intoUs = this.#untilFaded(previous, room - present)
      if (intoUs < this.#windowUs) return largerInt(0n, startUs + intoUs - nowUs)
    }
    return largerInt(0n, startUs + this.#windowUs + this.#untilFaded(next, room) - nowUs)
  }

  /** How far into a window at most `room` of the count before is left. */
  #untilFaded(count: bigint, room: bigint): bigint {
    if (count <= room) return 0n
    const shareOver = Rational.of(1).minus(Rational.of(room, count))
    return Rational.of(this.#windowUs).times(shareOver).ceil()
  }

  #rounded(count: Range<bigint>): Range<bigint> {
    return this.#isExact ? count : roundedByRollover(count)
  }

  #keptByBlock(count: Range<bigint>): Range<bigint> {
    return this.blockedUntilUs === undefined ? count : countRoundedByBlock(count)
  }
}
