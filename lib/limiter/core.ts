import { types } from 'node:util'
import { rangeError, shown, typeError } from '../errors/errors'
import type { NativeLimiter, NativeView } from '../native/engine'
import { loadNative } from '../native/load'
import { ALGORITHMS, type Algorithm, PURSE, PURSE_ID, TRAITS } from '../policy/algorithms'
import { checkObject } from '../policy/options'
import {
  keepingOwn,
  type Policy,
  type PolicyOptions,
  type PolicyVariant,
  policyFromNumbers,
  policyNumbers,
  varyPolicy,
} from '../policy/policy'
import { type ClockSource, clockSource } from './clock-cell'
import { checkHandle, type LimiterHandle } from './handle'
import { checkMaxWaiters, checkName, checkOptions, type Settings } from './options'
import { differsInPolicy } from './shared'
import type { ViewParts } from './view'
import { Waiting } from './waiting'

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
  readonly waiting: Waiting
  readonly #readClock: (() => void) | undefined

  private constructor(
    native: NativeLimiter,
    clock: ClockSource,
    maxWaiters: number,
    sharedName: string | undefined,
    tiersFor: (core: Core) => ReadonlyMap<string, Policy>,
  ) {
    this.native = native
    this.#readClock = clock.read
    this.waiting = new Waiting(clock.waiting, maxWaiters)
    this.sharedName = sharedName
    if (sharedName !== undefined) this.waiting.expectOthers()
    const algorithmId = native.facts[0] as number
    this.algorithm = (algorithmId === PURSE_ID ? PURSE : ALGORITHMS[algorithmId - 1]) as Algorithm
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
    const base = policyFromNumbers(algorithm, Float64Array.from(policyNumbers(policy)))
    const tiers = tiersOf(settings.tiers, (variant, where) => varyPolicy(algorithm, base, variant, where))
    const clock = clockSource(settings.clock)
    const native = loadNative().open(specOf(settings, tiers.values()), clock.cell, shared?.name)
    return closingOnError(native, () => {
      const changesPolicy = shared !== undefined && differsInPolicy(native, settings, shared)
      const core = new Core(native, clock, settings.maxWaiters, shared?.name, () => tiers)
      // Last, when nothing can be wrong any more.
      if (changesPolicy) native.setPolicy(Float64Array.from(policyNumbers(policy)))
      return core
    })
  }

  /** A limiter that exists. @param asTool see NativeEngine */
  static attach(source: unknown, value: unknown, asTool = false): Core {
    const options = checkObject('options', value, ['clock', 'tiers', 'maxWaiters'])
    const maxWaiters = checkMaxWaiters(options['maxWaiters'])
    const { sluice, id, tiers } = sourceOf(source)
    const clock = clockSource(options['clock'])
    const engine = loadNative()
    const native =
      sluice === 'machine' ? engine.attachShared(id, clock.cell, asTool) : engine.attachHandle(id, clock.cell)
    return closingOnError(native, () => {
      if (!asTool) checkIsLimiter(native, id)
      const core = new Core(native, clock, maxWaiters, sluice === 'machine' ? id : undefined, (attached) =>
        tiersOf(options['tiers'] ?? tiers, (variant, where) => attached.vary(variant, where)),
      )
      core.waiting.expectOthers()
      return core
    })
  }

  /** A new limiter with what another one has dumped. */
  static restore(dump: unknown, value: unknown): Core {
    const options = checkObject('options', value, ['clock', 'tiers', 'maxWaiters'])
    if (!types.isUint8Array(dump)) {
      throw typeError('ERR_SLUICE_OPTION_TYPE', `dump must be a Uint8Array; got ${shown(dump)}`)
    }
    const maxWaiters = checkMaxWaiters(options['maxWaiters'])
    const clock = clockSource(options['clock'])
    const native = loadNative().restore(dump, clock.cell)
    return closingOnError(
      native,
      () =>
        new Core(native, clock, maxWaiters, undefined, (core) =>
          tiersOf(options['tiers'], (variant, where) => core.vary(variant, where)),
        ),
    )
  }

  /** The limiter's own policy, as it is now: it may have been changed by another thread or process. */
  policy(): PolicyOptions {
    return policyFromNumbers(this.algorithm, this.native.policy())
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
    this.native.setPolicy(Float64Array.from(policyNumbers(this.vary(keepingOwn(own, variant), 'policy'))))
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

  viewOf(policy: Policy): ViewParts {
    return this.#parts(this.native.addPolicy(Float64Array.from(policyNumbers(policy))))
  }

  dump(): Uint8Array {
    this.#readClock?.()
    return new Uint8Array(this.native.dump())
  }

  close(): void {
    this.native.close()
    this.waiting.close()
  }

  handle(): LimiterHandle {
    this.waiting.expectOthers()
    const tiers = Object.fromEntries(
      [...this.tiers].map(([name, { policy }]) => [
        name,
        policyFromNumbers(this.algorithm, Float64Array.from(policyNumbers(policy))),
      ]),
    )
    return this.sharedName === undefined
      ? { sluice: 'thread', id: this.native.handle(), tiers }
      : { sluice: 'machine', id: this.sharedName, tiers }
  }

  #parts(native: NativeView): ViewParts {
    const { algorithm, waiting } = this
    return { native, results: this.native.results, readClock: this.#readClock, algorithm, waiting }
  }
}

const MAX_TIERS = 1023

function tiersOf(value: unknown, policyOf: (variant: unknown, where: string) => Policy): Map<string, Policy> {
  if (value === undefined) return new Map()
  const tiers = checkObject('tiers', value, Object.keys(value ?? {}))
  const count = Object.keys(tiers).length
  if (count > MAX_TIERS) {
    throw rangeError('ERR_SLUICE_POLICY', `a limiter can have ${MAX_TIERS} tiers; got ${count}`)
  }
  return new Map(Object.entries(tiers).map(([name, variant]) => [name, policyOf(variant, `tiers.${name}`)]))
}

function specOf(settings: Settings, tiers: Iterable<Policy>): Float64Array {
  const { algorithm, policy, maxKeys, align, escalation } = settings
  const maxLimit = Math.max(...[policy, ...tiers].map(({ limit, initial }) => Math.max(limit, initial)))
  const alignToEpoch = align === 'epoch' || TRAITS[algorithm].alignsToEpoch ? 1 : 0
  const algorithmId = ALGORITHMS.indexOf(algorithm) + 1
  return Float64Array.from([
    algorithmId,
    maxKeys,
    maxLimit,
    alignToEpoch,
    ...policyNumbers(policy),
    escalation?.forgetMs ?? 0,
    ...(escalation?.blockMs ?? []),
  ])
}

function sourceOf(source: unknown): LimiterHandle {
  if (typeof source === 'string')
    return { sluice: 'machine', id: checkName('the name to attach to', source), tiers: {} }
  const handle = checkHandle(source)
  if (handle.sluice === 'machine') checkName('the name to attach to', handle.id)
  return handle
}

function checkIsLimiter(native: NativeLimiter, name: string): void {
  if (native.facts[0] !== PURSE_ID) return
  throw rangeError(
    'ERR_SLUICE_SHARED_MISMATCH',
    `'${name}' is no limiter: it holds the tokens that a RedisLimiter has leased; use another name`,
  )
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
