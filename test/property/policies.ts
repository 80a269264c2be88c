import * as fc from 'fast-check'
import type { OracleSettings, TierSettings } from '../oracle/settings'

const TWO_31 = 2 ** 31
const MAX_TOKENS = Number.MAX_SAFE_INTEGER
const DAY_US = 86_400_000_000
const YEAR_US = 365 * DAY_US

/**
 * The longest that a bucket here takes to fill: after 100 years and more, that still fits the engine's 146 years, twice if
 * it is as deep in debt as it can be.
 */
const LONGEST_FILL_US = 20 * YEAR_US
/** From here on a window must be of whole milliseconds: a double holds no microseconds beside so many of them. */
const LONGEST_BROKEN_WINDOW_MS = 2 ** 30
const MOST_TOKENS_PER_US = 1000
const SLOWEST_US_PER_TOKEN = DAY_US

/** An integer from min to max, as likely of one size as of another. */
export function logUniform(min: number, max: number): fc.Arbitrary<number> {
  const span = Math.log(max / min)
  return fc
    .double({ min: 0, max: 1, noNaN: true })
    .map((share) => clamp(Math.round(min * Math.exp(span * share)), min, max))
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max)
}

const someCount = fc.oneof(
  fc.constantFrom(1, 2, 3, 7, 10, 60, 100, 1000, 4096, 4097, 10_000, 1e6, 1e9),
  fc.constantFrom(TWO_31 - 1, TWO_31, 2 ** 32, 2 ** 32 + 1, MAX_TOKENS - 1, MAX_TOKENS),
  logUniform(1, MAX_TOKENS),
  fc.integer({ min: 1, max: 50 }),
)

const someWindowUs = fc.oneof(
  fc.constantFrom(1000, 1e6, 1e6, 60e6, 3600e6, DAY_US, 30 * DAY_US, YEAR_US),
  fc.constantFrom(1, 500, 333_333, 1_000_001),
  logUniform(1, 100 * DAY_US),
)

/** Limit and window with a rate from one a day to 1e9 a second. */
const someRate = fc
  .tuple(someCount, someWindowUs)
  .map(([count, windowUs]) => {
    const least = Math.ceil(windowUs / SLOWEST_US_PER_TOKEN)
    const most = Math.min(windowUs * MOST_TOKENS_PER_US, MAX_TOKENS)
    return { limit: clamp(count, least, most), windowMs: windowUs / 1000 }
  })
  .filter(isHeldByDouble)

function isHeldByDouble({ windowMs = 0 }: { windowMs?: number | undefined }): boolean {
  return windowMs <= LONGEST_BROKEN_WINDOW_MS || Number.isInteger(windowMs)
}

function usPerToken({ limit, windowMs }: { limit: number; windowMs: number }): number {
  return (windowMs * 1000) / limit
}

function withBurst<T extends { limit: number; windowMs: number }>(
  rate: T,
): fc.Arbitrary<T & { burst: number }> {
  const most = Math.min(Math.max(1, Math.floor(LONGEST_FILL_US / usPerToken(rate))), MAX_TOKENS)
  return fc
    .oneof(fc.constant(rate.limit), fc.constant(1), someCount)
    .map((burst) => ({ ...rate, burst: clamp(burst, 1, most) }))
}

/** Rates whose steps fall on whole microseconds, where the engine must be exact. */
const exactRate = fc
  .record({
    tokens: fc.integer({ min: 1, max: 125 }),
    perUs: fc.oneof(fc.constantFrom(1, 1000, 1e6, 60e6, DAY_US), fc.integer({ min: 1, max: 1e6 })),
    times: fc.oneof(fc.constant(1), fc.constantFrom(10, 1000, 1_000_003, 2 ** 24)),
  })
  .map(({ tokens, perUs, times }) => ({ limit: tokens * times, windowMs: (perUs * times) / 1000 }))
  .filter((rate) => usPerToken(rate) <= SLOWEST_US_PER_TOKEN && rate.windowMs * 1000 <= YEAR_US)
  .filter(isHeldByDouble)

export const anyBucket: fc.Arbitrary<OracleSettings> = someRate
  .chain(withBurst)
  .map((policy) => ({ algorithm: 'token-bucket', ...policy }))

export const exactBucket: fc.Arbitrary<OracleSettings> = exactRate
  .chain(withBurst)
  .map((policy) => ({ algorithm: 'token-bucket', ...policy }))

/** Two more policies for the same keys: sizes and rates unlike the first's. */
export const tieredBucket: fc.Arbitrary<OracleSettings> = fc
  .tuple(
    fc.oneof(anyBucket, exactBucket),
    fc.oneof(someRate, exactRate).chain(withBurst),
    fc.oneof(someRate, exactRate).chain(withBurst),
  )
  .map(([base, paid, tiny]) => ({ ...base, tiers: { paid, tiny } }))

export const anyWindow: fc.Arbitrary<OracleSettings> = fc
  .record({
    rate: someRate,
    align: fc.constantFrom('first-request' as const, 'epoch' as const),
    tier: fc.option(someCount, { nil: undefined }),
  })
  .map(({ rate, align, tier }) => {
    const tiers: Record<string, TierSettings> = {}
    if (tier !== undefined)
      tiers['paid'] = { limit: clamp(tier, 1, Math.min(Math.round(rate.windowMs * 1e6), MAX_TOKENS)) }
    return { algorithm: 'fixed-window', ...rate, align, tiers }
  })

/** Windows that end on the very microsecond. */
const exactWindow: fc.Arbitrary<OracleSettings> = fc
  .record({
    limit: fc.oneof(fc.integer({ min: 1, max: 50 }), logUniform(1, 2 ** 16 - 1)),
    windowUs: someWindowUs,
    align: fc.constantFrom('first-request' as const, 'epoch' as const),
  })
  .map(({ limit, windowUs, align }) => ({
    algorithm: 'fixed-window' as const,
    limit: Math.min(limit, windowUs * MOST_TOKENS_PER_US),
    windowMs: windowUs / 1000,
    align,
  }))
  .filter(isHeldByDouble)

const someMemory = fc.record(
  {
    rememberMs: fc.oneof(
      fc.constantFrom(1, 1000, 60_000),
      logUniform(1, DAY_US).map((us) => us / 1000),
    ),
  },
  { requiredKeys: [] },
)

/** Keys that begin with less than others. */
export const newKeyBucket: fc.Arbitrary<OracleSettings> = fc
  .tuple(exactBucket, fc.double({ min: 0, max: 1, noNaN: true }), someMemory)
  .map(([policy, share, memory]) => {
    const initial = Math.max(1, Math.round((policy.burst ?? policy.limit) * share))
    return { ...policy, initial, ...memory }
  })

/** With less, or with more. */
export const newKeyWindow: fc.Arbitrary<OracleSettings> = fc
  .tuple(exactWindow, fc.oneof(fc.integer({ min: 1, max: 50 }), logUniform(1, 2 ** 16 - 1)), someMemory)
  .map(([policy, wanted, memory]) => {
    const initial = Math.min(wanted, (policy.windowMs ?? 0) * 1000 * MOST_TOKENS_PER_US)
    return { ...policy, initial, ...memory }
  })

/** Calls that are spread. */
export const evenBucket: fc.Arbitrary<OracleSettings> = fc
  .oneof(anyBucket, exactBucket)
  .map((policy) => ({ ...policy, evenly: true }))

export const evenWindow: fc.Arbitrary<OracleSettings> = exactWindow.map((policy) => ({
  ...policy,
  evenly: true,
}))

/** Limits up to `mostLimit`, for two or three policies that share a window. */
function sharedWindow(
  algorithm: OracleSettings['algorithm'],
  mostLimit: number,
): fc.Arbitrary<OracleSettings & { windowMs: number }> {
  const someLimit = fc.oneof(
    fc.integer({ min: 1, max: Math.min(mostLimit, 50) }),
    logUniform(1, mostLimit),
    fc.constant(mostLimit),
  )
  return fc
    .record({ limit: someLimit, windowUs: someWindowUs, paid: fc.option(someLimit, { nil: undefined }) })
    .map(({ limit, windowUs, paid }) => {
      const most = windowUs * MOST_TOKENS_PER_US
      const tiers: Record<string, TierSettings> =
        paid === undefined ? {} : { paid: { limit: Math.min(paid, most) } }
      return { algorithm, limit: Math.min(limit, most), windowMs: windowUs / 1000, tiers }
    })
    .filter(isHeldByDouble)
}

/** Where the count of the window before is exact, and the number of the window never wraps. */
export const exactSlidingWindow = sharedWindow('sliding-window', 2 ** 19 - 1).filter(
  ({ windowMs }) => windowMs >= 1000,
)
export const anySlidingWindow = sharedWindow('sliding-window', 2 ** 32)
export const slidingLog = sharedWindow('sliding-log', 64)
export const strictWindow = sharedWindow('strict-window', 2 ** 31)

export const concurrency: fc.Arbitrary<OracleSettings> = sharedWindow('concurrency', 2 ** 31).map(
  ({ windowMs, ...policy }) => ({ ...policy, holdMs: Math.max(windowMs, 0.01) }),
)

/** @param buckets whose burst becomes the queue and the one that is let out */
function leakyOf(buckets: fc.Arbitrary<OracleSettings>): fc.Arbitrary<OracleSettings> {
  return buckets
    .filter(({ burst = 0 }) => burst > 1)
    .map(({ limit, windowMs, burst = 2 }) => ({
      algorithm: 'leaky-bucket',
      limit,
      windowMs,
      queue: burst - 1,
    }))
}

export const exactLeakyBucket = leakyOf(exactBucket)
export const tieredLeakyBucket = fc
  .tuple(leakyOf(anyBucket), leakyOf(anyBucket))
  .map(([base, { limit, windowMs, queue }]) => ({
    ...base,
    tiers: { paid: { limit, ...(windowMs && { windowMs }), ...(queue && { queue }) } },
  }))

const someBlockMs = fc.oneof(fc.constantFrom(1, 1000, 60_000, 3_600_000), logUniform(1, 1e9))

/** The same, with blocks for repeat offenders. */
export function escalating(policies: fc.Arbitrary<OracleSettings>): fc.Arbitrary<OracleSettings> {
  const blockMs = fc.array(someBlockMs, { minLength: 1, maxLength: 8 })
  return fc
    .tuple(policies, blockMs, someBlockMs)
    .map(([policy, steps, forgetMs]) => ({ ...policy, escalate: { blockMs: steps, forgetMs } }))
}
