import { rangeError } from '../errors/errors'
import type { NativeLimiter, NativeView } from '../native/engine'
import { loadNative } from '../native/load'
import { checkObject } from '../policy/options'
import {
  ALGORITHMS,
  type Algorithm,
  type Policy,
  type PolicyOptions,
  type PolicyVariant,
  varyPolicy,
} from '../policy/policy'
import { type ClockSource, clockSource } from './clock-cell'
import { checkHandle, type LimiterHandle } from './handle'
import { checkName, checkOptions, type Settings } from './options'
import { differsInPolicy } from './shared'
import type { ViewParts } from './view'

interface Tier {
  readonly policy: Policy
  readonly parts: ViewParts
}

/** The native limiter behind a `Limiter`, with its tiers and clock. */
export class Core {
  readonly native: NativeLimiter
  readonly algorithm: Algorithm
  readonly tiers: ReadonlyMap<string, Tier>
  /** Under which it is shared with other processes. */
  readonly sharedName: string | undefined
  readonly #readClock: (() => void) | undefined

  private constructor(
    native: NativeLimiter,
    clock: ClockSource,
    sharedName: string | undefined,
    tiersFor: (core: Core) => ReadonlyMap<string, Policy>,
  ) {
    this.native = native
    this.#readClock = clock.read
    this.sharedName = sharedName
    this.algorithm = ALGORITHMS[(native.facts[0] as number) - 1] as Algorithm
    this.tiers = new Map(
      [...tiersFor(this)].map(([name, policy]) => {
        this.#checkCountable(policy, `tiers.${name}`)
        return [name, { policy, parts: this.viewOf(policy) }]
      }),
    )
  }

  /** A new limiter, or the shared one of that name. */
  static open(value: unknown): Core {
    const settings = checkOptions(value)
    const { algorithm, policy, shared } = settings
    // Before anything is made, so that bad tiers leave nothing behind.
    const base = policyOptions(algorithm, policy)
    const tiers = tiersOf(settings.tiers, (variant, where) => varyPolicy(algorithm, base, variant, where))
    const clock = clockSource(settings.clock)
    const native = loadNative().open(specOf(settings, tiers.values()), clock.cell, shared?.name)
    return closingOnError(native, () => {
      const changesPolicy = shared !== undefined && differsInPolicy(native, settings, shared)
      const core = new Core(native, clock, shared?.name, () => tiers)
      // Last, when nothing can be wrong any more.
      if (changesPolicy) native.setPolicy(policy.limit, policy.windowNs, policy.capacity)
      return core
    })
  }

  /** A limiter that exists. @param asTool see NativeEngine */
  static attach(source: unknown, value: unknown, asTool = false): Core {
    const options = checkObject('options', value, ['clock', 'tiers'])
    const { sluice, id, tiers } = sourceOf(source)
    const clock = clockSource(options['clock'])
    const engine = loadNative()
    const native =
      sluice === 'machine' ? engine.attachShared(id, clock.cell, asTool) : engine.attachHandle(id, clock.cell)
    return closingOnError(
      native,
      () =>
        new Core(native, clock, sluice === 'machine' ? id : undefined, (core) =>
          tiersOf(options['tiers'] ?? tiers, (variant, where) => core.vary(variant, where)),
        ),
    )
  }

  /** The limiter's own policy, as it is now: it may have been changed by another thread or process. */
  policy(): PolicyOptions {
    const [limit, windowNs, burst] = this.native.policy() as unknown as [number, number, number]
    const policy = { limit, windowMs: windowNs / 1e6 }
    return this.algorithm === 'token-bucket' ? { ...policy, burst } : policy
  }

  /** That variant of it. */
  vary(variant: unknown, where: string): Policy {
    const policy = varyPolicy(this.algorithm, this.policy(), variant, where)
    this.#checkCountable(policy, where)
    return policy
  }

  /** Changes the limiter's own policy. */
  setPolicy(variant: PolicyVariant): void {
    const own = this.policy()
    // A limit that brings its own burst is for tiers; here a burst stays, unless there was none but the limit.
    const isApart = own.burst !== undefined && own.burst !== own.limit
    const keepsBurst = isApart && isObject(variant) && variant.burst === undefined
    const varied = keepsBurst ? { ...variant, burst: own.burst } : variant
    const { limit, windowNs, capacity } = this.vary(varied, 'policy')
    this.native.setPolicy(limit, windowNs, capacity)
  }

  #checkCountable({ limit }: Policy, where: string): void {
    const maxLimit = this.native.facts[4] as number
    if (limit <= maxLimit) return
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `${where}.limit must be at most ${maxLimit} in this table (name the greatest limit among tiers to make it count further); got ${limit}`,
    )
  }

  baseView(): ViewParts {
    return this.#parts(this.native.base)
  }

  viewOf({ limit, windowNs, capacity }: Policy): ViewParts {
    return this.#parts(this.native.addPolicy(limit, windowNs, capacity))
  }

  handle(): LimiterHandle {
    const tiers = Object.fromEntries(
      [...this.tiers].map(([name, { policy }]) => [name, policyOptions(this.algorithm, policy)]),
    )
    return this.sharedName === undefined
      ? { sluice: 'thread', id: this.native.handle(), tiers }
      : { sluice: 'machine', id: this.sharedName, tiers }
  }

  #parts(native: NativeView): ViewParts {
    return { native, results: this.native.results, readClock: this.#readClock }
  }
}

const MAX_TIERS = 1023

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function policyOptions(algorithm: Algorithm, { limit, windowMs, capacity }: Policy): PolicyOptions {
  return algorithm === 'token-bucket' ? { limit, windowMs, burst: capacity } : { limit, windowMs }
}

function tiersOf(value: unknown, policyOf: (variant: unknown, where: string) => Policy): Map<string, Policy> {
  if (value === undefined) return new Map()
  const tiers = checkObject('tiers', value, Object.keys(value ?? {}))
  const count = Object.keys(tiers).length
  if (count > MAX_TIERS) {
    throw rangeError('ERR_SLUICE_POLICY', `a limiter can have ${MAX_TIERS} tiers; got ${count}`)
  }
  return new Map(Object.entries(tiers).map(([name, variant]) => [name, policyOf(variant, `tiers.${name}`)]))
}

function specOf({ algorithm, policy, maxKeys, align }: Settings, tiers: Iterable<Policy>): Float64Array {
  const maxLimit = Math.max(policy.limit, ...[...tiers].map(({ limit }) => limit))
  const { windowNs, limit, capacity } = policy
  const alignToEpoch = align === 'epoch' ? 1 : 0
  const algorithmId = ALGORITHMS.indexOf(algorithm) + 1
  return Float64Array.of(algorithmId, maxKeys, windowNs, maxLimit, alignToEpoch, limit, capacity)
}

function sourceOf(source: unknown): LimiterHandle {
  if (typeof source === 'string')
    return { sluice: 'machine', id: checkName('the name to attach to', source), tiers: {} }
  const handle = checkHandle(source)
  if (handle.sluice === 'machine') checkName('the name to attach to', handle.id)
  return handle
}

/** What `make` returns; if it throws, the native limiter is given up at once, not when it is collected. */
function closingOnError<T>(native: NativeLimiter, make: () => T): T {
  try {
    return make()
  } catch (error) {
    native.close()
    throw error
  }
}
