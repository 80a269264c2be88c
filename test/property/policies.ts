import * as fc from 'fast-check'
import type { OracleSettings, TierSettings } from '../oracle/oracle'

const TWO_31 = 2 ** 31
const MAX_TOKENS = Number.MAX_SAFE_INTEGER
const DAY_US = 86_400_000_000
const YEAR_US = 365 * DAY_US

/** The longest that a bucket here takes to fill: after 100 years and more, that still fits the engine's 146 years. */
const LONGEST_FILL_US = 40 * YEAR_US
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

function isHeldByDouble({ windowMs }: { windowMs: number }): boolean {
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
