import { toUs } from './clock-model'
import type { Algorithm, OraclePolicy } from './expected'

/** A policy that leaves out what it has in common with the limiter's own. */
export interface TierSettings {
  limit?: number
  windowMs?: number
  burst?: number
  queue?: number
}

/** The options of a limiter, as its users name them. */
export interface OracleSettings {
  algorithm: Algorithm
  limit: number
  windowMs?: number | undefined
  /** Concurrency has this in place of `windowMs`. */
  holdMs?: number | undefined
  burst?: number | undefined
  queue?: number | undefined
  align?: 'first-request' | 'epoch' | undefined
  initial?: number | undefined
  rememberMs?: number | undefined
  evenly?: boolean | undefined
  escalate?: { blockMs: number[]; forgetMs: number } | undefined
  tiers?: Record<string, TierSettings> | undefined
}

export function toOraclePolicy(settings: OracleSettings): OraclePolicy {
  const { algorithm, limit, align, initial, evenly } = settings
  const windowMs = settings.windowMs ?? settings.holdMs
  if (windowMs === undefined) throw new RangeError('a policy needs a windowMs or a holdMs')
  const rememberMs = initial === undefined ? 0 : (settings.rememberMs ?? windowMs)
  return {
    algorithm,
    limit: BigInt(limit),
    windowUs: toUs(windowMs),
    capacity: BigInt(capacityOf(settings)),
    align: align ?? 'first-request',
    isBase: false,
    initial: initial === undefined ? undefined : BigInt(initial),
    rememberUs: toUs(rememberMs),
    evenly: evenly ?? false,
  }
}

function capacityOf({ algorithm, limit, burst, queue }: OracleSettings): number {
  if (algorithm === 'token-bucket') return burst ?? limit
  return algorithm === 'leaky-bucket' ? (queue ?? limit) + 1 : limit
}

/** The limiter's own policy. */
export function baseOf(settings: OracleSettings): OraclePolicy {
  return { ...toOraclePolicy(settings), isBase: true }
}

/** A tier's. A `limit` of its own brings its own default `burst`, or `queue`. */
export function tierOf(settings: OracleSettings, tier: TierSettings): OraclePolicy {
  const hasOwnLimit = tier.limit !== undefined
  return toOraclePolicy({
    ...settings,
    ...tier,
    burst: tier.burst ?? (hasOwnLimit ? undefined : settings.burst),
    queue: tier.queue ?? (hasOwnLimit ? undefined : settings.queue),
  })
}
