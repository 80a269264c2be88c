/// <reference lib="esnext.disposable" preserve="true" />
import { rangeError, shown, typeError } from '../errors/errors'
import type { Algorithm } from '../policy/algorithms'
import { checkObject, checkSwitch, nearest } from '../policy/options'
import { type PolicyOptions, type PolicyVariant, policyNumbers } from '../policy/policy'
import type { ClockFunction, ManualClock } from '../time/clock'
import { Core } from './core'
import type { LimiterHandle } from './handle'
import { checkName, type LimiterOptions } from './options'
import { removeShared } from './regions'
import { type LimiterStats, type ProcessStats, readStats } from './stats'
import { LimiterView } from './view'

/** For a limiter that exists already: what is not in its table. */
export interface AttachOptions {
  /** As in `LimiterOptions`. Default: those of the handle. */
  tiers?: Readonly<Record<string, PolicyVariant>>
  /** Needed if, and only if, the limiter was made with a clock. Must show the same time. */
  clock?: ManualClock | ClockFunction
  /** As in `LimiterOptions`. */
  maxWaiters?: number
}

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
   * ERR_SLUICE_NO_MEMORY, ERR_SLUICE_NATIVE_LOAD, ERR_SLUICE_CLOCK; with `shared` also ERR_SLUICE_SHARED_MISMATCH,
   * ..._UNSUPPORTED, ..._OWNER, ..._VERSION, ..._CORRUPT, ..._FULL, ..._BUSY, ..._SYSTEM (docs/errors.md)
   */
  constructor(options: LimiterOptions) {
    const core = options instanceof Core ? options : Core.open(options)
    super(core.baseView())
    this.#core = core
    this.#tiers = new Map([...core.tiers].map(([name, { parts }]) => [name, new LimiterView(parts)]))
  }

  /**
   * A further user of a limiter that exists: of another thread of this process, by its handle, or of another process of
   * this machine, by its name. Has the same keys, counts and policy.
   * @param source what `handle` returned, or the name of a shared limiter
   * @throws TypeError ERR_SLUICE_OPTION_TYPE; RangeError ERR_SLUICE_HANDLE if the handle's limiter is closed or of
   * another process, ERR_SLUICE_SHARED_NOT_FOUND if nothing has that name, and as the constructor
   */
  static attach(source: LimiterHandle | string, options: AttachOptions = {}): Limiter {
    // The constructor takes a core too; nobody else can have one.
    return new Limiter(Core.attach(source, options) as unknown as LimiterOptions)
  }

  /** @internal For tools: not counted as a user of the shared limiter. */
  static attachTool(name: string, options: AttachOptions = {}): Limiter {
    return new Limiter(Core.attach(name, options, true) as unknown as LimiterOptions)
  }

  /**
   * Takes the name away from a shared limiter: the next to ask for it makes a new one, in which nobody has spent anything.
   * For tests, and for what nobody uses any more.
   * @param options `force`: also if limiter objects are attached to it; they go on with the old one, by themselves
   * @throws TypeError ERR_SLUICE_OPTION_TYPE; RangeError ERR_SLUICE_OPTION_RANGE, ERR_SLUICE_SHARED_NOT_FOUND,
   * ERR_SLUICE_SHARED_BUSY if any is attached, ERR_SLUICE_SHARED_OWNER
   */
  static remove(name: string, options: { force?: boolean } = {}): void {
    const { force } = checkObject('options', options, ['force'])
    removeShared(checkName('name', name), checkSwitch('force', force))
  }

  /**
   * All that the limiter knows, to be restored later or elsewhere, as when a program is restarted: policy, keys, blocks
   * and offences; not `tiers`, which the restorer names again. Nothing else runs on this thread meanwhile (of a million
   * keys, 0.1 s; of wide ones 0.3 s); others go on. Keep it secret, as the hash is in it by which keys are told apart.
   * @throws RangeError ERR_SLUICE_UNSUPPORTED if the limiter is shared by name: it outlives its users by itself
   */
  dump(): Uint8Array {
    this.#checkOpen()
    if (this.#core.sharedName === undefined) return this.#core.dump()
    throw rangeError(
      'ERR_SLUICE_UNSUPPORTED',
      'dump is for limiters of one process; a shared one outlives its users by itself',
    )
  }

  /**
   * A new limiter with what `dump` returned, of this process or another one. The time between counts: by the calendar, or,
   * if the limiter was made with a clock, by that, which must be passed again and show the same time.
   * @throws TypeError ERR_SLUICE_OPTION_TYPE; RangeError ERR_SLUICE_DUMP if the dump is not whole, or of another version,
   * ERR_SLUICE_SHARED_MISMATCH if a clock is missing or too much, ERR_SLUICE_NO_MEMORY
   */
  static restore(dump: Uint8Array, options: AttachOptions = {}): Limiter {
    return new Limiter(Core.restore(dump, options) as unknown as LimiterOptions)
  }

  /** What stands for this limiter in a message to another thread, for `Limiter.attach`. */
  handle(): LimiterHandle {
    this.#checkOpen()
    return this.#core.handle()
  }

  /** The limiter's own policy, as it is now: another thread or process may have changed it. */
  get policy(): PolicyOptions & { algorithm: Algorithm } {
    return { algorithm: this.#core.algorithm, ...this.#core.policy() }
  }

  /**
   * Changes the limiter's own policy, for all threads and processes that share it, from their next call on. What is not
   * named stays (a `burst` that was not set apart from the limit goes with it). Nobody's bucket is refilled: when `burst` is raised a key keeps the tokens it has left, when it is
   * lowered those it has spent; a key that has spent nothing has the new `burst`. A window keeps its count, and the new
   * limit applies to it. Tiers stay as they are. If two change it at the same time, one of them has the last word.
   * @throws as the constructor, and RangeError ERR_SLUICE_POLICY if there were too many different ones
   */
  setPolicy(policy: PolicyVariant): void {
    this.#checkOpen()
    this.#core.setPolicy(policy)
    this.#core.waiting.wakeAll()
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
    const id = policyNumbers(wanted).join('/')
    let view = this.#views.get(id)
    if (view === undefined) {
      view = new LimiterView(this.#core.viewOf(wanted))
      this.#views.set(id, view)
    }
    return view
  }

  /**
   * Figures about the table and the calls so far, of all who share it. Reads one counter per 1000 slots.
   * @param options `perProcess`: also what each process that is attached did (asks the system about each)
   */
  stats(options: { perProcess: true }): LimiterStats & { processes: ProcessStats[] }
  stats(options?: { perProcess?: boolean }): LimiterStats
  stats(options: { perProcess?: boolean } = {}): LimiterStats {
    const { perProcess } = checkObject('options', options, ['perProcess'])
    return readStats(this.#core.native, checkSwitch('perProcess', perProcess))
  }

  /**
   * Ends this user's part in the limiter, and gives the memory back if nobody else has one. (A shared limiter stays until
   * it is removed or the machine restarts.) Every later call throws `ERR_SLUICE_CLOSED`, and those who wait are told so.
   * Closing twice does nothing.
   */
  close(): void {
    this.#isClosed = true
    this.#core.close()
  }

  #checkOpen(): void {
    if (this.#isClosed) throw typeError('ERR_SLUICE_CLOSED', 'the limiter is closed; create a new one')
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
