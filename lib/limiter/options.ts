import { rangeError, shown, typeError } from '../errors/errors'
import { ALGORITHMS, type Algorithm } from '../policy/algorithms'
import { checkEscalation, type EscalationOptions } from '../policy/escalation'
import { checkChoice, checkNumber, checkObject, checkSwitch, MAX_KEYS, type Range } from '../policy/options'
import { makePolicy, type Policy, type PolicyOptions, type PolicyVariant } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'

export const ALIGNMENTS = ['first-request', 'epoch'] as const
export type Alignment = (typeof ALIGNMENTS)[number]

export interface LimiterOptions extends PolicyOptions {
  /** Default `token-bucket`. */
  algorithm?: Algorithm
  /**
   * Fixed window only: whether a key's window opens at its first request, or all windows at multiples of `windowMs`
   * since 1970 (or since the zero of `clock`). Default `first-request`.
   */
  align?: Alignment
  /**
   * How many keys the table is made for, at once, and 130 kB besides: from 1 to 2^31; default 1,000,000. A key takes
   * 22.6 bytes; of a strict window or concurrency 112; of a sliding log 22.6 and 11.2 for each of `limit`. When more keys than that limit at the same time, those that have spent least are forgotten first; one
   * that is at its limit or blocked never is.
   */
  maxKeys?: number
  /**
   * Further policies for the same keys, by name, for `tier`. What they do not say is as in the limiter's own, but for
   * `burst` and `queue` if they bring a `limit`, which then is the default of those. Only buckets may differ in `windowMs`.
   */
  tiers?: Readonly<Record<string, PolicyVariant>>
  /** Blocks for those who go on after being refused, each longer than the one before. Default: none. */
  escalate?: EscalationOptions
  /** How many calls of `wait` may be waiting at once, on all keys together: from 1; default 10,000. */
  maxWaiters?: number
  /**
   * A name under which all processes of this machine share one table (Linux). The first makes it; the others must ask
   * for the same limit. It outlives them: a restart resets nobody. See docs/sharing.md. Default: a table of this
   * process alone, which its threads can share by `handle`.
   */
  shared?: string | SharedOptions
  /**
   * Where the time comes from: a `ManualClock`, or a function that returns milliseconds. `() => Date.now()` obeys fake
   * timers (plain `Date.now` is taken as it is now, before they replace it). Default: the machine's monotonic clock, which no change of the date can move. A clock may step
   * back: up to 10 s are waited out; after a longer step time goes on with the clock, from where it stands. Those who
   * share a limiter that has a clock must bring clocks that show the same time, and do not step back further than that.
   */
  clock?: ManualClock | ClockFunction
}

export interface SharedOptions {
  /** 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a dot. */
  name: string
  /**
   * If a limiter of that name exists with another `limit`, `burst` or (token bucket) `windowMs`: change it to these, for
   * everybody, instead of throwing `ERR_SLUICE_SHARED_MISMATCH`. Nobody's bucket is refilled by that. Default false.
   */
  changePolicy?: boolean
}

/** Validated options. */
export interface Settings {
  readonly algorithm: Algorithm
  readonly policy: Policy
  readonly align: Alignment
  readonly maxKeys: number
  readonly tiers: unknown
  readonly escalation: EscalationOptions | undefined
  readonly maxWaiters: number
  readonly shared: Required<SharedOptions> | undefined
  readonly clock: unknown
}

const KNOWN_OPTIONS = [
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
  'maxKeys',
  'tiers',
  'escalate',
  'maxWaiters',
  'shared',
  'clock',
] as const

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE */
export function checkOptions(value: unknown): Settings {
  const options = checkObject('options', value, KNOWN_OPTIONS) as unknown as LimiterOptions
  const algorithm = checkChoice('algorithm', byDefault(options.algorithm, 'token-bucket'), ALGORITHMS)
  const policy = makePolicy(algorithm, options)
  const maxKeys = checkNumber('maxKeys', byDefault(options.maxKeys, 1_000_000), MAX_KEYS)
  const align = checkChoice('align', byDefault(options.align, 'first-request'), ALIGNMENTS)
  if (options.align !== undefined && algorithm !== 'fixed-window') {
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `align belongs to the fixed window; a ${algorithm} has none`)
  }
  const escalation = checkEscalation(options.escalate)
  if (escalation !== undefined && (algorithm === 'leaky-bucket' || algorithm === 'concurrency')) {
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `escalate does not belong to a ${algorithm}`)
  }
  const { tiers, clock } = options
  const shared = checkShared(options.shared)
  const maxWaiters = checkMaxWaiters(options.maxWaiters)
  return { algorithm, policy, align, maxKeys, tiers, escalation, maxWaiters, shared, clock }
}

const MAX_WAITERS: Range = { min: 1, max: Number.MAX_SAFE_INTEGER, integer: true }

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkMaxWaiters(value: unknown): number {
  return checkNumber('maxWaiters', byDefault(value, 10_000), MAX_WAITERS)
}

function checkShared(value: unknown): Required<SharedOptions> | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string') return { name: checkName('shared', value), changePolicy: false }
  if (typeof value !== 'object' || value === null) {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `shared must be a name, or an object with one; got ${shown(value)}`,
    )
  }
  const options = checkObject('shared', value, ['name', 'changePolicy'])
  const changePolicy = checkSwitch('shared.changePolicy', options['changePolicy'])
  return { name: checkName('shared.name', options['name']), changePolicy }
}

/** Whether a shared limiter may have that name. */
export function isName(name: string): boolean {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(name)
}

/** A name for a shared limiter. @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkName(what: string, name: unknown): string {
  if (typeof name !== 'string') {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `${what} must be a string; got ${shown(name)}`)
  }
  if (name.length < 1 || name.length > 64) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${what} must have 1 to 64 characters; got ${shown(name)}, which has ${name.length}`,
    )
  }
  if (!isName(name)) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${what} may have letters, digits, '.', '_' and '-', and no dot at its beginning; got ${shown(name)}`,
    )
  }
  return name
}

/** Unlike `??`, lets null through to be refused. */
function byDefault<T>(value: T | undefined, otherwise: T): T {
  return value === undefined ? otherwise : value
}
