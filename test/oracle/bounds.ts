/**
 * The one place that says where the engine may round, and by how much. Everywhere else it must equal the oracle.
 *
 * 1. Time steps of a bucket. A bucket counts time in steps of which a token is a whole number, and reads the present
 *    as the step it lies in; nothing else is rounded and nothing adds up. Where clock readings fall on steps the
 *    result is exact (`isBucketExactAt`). Elsewhere a level is off by less than what refills in one step
 *    (`stepTokens`), either way; what has
 *    refilled since a charge that is refunded is rounded up, by less than two.
 * 2. Tiers of a bucket, and changes of its policy. What was spent is rounded up to a step of the policy that asks, so that
 *    moving never mints (`roundedByMove`). Whole tokens stay exact.
 * 3. Blocks. What a bucket will still miss, or a window has counted, when its block ends is kept as a short number,
 *    rounded up each time it is written (`roundedByBlock`, `countRoundedByBlock`): to a 1024th of a token, or by less
 *    than a 2048th of the amount. So a key comes out of a block with slightly less than it should, never with more.
 * 4. Time steps of a window. Great limits leave few bits for the window's end (`isWindowExactAt`). Elsewhere a window
 *    that opens at the first request opens up to one step (`windowStepUs`) late, so it ends so much later. The oracle
 *    checks the end against that bound and then goes by it.
 * 5. The previous window of a sliding window. Where limits are great (`isRolloverExact`) its count is kept as a short
 *    number, rounded up by less than an 8192nd (`roundedByRollover`).
 * 6. Debts of a strict window end where its counts do (`MOST_COUNTED`), which concerns limits of 2^31 only.
 */
import type { OraclePolicy, Range } from './expected'
import { gcd, larger, largerInt, Rational, smaller } from './rational'

/** What is kept during a block is rounded up to this part of a token, or by this part of itself. */
const BLOCK_GRAIN = Rational.of(1n, 1024n)
const BLOCK_ROUNDING = 2048n
/** Counts of a window up to here are kept as they are. */
const LARGEST_EXACT_BLOCK_COUNT = 4095n

/** How many bits of a previous window's count are kept as they are, and by what part of itself a longer one may grow. */
const ROLLOVER_BITS_EXACT = 20
const ROLLOVER_ROUNDING = 8192n

/** No step of a bucket's time is longer than this many nanoseconds. */
const LONGEST_STEP_NS = 16n
const MOST_STEPS_PER_US = 125n
const MOST_STEPS_PER_MS = 125_000n

/** How many bits a window's count can take while it ends on the very microsecond, or millisecond. */
const WINDOW_BITS_EXACT_US = 18
const WINDOW_BITS_EXACT_MS = 28

export function isExactAt(policy: OraclePolicy, readingUs: 1 | 1000): boolean {
  switch (policy.algorithm) {
    case 'token-bucket':
    case 'leaky-bucket':
      return isBucketExactAt(policy, readingUs)
    case 'fixed-window':
      return isWindowExactAt(policy, readingUs)
    default:
      return true
  }
}

/** True if a bucket of this policy is exact at clock readings that are multiples of `readingUs`. */
function isBucketExactAt(policy: OraclePolicy, readingUs: 1 | 1000): boolean {
  if (policy.limit / gcd(policy.limit, policy.windowUs) <= MOST_STEPS_PER_US) return true
  if (readingUs !== 1000 || policy.windowUs % 1000n !== 0n) return false
  return policy.limit / gcd(policy.limit, policy.windowUs / 1000n) <= MOST_STEPS_PER_MS
}

/** The most tokens that refill in one step. */
export function stepTokens(policy: OraclePolicy): Rational {
  return Rational.of(policy.limit * LONGEST_STEP_NS, policy.windowUs * 1000n)
}

/** What a spent amount becomes under another policy. */
export function roundedByMove({ lo, hi }: Range<Rational>, to: OraclePolicy): Range<Rational> {
  return { lo, hi: smaller(Rational.of(hi.ceil()), hi.plus(stepTokens(to))) }
}

/** What a block makes of a spent amount that drains under `policy`. */
export function roundedByBlock(spent: Range<Rational>, policy: OraclePolicy): Range<Rational> {
  if (spent.hi.isZero()) return spent
  const rounding = larger(BLOCK_GRAIN, spent.hi.over(Rational.of(BLOCK_ROUNDING)))
  return { lo: spent.lo, hi: spent.hi.plus(rounding).plus(stepTokens(policy)) }
}

/** What a block makes of a window's count. */
export function countRoundedByBlock({ lo, hi }: Range<bigint>): Range<bigint> {
  return { lo, hi: hi <= LARGEST_EXACT_BLOCK_COUNT ? hi : hi + hi / BLOCK_ROUNDING }
}

/** What the sub-windows of one key can count together. */
export const MOST_COUNTED = 2n ** 32n - 2n

/** True if a sliding window whose limits go up to `mostLimit` keeps the count of the window before as it is. */
export function isRolloverExact(mostLimit: bigint): boolean {
  return bitLength(2n * mostLimit + 1n) <= ROLLOVER_BITS_EXACT
}

/** What becomes of a window's count when the next one begins. */
export function roundedByRollover({ lo, hi }: Range<bigint>): Range<bigint> {
  return { lo, hi: hi + hi / ROLLOVER_ROUNDING }
}

function isWindowExactAt(policy: OraclePolicy, readingUs: 1 | 1000): boolean {
  const bits = windowBits(policy)
  if (bits <= WINDOW_BITS_EXACT_US) return true
  return readingUs === 1000 && policy.windowUs % 1000n === 0n && bits <= WINDOW_BITS_EXACT_MS
}

/** The longest step, in microseconds, in which a window of this limit counts its end. */
export function windowStepUs(policy: OraclePolicy): bigint {
  const aboutOneStepNs = 2n ** BigInt(Math.max(0, windowBits(policy) - 9))
  return (2n * aboutOneStepNs) / 1000n + 1n
}

/** What a window's count takes: it goes up to twice the limit, and a bit says whether the window is a key's first. */
function windowBits({ limit, initial = 0n }: OraclePolicy): number {
  return bitLength(2n * largerInt(limit, initial) + 1n) + 1
}

function bitLength(value: bigint): number {
  return value.toString(2).length
}
