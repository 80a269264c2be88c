import { rangeError, shown } from '../errors/errors'
import { type Algorithm, TRAITS } from './algorithms'
import { checkNumber, checkObject, checkSwitch, TOKENS, WINDOW_MS } from './options'

/** What a key may spend. */
export interface PolicyOptions {
  /**
   * Tokens refilled per window (token bucket), calls let out per window (leaky bucket), admitted per window (the windows
   * and the log), or held at once (concurrency): an integer from 1 to 2^53-1; sliding window 2^32, strict window and
   * concurrency 2^31, sliding log 64.
   */
  limit: number
  /** The window, in ms: from 0.001 to about 146 years. The rate may not exceed one per nanosecond. Not of concurrency. */
  windowMs?: number
  /** Concurrency only, and required there: how long a lease lasts at least, if nobody releases it, in ms; as `windowMs`. */
  holdMs?: number
  /** Token bucket only: how many tokens the bucket holds, so how many can pass at once. Default: `limit`. */
  burst?: number
  /** Leaky bucket only: how many calls may wait for their turn. An integer from 1. Default: `limit`. */
  queue?: number
  /**
   * Token bucket and fixed window only: what a key begins with of which nothing is known. Token bucket: tokens in the
   * bucket, 1 to `burst`. Fixed window: the limit of its first window, also above `limit`. Default: like any other.
   */
  initial?: number
  /** With `initial`: how long a key is known after nothing is spent any more, in ms. Default: `windowMs`. */
  rememberMs?: number
  /**
   * Token bucket and fixed window only: `delayMs` of a decision says when the call may go out such that calls are spread
   * over the window. Default false: at once.
   */
  evenly?: boolean
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
  /** 0: none. */
  readonly initial: number
  readonly rememberNs: number
  readonly evenly: boolean
}

const MAX_REFILL_NS = 2 ** 62

/** `options` as a policy of `algorithm`. @param where how errors call the object that holds the options */
export function makePolicy(algorithm: Algorithm, options: PolicyVariant, where = ''): Policy {
  checkBelonging(algorithm, options, where)
  const limit = checkNumber(`${where}limit`, options.limit, TOKENS)
  const windowName = `${where}${algorithm === 'concurrency' ? 'holdMs' : 'windowMs'}`
  const windowMs = checkNumber(
    windowName,
    algorithm === 'concurrency' ? options.holdMs : options.windowMs,
    WINDOW_MS,
  )
  const windowNs = toNs(windowName, windowMs)
  checkLimit(algorithm, 'limit', limit, windowNs, where)
  const capacity = checkCapacity(algorithm, options, where, limit, windowNs)
  const first = checkInitial(algorithm, options, where, capacity, windowMs)
  if (algorithm === 'fixed-window' && first.initial !== 0)
    checkLimit(algorithm, 'initial', first.initial, windowNs, where)
  const evenly = checkSwitch(`${where}evenly`, options.evenly)
  if (evenly && first.initial !== 0) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}evenly does not go with ${where}initial: calls are spread over what a key has, not over what it begins with`,
    )
  }
  return {
    limit,
    windowMs,
    windowNs,
    capacity,
    ...first,
    evenly,
  }
}

/** How a policy crosses to the engine. */
export function policyNumbers(policy: Policy): number[] {
  const { limit, windowNs, capacity, initial, rememberNs, evenly } = policy
  return [limit, windowNs, capacity, initial, rememberNs, evenly ? 1 : 0]
}

/** The options that make the policy of these numbers (see `policyNumbers`). */
export function policyFromNumbers(algorithm: Algorithm, numbers: Float64Array): PolicyOptions {
  const [limit, windowNs, capacity, initial, rememberNs, evenly] = numbers as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const windowMs = windowNs / 1e6
  if (algorithm === 'concurrency') return { limit, holdMs: windowMs }
  if (algorithm === 'leaky-bucket') return { limit, windowMs, queue: capacity - 1 }
  const options: PolicyOptions =
    algorithm === 'token-bucket' ? { limit, windowMs, burst: capacity } : { limit, windowMs }
  if (initial !== 0) Object.assign(options, { initial, rememberMs: rememberNs / 1e6 })
  if (evenly !== 0) options.evenly = true
  return options
}

/** Refuses options of other algorithms. */
function checkBelonging(algorithm: Algorithm, options: PolicyVariant, where: string): void {
  const { options: own } = TRAITS[algorithm]
  for (const name of ['windowMs', 'holdMs', 'burst', 'queue', 'initial', 'rememberMs', 'evenly'] as const) {
    if (options[name] === undefined || own.includes(name)) continue
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}${name} does not belong to a ${algorithm}, which has ${own.join(', ')}`,
    )
  }
}

function toNs(name: string, ms: number): number {
  const ns = Math.round(ms * 1e6)
  if (Math.abs(ns - ms * 1e6) > ns * 1e-7) {
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `${name} must be a whole number of nanoseconds; got ${ms}`)
  }
  return ns
}

function checkLimit(
  algorithm: Algorithm,
  name: 'limit' | 'initial',
  limit: number,
  windowNs: number,
  where: string,
): void {
  const { maxLimit } = TRAITS[algorithm]
  if (limit > maxLimit) {
    const instead = algorithm === 'sliding-log' ? ' (choose strict-window or sliding-window for more)' : ''
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}${name} must be at most ${maxLimit} in a ${algorithm}${instead}; got ${limit}`,
    )
  }
  // What is held at once has no rate.
  if (algorithm !== 'concurrency' && limit > windowNs) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}${name} must be at most ${windowNs} in a windowMs of ${windowNs / 1e6} (one per nanosecond); got ${limit}`,
    )
  }
}

/** The most that can be spent at once. */
function checkCapacity(
  algorithm: Algorithm,
  options: PolicyVariant,
  where: string,
  limit: number,
  windowNs: number,
): number {
  if (algorithm !== 'token-bucket' && algorithm !== 'leaky-bucket') return limit
  const isLeaky = algorithm === 'leaky-bucket'
  const name = isLeaky ? 'queue' : 'burst'
  const value = isLeaky ? options.queue : options.burst
  const most = isLeaky ? { ...TOKENS, max: TOKENS.max - 1 } : TOKENS
  const given = value === undefined ? Math.min(limit, most.max) : checkNumber(`${where}${name}`, value, most)
  const capacity = isLeaky ? given + 1 : given
  if ((capacity / limit) * windowNs >= MAX_REFILL_NS) {
    const mostNow = Math.floor((MAX_REFILL_NS / windowNs) * limit) - (isLeaky ? 1 : 0)
    if (mostNow < 1) {
      throw rangeError(
        'ERR_SLUICE_OPTION_RANGE',
        `${where}windowMs must be shorter for a limit of ${limit}: two calls may be at most 73 years apart; got ${windowNs / 1e6}`,
      )
    }
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}${name} must be at most ${mostNow} at this rate (else it takes over 146 years to ${isLeaky ? 'drain' : 'refill'}); got ${given}`,
    )
  }
  return capacity
}

function checkInitial(
  algorithm: Algorithm,
  { initial, rememberMs }: PolicyVariant,
  where: string,
  capacity: number,
  windowMs: number,
): Pick<Policy, 'initial' | 'rememberNs'> {
  if (initial === undefined) {
    if (rememberMs === undefined) return { initial: 0, rememberNs: 0 }
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `${where}rememberMs is nothing without ${where}initial`)
  }
  const range = algorithm === 'token-bucket' ? { ...TOKENS, max: capacity } : TOKENS
  const known = rememberMs === undefined ? windowMs : checkNumber(`${where}rememberMs`, rememberMs, WINDOW_MS)
  return {
    initial: checkNumber(`${where}initial`, initial, range),
    rememberNs: toNs(`${where}rememberMs`, known),
  }
}

/**
 * A variant of `base`: what it does not say is taken from there. A new `limit` brings its own default `burst` or `queue`.
 */
export function varyPolicy(algorithm: Algorithm, base: PolicyOptions, value: unknown, where: string): Policy {
  const traits = TRAITS[algorithm]
  const variant = checkObject(where, value, traits.options) as PolicyVariant
  const options: PolicyVariant = Object.assign(Object.create(null), base)
  if (variant.limit !== undefined) {
    delete options.burst
    delete options.queue
  }
  for (const [name, option] of Object.entries(variant)) {
    if (option !== undefined) Object.assign(options, { [name]: option })
  }
  const policy = makePolicy(algorithm, options, `${where}.`)
  const name = algorithm === 'concurrency' ? 'holdMs' : 'windowMs'
  if (traits.sharesWindow && policy.windowNs !== Math.round((base[name] ?? 0) * 1e6)) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}.${name} must be the limiter's own ${base[name]} (all policies of a ${algorithm} share it; use another limiter for another one); got ${shown(variant[name])}`,
    )
  }
  return policy
}

/**
 * A change of a limiter's own policy. A limit that brings its own burst is for tiers; here a burst stays, unless there was
 * none but the limit.
 */
export function keepingOwn(own: PolicyOptions, variant: PolicyVariant): PolicyVariant {
  let kept = variant
  for (const name of ['burst', 'queue'] as const) {
    const isApart = own[name] !== undefined && own[name] !== own.limit
    if (isApart && isObject(variant) && variant[name] === undefined) kept = { ...kept, [name]: own[name] }
  }
  return kept
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
