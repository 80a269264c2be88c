import { createHash } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { rangeError, shown, typeError } from '../errors/errors'
import { type Alignment, checkName, checkOptions, type Settings } from '../limiter/options'
import type { Algorithm } from '../policy/algorithms'
import type { EscalationOptions } from '../policy/escalation'
import { checkChoice, checkNumber, checkObject, checkSwitch, type Range } from '../policy/options'
import type { Policy, PolicyOptions, PolicyVariant } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'
import { checkClient } from './client'
import { checkPrefix } from './keys'

export const MODES = ['exact', 'leased'] as const
/**
 * - `exact`: every decision is made in Redis, by one atomic script.
 * - `leased`: a host borrows tokens of a busy key in Redis, and spends them by itself. Never admits more than `exact`.
 */
export type Mode = (typeof MODES)[number]

export const UNAVAILABLE_POLICIES = ['local', 'allow', 'deny'] as const
/** What a call is answered when Redis does not answer in time: see `RedisLimiterOptions.onUnavailable`. */
export type UnavailablePolicy = (typeof UNAVAILABLE_POLICIES)[number]

export interface BreakerOptions {
  /** After so many failures in a row Redis is not asked any more: 1 to 1000; default 5. */
  failures?: number
  /** For how long it is not asked then, in ms, before one call tries again: 10 to 60,000; default 1000. Doubles with each try that fails. */
  openMs?: number
  /** The longest that it grows to, in ms: from `openMs` to 600,000; default 10,000. */
  maxOpenMs?: number
}

export interface DenyCacheOptions {
  /** How many denied keys are remembered at once: 1 to 2^31; default 100,000 (each takes some 70 bytes). */
  maxKeys?: number
  /**
   * How long a denial is believed at most, in ms, so by how much a `refund` elsewhere, or a `reset` of which no word came
   * through, may be noticed late: 1 to 60,000; default 1000.
   */
  maxAgeMs?: number
  /**
   * Whether to hear of every `reset` and `block` of other hosts at once: takes one more connection to Redis, which
   * subscribes to `<prefix>:denials`. Default true.
   */
  announce?: boolean
}

export interface LeaseOptions {
  /**
   * How long borrowed tokens may be spent, in whole ms: 10 to 10,000; default 100. At most a twelfth of the window counts (of a
   * bucket: of the time in which it fills); for less than 4 ms nothing is lent.
   */
  leaseMs?: number
  /** For how many keys tokens can be borrowed at once: 1 to 2^31; default 100,000 (each takes some 23 bytes). */
  maxKeys?: number
}

export interface RedisLimiterOptions extends PolicyOptions {
  /** Yours, of ioredis: `Redis` (one node, or found by Sentinel) or `Cluster`. Never closed by the limiter. */
  client: Redis | Cluster
  /**
   * What all keys in Redis begin with. Limiters of one prefix share what is spent, so give each limit its own. Default
   * 'sluice'. With a hash tag in it (`{api}`) everything lies on one slot of a Cluster.
   */
  prefix?: string
  /**
   * `exact` (default): each decision is made in Redis. `leased`: the host borrows tokens of busy keys; token bucket, fixed,
   * sliding and strict window only, without `initial`, `evenly` and `escalate`.
   */
  mode?: Mode
  /** Default `token-bucket`. */
  algorithm?: Algorithm
  /** As of `Limiter`. */
  align?: Alignment
  /** As of `Limiter`. In `leased` mode calls of tiers are decided exactly. */
  tiers?: Readonly<Record<string, PolicyVariant>>
  /** As of `Limiter`. What a host refuses by itself (`denyCache`) is no offence. */
  escalate?: EscalationOptions
  /** How many calls of `wait` may be waiting at once in this limiter object: from 1; default 10,000. */
  maxWaiters?: number
  /** No decision takes longer, in whole ms: 1 to 60,000; default 100. What Redis has not answered by then `onUnavailable` does. */
  timeoutMs?: number
  /**
   * What a call is answered when Redis does not, or cannot:
   * - `local` (default): from live leases, then this host's share of the limit (divided by `hosts`), which the host
   *   enforces by itself and reports to Redis afterwards (but not places of `concurrency`).
   * - `allow`: admitted, and nothing is spent (`source` is 'open').
   * - `deny`: refused (`source` is 'closed', and `retryAfterMs` until Redis is asked again).
   */
  onUnavailable?: UnavailablePolicy
  /**
   * How many hosts share the limit at least: from 1 to 10,000; default 1. Hosts announce themselves in Redis every 5 s;
   * the greater number counts. What you give matters when Redis is away as a host starts.
   */
  hosts?: number
  breaker?: BreakerOptions
  /**
   * Whether keys that were denied are refused by the host itself until their time, for `maxAgeMs` at most without asking
   * again. Default true. Not of `leaky-bucket` and `concurrency`; with `escalate` of blocks only.
   */
  denyCache?: boolean | DenyCacheOptions
  /** Of `leased` mode. */
  lease?: LeaseOptions
  /**
   * A name (1 to 40 letters, digits, `.`, `_` and `-`) under which all processes of this machine count as one host: they
   * share leases and the host's share through shared memory (Linux). Default: each limiter object is a host of its own.
   */
  shared?: string
  /** For tests: this time is used in place of the Redis server's. All who share the limiter must bring the same one. */
  clock?: ManualClock | ClockFunction
}

/** Validated options. */
export interface RedisSettings
  extends Pick<Settings, 'algorithm' | 'policy' | 'align' | 'escalation' | 'maxWaiters'> {
  readonly client: Redis | Cluster
  readonly prefix: string
  readonly mode: Mode
  readonly tiers: unknown
  readonly timeoutMs: number
  readonly onUnavailable: UnavailablePolicy
  readonly hosts: number
  readonly breaker: Required<BreakerOptions>
  readonly denyCache: Required<DenyCacheOptions> | undefined
  readonly lease: Required<LeaseOptions>
  readonly shared: string | undefined
  readonly clock: ManualClock | ClockFunction | undefined
}

const LIMITER_OPTIONS = [
  'algorithm',
  'limit',
  'windowMs',
  'holdMs',
  'burst',
  'queue',
  'initial',
  'rememberMs',
  'evenly',
  'align',
  'tiers',
  'escalate',
  'maxWaiters',
  'clock',
] as const

const OWN_OPTIONS = [
  'client',
  'prefix',
  'mode',
  'timeoutMs',
  'onUnavailable',
  'hosts',
  'breaker',
  'denyCache',
  'lease',
  'shared',
] as const

const TIMEOUT_MS: Range = { min: 1, max: 60_000, integer: true }
const HOSTS: Range = { min: 1, max: 10_000, integer: true }
const FAILURES: Range = { min: 1, max: 1000, integer: true }
const OPEN_MS: Range = { min: 10, max: 60_000, integer: false }
const MOST_KEYS: Range = { min: 1, max: 2 ** 31, integer: true }
const MAX_AGE_MS: Range = { min: 1, max: 60_000, integer: false }
const LEASE_MS: Range = { min: 10, max: 10_000, integer: true }

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE, ERR_SLUICE_UNSUPPORTED */
export function checkRedisOptions(value: unknown): RedisSettings {
  const options = checkObject('options', value, [
    ...OWN_OPTIONS,
    ...LIMITER_OPTIONS,
  ]) as unknown as RedisLimiterOptions
  const common = checkOptions(only(options, LIMITER_OPTIONS))
  const settings: RedisSettings = {
    algorithm: common.algorithm,
    policy: common.policy,
    align: common.align,
    escalation: common.escalation,
    maxWaiters: common.maxWaiters,
    client: checkClient(options.client),
    prefix: checkPrefix(options.prefix === undefined ? 'sluice' : options.prefix),
    mode: options.mode === undefined ? 'exact' : checkChoice('mode', options.mode, MODES),
    tiers: options.tiers,
    timeoutMs: optional('timeoutMs', options.timeoutMs, TIMEOUT_MS, 100),
    onUnavailable:
      options.onUnavailable === undefined
        ? 'local'
        : checkChoice('onUnavailable', options.onUnavailable, UNAVAILABLE_POLICIES),
    hosts: optional('hosts', options.hosts, HOSTS, 1),
    breaker: checkBreaker(options.breaker),
    denyCache: checkDenyCache(options.denyCache),
    lease: checkLease(options.lease),
    shared: options.shared === undefined ? undefined : regionName(options),
    clock: options.clock,
  }
  checkWholeMicroseconds(common.policy, '')
  if (settings.mode === 'leased') checkLeasable(settings)
  return settings
}

/** Redis counts in microseconds. @throws RangeError ERR_SLUICE_OPTION_RANGE */
export function checkWholeMicroseconds({ windowNs, rememberNs }: Policy, where: string): void {
  for (const [name, ns] of [
    ['windowMs', windowNs],
    ['rememberMs', rememberNs],
  ] as const) {
    if (ns % 1000 === 0) continue
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}${name} must be a whole number of microseconds with Redis; got ${ns / 1e6}`,
    )
  }
}

/** @throws RangeError ERR_SLUICE_UNSUPPORTED */
export function checkLeasable({
  algorithm,
  policy,
  escalation,
}: Pick<RedisSettings, 'algorithm' | 'policy' | 'escalation'>): void {
  const unfit = ['sliding-log', 'leaky-bucket', 'concurrency'].includes(algorithm)
    ? `algorithm '${algorithm}'`
    : policy.initial !== 0
      ? 'initial'
      : policy.evenly
        ? 'evenly'
        : escalation !== undefined
          ? 'escalate'
          : undefined
  if (unfit === undefined) return
  throw rangeError(
    'ERR_SLUICE_UNSUPPORTED',
    `mode 'leased' does not go with ${unfit}: it needs to know of every call when it is made; use mode 'exact'`,
  )
}

function checkBreaker(value: unknown): Required<BreakerOptions> {
  const options: BreakerOptions =
    value === undefined ? {} : checkObject('breaker', value, ['failures', 'openMs', 'maxOpenMs'])
  const openMs = optional('breaker.openMs', options.openMs, OPEN_MS, 1000)
  const range = { min: openMs, max: 600_000, integer: false }
  return {
    failures: optional('breaker.failures', options.failures, FAILURES, 5),
    openMs,
    maxOpenMs: optional('breaker.maxOpenMs', options.maxOpenMs, range, Math.max(openMs, 10_000)),
  }
}

function checkDenyCache(value: unknown): Required<DenyCacheOptions> | undefined {
  if (value === false) return undefined
  if (value !== undefined && typeof value !== 'boolean' && (typeof value !== 'object' || value === null)) {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `denyCache must be true, false or an object; got ${shown(value)}`,
    )
  }
  const options: DenyCacheOptions =
    value === undefined || value === true
      ? {}
      : checkObject('denyCache', value, ['maxKeys', 'maxAgeMs', 'announce'])
  return {
    maxKeys: optional('denyCache.maxKeys', options.maxKeys, MOST_KEYS, 100_000),
    maxAgeMs: optional('denyCache.maxAgeMs', options.maxAgeMs, MAX_AGE_MS, 1000),
    announce: options.announce === undefined ? true : checkSwitch('denyCache.announce', options.announce),
  }
}

function checkLease(value: unknown): Required<LeaseOptions> {
  const options: LeaseOptions = value === undefined ? {} : checkObject('lease', value, ['leaseMs', 'maxKeys'])
  return {
    leaseMs: optional('lease.leaseMs', options.leaseMs, LEASE_MS, 100),
    maxKeys: optional('lease.maxKeys', options.maxKeys, MOST_KEYS, 100_000),
  }
}

/** Shorter than what the regions are called that are named after it. */
const MAX_SHARED_CHARACTERS = 40

/**
 * What the regions of this limit are called: after `shared`, and what tells the limit from others of that name.
 * @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE
 */
function regionName({ shared, prefix, algorithm, client }: RedisLimiterOptions): string {
  if (typeof shared === 'string' && shared.length > MAX_SHARED_CHARACTERS) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `shared must have 1 to ${MAX_SHARED_CHARACTERS} characters here; got ${shown(shared)}`,
    )
  }
  const name = checkName('shared', shared)
  const limit = JSON.stringify([prefix, algorithm, serverOf(client as object)])
  return `${name}.${createHash('sha1').update(limit).digest('hex').slice(0, 12)}`
}

/** What tells one Redis, and what is in it, from another one. */
function serverOf(client: object): unknown {
  const { options = {}, startupNodes } = client as {
    options?: Record<string, unknown>
    startupNodes?: unknown
  }
  const { host, port, path, sentinels, name, db, keyPrefix } = options
  return startupNodes === undefined
    ? [host, port, path, sentinels, name, db, keyPrefix]
    : [startupNodes, keyPrefix]
}

function optional(name: string, value: unknown, range: Range, otherwise: number): number {
  return value === undefined ? otherwise : checkNumber(name, value, range)
}

function only(options: object, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => names.includes(name)))
}
