/// <reference lib="esnext.disposable" preserve="true" />
import { rangeError, shown, typeError } from '../errors/errors'
import type { NativeLimiter } from '../native/engine'
import { loadNative } from '../native/load'
import { checkChoice, checkNumber, checkObject, MAX_KEYS, nearest } from '../policy/options'
import {
  ALGORITHMS,
  type Algorithm,
  makePolicy,
  type Policy,
  type PolicyOptions,
  type PolicyVariant,
  varyPolicy,
} from '../policy/policy'
import { type ClockFunction, cellOf, ManualClock } from '../time/clock'
import { LimiterView, type ViewParts } from './view'

const ALIGNMENTS = ['first-request', 'epoch'] as const

export interface LimiterOptions extends PolicyOptions {
  /** Default `token-bucket`. */
  algorithm?: Algorithm
  /**
   * Fixed window only: whether a key's window opens at its first request, or all windows at multiples of `windowMs`
   * since 1970 (or since the zero of `clock`). Default `first-request`.
   */
  align?: (typeof ALIGNMENTS)[number]
  /**
   * How many keys the table is made for, at once, at 22.5 bytes each (small tables are rounded up, to
   * 4 kB at least): from 1 to 2^31; default 1,000,000. When more keys
   * than that limit at the same time, those that have spent least are forgotten first; one that is at its limit or
   * blocked never is.
   */
  maxKeys?: number
  /**
   * Further policies for the same keys, by name, for `tier`. They share `windowMs` unless they say otherwise (a fixed
   * window's must), and `burst` unless they bring a `limit` of their own, which then is their default `burst`.
   */
  tiers?: Readonly<Record<string, PolicyVariant>>
  /**
   * Where the time comes from: a `ManualClock`, or a function that returns milliseconds. `() => Date.now()` obeys fake
   * timers (plain `Date.now` is taken as it is now, before they replace it). Default: the machine's monotonic clock, which no change of the date can move. A clock may step
   * back: up to 10 s are waited out; after a longer step time goes on with the clock, from where it stands.
   */
  clock?: ManualClock | ClockFunction
}

/** Figures about a limiter. */
export interface LimiterStats {
  /** Keys in the table, including those that carry no information any more and wait to be reclaimed. */
  keys: number
  /** Slots of the table; about 1.4 times `maxKeys`. */
  capacity: number
  /** Memory of the table. It never grows. */
  bytes: number
  maxKeys: number
  /** Calls admitted and refused through this limiter (`peek` does not count). */
  allowed: number
  denied: number
  /** Keys forgotten while they still carried information, because the table was full. Should be 0: raise `maxKeys`. */
  evictedLive: number
  /** New keys refused because every place they could take was held by a key at its limit. Should be 0 likewise. */
  refusedFull: number
}

const KNOWN_OPTIONS = [
  'algorithm',
  'limit',
  'windowMs',
  'burst',
  'align',
  'maxKeys',
  'tiers',
  'clock',
] as const

/**
 * A rate limiter: one policy (and its tiers), applied to each key by itself, in a fixed amount of native memory.
 *
 * @example
 * const limiter = new Limiter({ limit: 100, windowMs: 60_000 })
 * if (!limiter.allow(clientAddress)) return tooManyRequests()
 */
export class Limiter extends LimiterView {
  readonly #core: Core
  readonly #tiers: ReadonlyMap<string, LimiterView>
  readonly #views = new Map<string, LimiterView>()
  #isClosed = false

  /**
   * @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE,
   * ERR_SLUICE_NO_MEMORY, ERR_SLUICE_NATIVE_LOAD, ERR_SLUICE_CLOCK
   */
  constructor(options: LimiterOptions) {
    const core = new Core(options)
    super(core.viewOf(core.policy))
    this.#core = core
    this.#tiers = new Map(
      [...core.tiers].map(([name, policy]) => [name, new LimiterView(core.viewOf(policy))]),
    )
  }

  /** The tier of that name. @throws RangeError ERR_SLUICE_TIER_UNKNOWN with the nearest valid name */
  tier(name: string): LimiterView {
    this.#checkOpen()
    const view = this.#tiers.get(name)
    if (view !== undefined) return view
    const names = [...this.#tiers.keys()]
    const hint =
      names.length === 0 ? 'the limiter has no tiers' : `did you mean '${nearest(String(name), names)}'?`
    throw rangeError('ERR_SLUICE_TIER_UNKNOWN', `there is no tier ${shown(name)}; ${hint}`)
  }

  /**
   * The same keys under another policy, for limits that are known only when a request comes in. Views are kept: the
   * same numbers give the same view, and at most 1023 different ones can be made.
   * @throws as the constructor, and RangeError ERR_SLUICE_POLICY if there are too many
   */
  with(policy: PolicyVariant): LimiterView {
    this.#checkOpen()
    const wanted = this.#core.vary(policy, 'with')
    const id = `${wanted.limit}/${wanted.windowNs}/${wanted.capacity}`
    let view = this.#views.get(id)
    if (view === undefined) {
      view = new LimiterView(this.#core.viewOf(wanted))
      this.#views.set(id, view)
    }
    return view
  }

  /** Figures about the table and the calls so far. Reads one counter per 1000 slots. */
  stats(): LimiterStats {
    const figures = new Float64Array(7)
    this.#core.native.stats(figures)
    const [keys, capacity, bytes, allowed, denied, evictedLive, refusedFull] = figures as unknown as number[]
    const { maxKeys } = this.#core
    return { keys, capacity, bytes, maxKeys, allowed, denied, evictedLive, refusedFull } as LimiterStats
  }

  /** Gives the memory back. Every later call throws `ERR_SLUICE_CLOSED`. Closing twice does nothing. */
  close(): void {
    this.#isClosed = true
    this.#core.native.close()
  }

  #checkOpen(): void {
    if (this.#isClosed) throw typeError('ERR_SLUICE_CLOSED', 'the limiter is closed; create a new one')
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The validated options and the native limiter made from them. */
class Core {
  readonly algorithm: Algorithm
  readonly policy: Policy
  readonly tiers: ReadonlyMap<string, Policy>
  readonly maxKeys: number
  readonly native: NativeLimiter
  readonly #base: PolicyOptions
  readonly #readClock: (() => void) | undefined

  constructor(value: LimiterOptions) {
    const options = checkObject('options', value, KNOWN_OPTIONS) as unknown as LimiterOptions
    this.algorithm = checkChoice('algorithm', byDefault(options.algorithm, 'token-bucket'), ALGORITHMS)
    this.policy = makePolicy(this.algorithm, options)
    this.#base = options
    this.maxKeys = checkNumber('maxKeys', byDefault(options.maxKeys, 1_000_000), MAX_KEYS)
    const align = checkChoice('align', byDefault(options.align, 'first-request'), ALIGNMENTS)
    if (options.align !== undefined && this.algorithm !== 'fixed-window') {
      throw rangeError(
        'ERR_SLUICE_OPTION_RANGE',
        `align belongs to the fixed window; a ${this.algorithm} has none`,
      )
    }
    this.tiers = this.#checkTiers(options.tiers)
    const { cell, read } = clockCell(options.clock)
    this.#readClock = read
    this.native = this.#open(align === 'epoch', cell)
  }

  vary(variant: unknown, where: string): Policy {
    const policy = varyPolicy(this.algorithm, this.#base, variant, where)
    if (this.native !== undefined && policy.limit > this.native.maxLimit) {
      throw rangeError(
        'ERR_SLUICE_OPTION_RANGE',
        `${where}.limit must be at most ${this.native.maxLimit} in this table (name the greatest limit among tiers to make it count further); got ${policy.limit}`,
      )
    }
    return policy
  }

  viewOf(policy: Policy): ViewParts {
    const { limit, windowNs, capacity } = policy
    const native = this.native.addPolicy(limit, windowNs, capacity)
    return { native, results: this.native.results, capacity, readClock: this.#readClock }
  }

  #checkTiers(value: LimiterOptions['tiers']): Map<string, Policy> {
    if (value === undefined) return new Map()
    const tiers = checkObject('tiers', value, Object.keys(value ?? {}))
    return new Map(
      Object.entries(tiers).map(([name, variant]) => [name, this.vary(variant, `tiers.${name}`)]),
    )
  }

  #open(alignToEpoch: boolean, cell: Float64Array | undefined): NativeLimiter {
    const engine = loadNative()
    const open = this.algorithm === 'token-bucket' ? engine.openTokenBucket : engine.openFixedWindow
    const maxLimit = Math.max(this.policy.limit, ...[...this.tiers.values()].map(({ limit }) => limit))
    return open(this.maxKeys, this.policy.windowNs, maxLimit, alignToEpoch ? 1 : 0, cell)
  }
}

/** Unlike `??`, lets null through to be refused. */
function byDefault<T>(value: T | undefined, otherwise: T): T {
  return value === undefined ? otherwise : value
}

/** Where the engine reads a user's clock, and what writes the time there before each call. */
function clockCell(clock: unknown): { cell: Float64Array | undefined; read: (() => void) | undefined } {
  if (clock === undefined) return { cell: undefined, read: undefined }
  if (clock instanceof ManualClock) return { cell: cellOf(clock), read: undefined }
  if (typeof clock !== 'function') {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `clock must be a ManualClock or a function; got ${shown(clock)}`,
    )
  }
  const cell = new Float64Array(1)
  const read = () => {
    const ms: unknown = clock()
    if (typeof ms !== 'number')
      throw rangeError('ERR_SLUICE_CLOCK', `clock must return milliseconds; got ${shown(ms)}`)
    cell[0] = ms
  }
  read()
  return { cell, read }
}
