import { rangeError, shown } from '../errors/errors'
import { checkNumber, checkObject, TOKENS, WINDOW_MS } from './options'

export const ALGORITHMS = ['token-bucket', 'fixed-window'] as const
export type Algorithm = (typeof ALGORITHMS)[number]

/** What a key may spend. */
export interface PolicyOptions {
  /** Tokens refilled per window (token bucket) or admitted per window (fixed window): an integer from 1 to 2^53-1. */
  limit: number
  /** The window, in ms: from 0.001 to about 146 years. The rate may not exceed one per nanosecond. */
  windowMs: number
  /** Token bucket only: how many tokens the bucket holds, so how many can pass at once. Default: `limit`. */
  burst?: number
}

/** A policy that leaves out what it has in common with the limiter's own. */
export type PolicyVariant = Partial<PolicyOptions>

/** A validated policy, in the engine's units. */
export interface Policy {
  readonly limit: number
  readonly windowMs: number
  readonly windowNs: number
  /** The most that can be spent at once. */
  readonly capacity: number
}

const MAX_REFILL_NS = 2 ** 62

/** `options` as a policy of `algorithm`. @param where how errors call the object that holds the options */
export function makePolicy(algorithm: Algorithm, options: PolicyVariant, where = ''): Policy {
  const limit = checkNumber(`${where}limit`, options.limit, TOKENS)
  const windowMs = checkNumber(`${where}windowMs`, options.windowMs, WINDOW_MS)
  const windowNs = Math.round(windowMs * 1e6)
  if (Math.abs(windowNs - windowMs * 1e6) > windowNs * 1e-7) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}windowMs must be a whole number of nanoseconds; got ${windowMs}`,
    )
  }
  if (limit > windowNs) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}limit must be at most ${windowNs} in a windowMs of ${windowMs} (one per nanosecond); got ${limit}`,
    )
  }
  const capacity = algorithm === 'token-bucket' ? checkBurst(options, where, limit, windowNs) : limit
  if (algorithm !== 'token-bucket' && options.burst !== undefined) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}burst belongs to the token bucket; a ${algorithm} has none`,
    )
  }
  return { limit, windowMs, windowNs, capacity }
}

function checkBurst(options: PolicyVariant, where: string, limit: number, windowNs: number): number {
  const burst = options.burst === undefined ? limit : checkNumber(`${where}burst`, options.burst, TOKENS)
  if ((burst / limit) * windowNs >= MAX_REFILL_NS) {
    const most = Math.floor((MAX_REFILL_NS / windowNs) * limit)
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}burst must be at most ${most} at this rate (an empty bucket would take over 146 years to refill); got ${burst}`,
    )
  }
  return burst
}

/** A variant of `base`: what it does not say is taken from there. A new `limit` brings its own default `burst`. */
export function varyPolicy(algorithm: Algorithm, base: PolicyOptions, value: unknown, where: string): Policy {
  const known = algorithm === 'token-bucket' ? ['limit', 'windowMs', 'burst'] : ['limit', 'windowMs']
  const variant = checkObject(where, value, known) as PolicyVariant
  const options: PolicyVariant = Object.assign(Object.create(null), {
    limit: base.limit,
    windowMs: base.windowMs,
  })
  if (variant.limit === undefined && base.burst !== undefined) options.burst = base.burst
  for (const [name, option] of Object.entries(variant)) {
    if (option !== undefined) Object.assign(options, { [name]: option })
  }
  const policy = makePolicy(algorithm, options, `${where}.`)
  if (algorithm === 'fixed-window' && policy.windowNs !== Math.round(base.windowMs * 1e6)) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}.windowMs must be the limiter's own ${base.windowMs} (tiers of a fixed window share the window; use another limiter for another one); got ${shown(variant.windowMs)}`,
    )
  }
  return policy
}
