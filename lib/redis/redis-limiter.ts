/// <reference lib="esnext.disposable" preserve="true" />
import { rangeError, shown, typeError } from '../errors/errors'
import type { Algorithm } from '../policy/algorithms'
import { checkObject, nearest } from '../policy/options'
import type { PolicyOptions, PolicyVariant } from '../policy/policy'
import type { BreakerState } from './breaker'
import { checkRedisOptions, type RedisLimiterOptions } from './options'
import { RedisCore } from './redis-core'
import { EVENTS, type RedisEvents } from './redis-events'
import { type RedisStats, readRedisStats } from './redis-stats'
import { putUnder, RedisView } from './redis-view'

/**
 * A limit that all hosts of a cluster share, through Redis or Valkey. The same operations as a `Limiter`, with promises.
 *
 * @example
 * import { Redis } from 'ioredis'
 * const limiter = new RedisLimiter({ client: new Redis(), prefix: 'api', limit: 100, windowMs: 60_000 })
 * const { allowed, retryAfterMs } = await limiter.consume(clientAddress)
 * if (!allowed) return tooManyRequests(retryAfterMs)
 */
export class RedisLimiter extends RedisView {
  readonly #core: RedisCore
  readonly #tiers: ReadonlyMap<string, RedisView>
  readonly #views = new Map<string, RedisView>()

  /**
   * Connects to nothing by itself but for the client it is given (and, for `denyCache.announce`, a duplicate of that).
   * @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE,
   * ERR_SLUICE_UNSUPPORTED, ERR_SLUICE_POLICY, ERR_SLUICE_NO_MEMORY, ERR_SLUICE_NATIVE_LOAD, and with `shared` also
   * ERR_SLUICE_SHARED_MISMATCH and its like (docs/errors.md)
   */
  constructor(options: RedisLimiterOptions) {
    const settings = checkRedisOptions(options)
    const core = new RedisCore(settings)
    super(core, core.base)
    this.#core = core
    try {
      this.#tiers = tiersOf(core)
    } catch (error) {
      void core.close()
      throw error
    }
    core.start()
  }

  /** The limiter's own policy, as this object has it. */
  get policy(): PolicyOptions & { algorithm: Algorithm } {
    const { settings, base } = this.#core
    return { algorithm: settings.algorithm, ...this.#core.optionsOf(base.policy) }
  }

  /** `closed`: Redis answers; `open`: it is not asked; `half-open`: it is being tried. The worst of all nodes. */
  get state(): BreakerState {
    return this.#core.state
  }

  /**
   * Changes the policy of this limiter object, from its next call on: the policy is with the hosts, not in Redis. What is
   * not named stays. A key keeps what it has spent, so raising the
   * limit hands out the difference (unlike that of a `Limiter`).
   * @throws as the constructor, and RangeError ERR_SLUICE_POLICY if there were too many different ones
   */
  setPolicy(policy: PolicyVariant): void {
    this.#core.checkOpen()
    putUnder(this, this.#core.setPolicy(policy))
    this.#core.waiting.wakeAll()
  }

  /** The tier of that name. @throws RangeError ERR_SLUICE_TIER_UNKNOWN with the nearest valid name */
  tier(name: string): RedisView {
    this.#core.checkOpen()
    const view = this.#tiers.get(name)
    if (view !== undefined) return view
    const names = [...this.#tiers.keys()]
    const hint =
      names.length === 0 ? 'the limiter has no tiers' : `did you mean '${nearest(String(name), names)}'?`
    throw rangeError('ERR_SLUICE_TIER_UNKNOWN', `there is no tier ${shown(name)}; ${hint}`)
  }

  /**
   * The same keys under another policy. Views are kept: the same numbers give the same view, and at most 1023 different ones
   * can be made.
   * @throws as the constructor, and RangeError ERR_SLUICE_POLICY if there are too many
   */
  with(policy: PolicyVariant): RedisView {
    this.#core.checkOpen()
    const under = this.#core.add(this.#core.vary(this.policy, policy, 'with'))
    let view = this.#views.get(under.text)
    if (view === undefined) {
      view = new RedisView(this.#core, under)
      this.#views.set(under.text, view)
    }
    return view
  }

  /** Figures about the calls of this limiter object so far. */
  stats(): RedisStats {
    return readRedisStats(this.#core)
  }

  /**
   * Calls `listener` at every such event. See `RedisEvents`.
   * @throws TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE if there is no such event
   */
  on<Name extends keyof RedisEvents>(name: Name, listener: (...args: RedisEvents[Name]) => void): this {
    checkListener(name, listener)
    this.#core.events.on(name, listener as () => void)
    return this
  }

  /** Calls it no more. */
  off<Name extends keyof RedisEvents>(name: Name, listener: (...args: RedisEvents[Name]) => void): this {
    this.#core.events.off(name, listener as () => void)
    return this
  }

  /**
   * Ends this object's part: gives back what it has borrowed, leaves the hosts, ends its own connections and timers. The
   * client is yours, and stays open. Every later call rejects with `ERR_SLUICE_CLOSED`; those who wait are told so; calls
   * on their way are still answered. Closing twice does nothing. Never rejects, and takes about a second at most.
   */
  close(): Promise<void> {
    return this.#core.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function checkListener(name: unknown, listener: unknown): void {
  const names = EVENTS.map((event) => `'${event}'`).join(', ')
  if (typeof name !== 'string' || !(EVENTS as readonly string[]).includes(name)) {
    throw rangeError('ERR_SLUICE_ARGUMENT_RANGE', `there is no event ${shown(name)}; there are ${names}`)
  }
  if (typeof listener !== 'function') {
    throw typeError('ERR_SLUICE_ARGUMENT_TYPE', `listener must be a function; got ${shown(listener)}`)
  }
}

function tiersOf(core: RedisCore): Map<string, RedisView> {
  const { tiers } = core.settings
  if (tiers === undefined) return new Map()
  const own = core.optionsOf(core.base.policy)
  const variants = Object.entries(checkObject('tiers', tiers, Object.keys(tiers ?? {})))
  return new Map(
    variants.map(([name, variant]) => [
      name,
      new RedisView(core, core.add(core.vary(own, variant, `tiers.${name}`))),
    ]),
  )
}
