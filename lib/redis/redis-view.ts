import { type CodedError, rangeError } from '../errors/errors'
import { type BatchOptions, checkBatch } from '../limiter/batch'
import type { Decision } from '../limiter/decision'
import { checkReservation, checkTokens, type ReserveOptions } from '../limiter/reservation'
import { type ConsumeOptions, isPartial, type Key, keepKey } from '../limiter/view'
import type { Algorithm } from '../policy/algorithms'
import type { WaitOptions } from '../waiting/wait-options'
import { checkCost, checkSpanUs } from './arguments'
import { AllowCall, DatedDecisionCall, DecisionCall, exactDecision, type Kind, LongCall } from './calls'
import { leaseDecision } from './leases'
import type { RedisCore, RedisPolicy } from './redis-core'
import { RedisLease } from './redis-lease'
import { RedisReservation } from './redis-reservation'
import { waitForAdmission } from './waiting'

/** @internal What a `RedisLimitSet` needs of a view. */
export let partsOf: (view: RedisView) => { core: RedisCore; under: RedisPolicy }
/** @internal Whether it is one, and not only looks like one. */
export let isRedisView: (value: unknown) => value is RedisView
/** @internal Another policy for the view. */
export let putUnder: (view: RedisView, under: RedisPolicy) => void

/**
 * The operations of a `RedisLimiter` under one policy. `RedisLimiter` is one; `limiter.tier(name)` and
 * `limiter.with(policy)` give others, which look at the same keys: what a key has spent under one counts under all.
 *
 * No operation throws; each returns a promise. It rejects, with nothing changed, on a bad key (TypeError
 * `ERR_SLUICE_KEY_TYPE`, RangeError `ERR_SLUICE_KEY_RANGE`), a bad number (`ERR_SLUICE_ARGUMENT_TYPE`,
 * `ERR_SLUICE_ARGUMENT_RANGE`) and after `close` (`ERR_SLUICE_CLOSED`); never for a denial. Decisions are there within
 * `timeoutMs` whatever Redis does (see `onUnavailable`); what is no decision rejects with `ERR_SLUICE_UNAVAILABLE` by then,
 * and Redis may have done it all the same.
 */
export class RedisView {
  readonly #core: RedisCore
  #under: RedisPolicy

  static {
    partsOf = (view) => ({ core: view.#core, under: view.#under })
    isRedisView = (value): value is RedisView => typeof value === 'object' && value !== null && #core in value
    putUnder = (view, under) => {
      view.#under = under
    }
  }

  /** @internal */
  constructor(core: RedisCore, under: RedisPolicy) {
    this.#core = core
    this.#under = under
  }

  /**
   * Spends `cost` tokens (an integer from 0; default 1) if the key has them. The cheapest call.
   * @returns whether the call was admitted; if not, nothing was spent
   */
  allow(key: Key, cost = 1): Promise<boolean> {
    const core = this.#core
    const under = this.#under
    try {
      core.checkOpen()
      checkCost(cost)
      if (this.#takes(key, cost)) return ADMITTED
      if (core.isDenied(under, cost, key)) {
        core.count('cache', false)
        return REFUSED
      }
      return this.#ask(key, core.nameOf(key), cost)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** What only Redis knows. */
  #ask(key: Key, name: string, cost: number): Promise<boolean> {
    return new Promise((resolve) => {
      const core = this.#core
      const under = this.#under
      if (core.leases !== undefined && under === core.base) {
        core.leases.decide(key, name, cost, ({ allowed }) => resolve(allowed))
      } else {
        const item = core.settings.algorithm === 'leaky-bucket' ? `a ${cost}` : String(cost)
        core.send(new AllowCall(core, under, key, name, item, cost, resolve))
      }
    })
  }

  /**
   * Spends `cost` tokens (an integer from 0; default 1) if the key has them, and says what is left. A cost of 0 only
   * reads, and is admitted unless the key is blocked.
   */
  consume(key: Key, cost = 1, options?: ConsumeOptions): Promise<Decision> {
    return new Promise((resolve) => {
      const core = this.#core
      core.checkOpen()
      checkCost(cost)
      if (options !== undefined && isPartial(options)) {
        this.#decide('partial', key, cost, `p ${cost}`, resolve)
      } else if (this.#takes(key, cost)) {
        resolve(leaseDecision(this.#under.policy, cost, core.leases?.balance(key) ?? 0))
      } else if (core.leases !== undefined && this.#under === core.base) {
        if (!this.#isDenied('consume', key, cost, resolve))
          core.leases.decide(key, core.nameOf(key), cost, resolve)
      } else {
        this.#decide('consume', key, cost, String(cost), resolve)
      }
    })
  }

  /**
   * Whether `consume(key)` would be admitted now. Spends nothing, so `remaining` is what is there before such a call: in
   * `leased` mode what this host has borrowed, if that is anything.
   */
  peek(key: Key): Promise<Decision> {
    return new Promise((resolve) => {
      const core = this.#core
      core.checkOpen()
      const balance = this.#under === core.base ? (core.leases?.balance(key) ?? 0) : 0
      if (balance > 0) resolve(leaseDecision(this.#under.policy, 0, balance))
      else this.#decide('peek', key, 1, 'k 1', resolve)
    })
  }

  /**
   * Decides many keys, in order, in few trips to Redis, 1024 keys after the other; `timeoutMs` is for each of these. Bad input names the index and charges nothing at all.
   * (Calls made one by one in the same turn of the event loop travel together just so.)
   */
  async consumeMany(keys: readonly Key[], options?: BatchOptions): Promise<Decision[]> {
    this.#core.checkOpen()
    const { keys: snapshot, costs } = checkBatch(keys, options)
    const costOf = (i: number): number => (typeof costs === 'number' ? costs : (costs[i] as number))
    const decisions: Decision[] = []
    // In portions, or the last ones would wait for as long as it takes to write all.
    for (let from = 0; from < snapshot.length; from += PORTION) {
      const portion = snapshot.slice(from, from + PORTION)
      decisions.push(...(await Promise.all(portion.map((key, i) => this.consume(key, costOf(from + i))))))
    }
    return decisions
  }

  /**
   * Gives back `tokens` of a charge that turned out not to count; as `refund` of a `Limiter`. Hosts that remember the key as
   * denied may take as long as `denyCache.maxAgeMs` to notice.
   * @param chargedAgoMs how long ago the charge was made, in ms; default 0: just now
   * @returns whole tokens credited
   */
  async refund(key: Key, tokens: number, chargedAgoMs = 0): Promise<number> {
    const core = this.#core
    core.checkOpen()
    checkTokens('tokens', tokens)
    const ago = checkSpanUs('chargedAgoMs', chargedAgoMs)
    return core.giveBack(this.#under, keepKey(key), `r ${tokens} ${ago}`)
  }

  /**
   * Takes `tokens`, whether or not the key has them, but never below empty.
   * @returns whole tokens taken
   */
  async penalize(key: Key, tokens: number): Promise<number> {
    this.#core.checkOpen()
    checkTokens('tokens', tokens)
    return (await this.#core.change(this.#under, key, `n ${tokens} 0`)).amount
  }

  /**
   * Refuses every call of the key, on all hosts, for `durationMs` from now (ends on a whole ms). Never shortens a block
   * that is in force; `reset` lifts it. A bucket goes on refilling meanwhile. In `leased` mode other hosts may spend what
   * they have borrowed until word comes through, at most for `lease.leaseMs`.
   * @returns true: nothing stands in the way of it, unlike in the table of a `Limiter`
   */
  async block(key: Key, durationMs: number): Promise<boolean> {
    const core = this.#core
    core.checkOpen()
    const us = checkSpanUs('durationMs', durationMs)
    const own = keepKey(key)
    await core.change(this.#under, own, `b ${us}`)
    core.announce(own)
    return true
  }

  /**
   * Forgets the key: nothing spent, no block. Other hosts, which may remember it as denied, are told at once; without a
   * connection for that (`denyCache.announce`) it takes them as long as `denyCache.maxAgeMs`.
   * @returns whether there was anything to forget
   */
  async reset(key: Key): Promise<boolean> {
    const core = this.#core
    core.checkOpen()
    const own = keepKey(key)
    const { amount } = await core.change(this.#under, own, 'x')
    core.announce(own)
    core.waiting.wake(own)
    return amount > 0
  }

  /**
   * Charges an estimate now, to be corrected when the cost is known; as `reserve` of a `Limiter`.
   * Rejects besides with TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE,
   * ERR_SLUICE_UNSUPPORTED if the algorithm is `concurrency`.
   */
  reserve(key: Key, estimate: number, ttlMs: number, options?: ReserveOptions): Promise<RedisReservation> {
    return new Promise((resolve) => {
      const core = this.#core
      const under = this.#under
      core.checkOpen()
      if (core.settings.algorithm === 'concurrency') throw unsupported('reserve', 'acquire', 'concurrency')
      const settings = checkReservation(ttlMs, options)
      checkTokens('estimate', estimate)
      const own = keepKey(key)
      const make = (decision: Decision, chargedAtUs: number): void => {
        const giveBack = `${chargedAtUs.toFixed(0)} ${Math.round(settings.ttlMs * 1000)}`
        const reservation = new RedisReservation(decision, {
          giveBack: async (tokens) => {
            core.checkOpen()
            if (decision.source !== 'exact') {
              // To the host's share, and not to be reported.
              core.undo(under, own, { ...decision, consumed: tokens }, 0)
              return
            }
            await core.giveBack(under, own, `R ${tokens} ${giveBack}`)
          },
          take: async (tokens) => {
            core.checkOpen()
            return (await core.change(under, own, `n ${tokens} ${settings.maxDebt}`)).amount
          },
        })
        resolve(reservation)
      }
      this.#decideLong(own, estimate, `v ${estimate}`, (decision, [atUs]) => make(decision, atUs))
    })
  }

  /**
   * Takes `cost` places (an integer from 0; default 1) of those that the key may hold at once. Only of `concurrency`.
   * Rejects besides with RangeError ERR_SLUICE_UNSUPPORTED if the algorithm is another one.
   */
  acquire(key: Key, cost = 1): Promise<RedisLease> {
    return new Promise((resolve) => {
      const core = this.#core
      core.checkOpen()
      if (core.settings.algorithm !== 'concurrency')
        throw unsupported('acquire', 'consume', core.settings.algorithm)
      checkCost(cost)
      this.#acquire(keepKey(key), cost, `q ${cost} ${newNonce()}`, resolve)
    })
  }

  /**
   * Waits until the key has `cost` tokens (an integer from 0; default 1), and spends them. First come, first served among
   * those who wait on this limiter object; only the first of them asks Redis. Hosts do not queue behind each other. Else as
   * `wait` of a `Limiter`, with the same options and rejections; while Redis is away `onUnavailable` decides. An answer that
   * is on its way when `maxWaitMs` is over is still waited for, so for `timeoutMs` at most.
   */
  wait(key: Key, cost = 1, options?: WaitOptions): Promise<Decision> {
    return new Promise((resolve) => {
      const core = this.#core
      core.checkOpen()
      if (core.settings.algorithm === 'concurrency') throw unsupported('wait', 'waitForLease', 'concurrency')
      checkCost(cost)
      const own = keepKey(key)
      const name = core.nameOf(own)
      let chargedAtUs = 0
      const ask = (leftMs: number, answer: (decision: Decision) => void): void => {
        if (this.#takes(own, cost)) {
          answer(leaseDecision(this.#under.policy, cost, core.leases?.balance(own) ?? 0))
          return
        }
        if (this.#isDenied('wait', own, cost, answer)) return
        const mostUs = Math.min(Math.floor(leftMs * 1000), Number.MAX_SAFE_INTEGER)
        const decided = (decision: Decision, atUs: number): void => {
          chargedAtUs = atUs
          answer(decision)
        }
        const item = `w ${cost} ${mostUs}`
        core.send(new DatedDecisionCall(core, this.#under, own, name, item, 'wait', cost, decided, leftMs))
      }
      const giveBack = (decision: Decision): void => core.undo(this.#under, own, decision, chargedAtUs)
      resolve(waitForAdmission(core.waiting, own, cost, { ask, giveBack }, options))
    })
  }

  /** Waits until the key has `cost` places free, and takes them: `wait` for `concurrency`. Places are looked for every 10 ms. */
  waitForLease(key: Key, cost = 1, options?: WaitOptions): Promise<RedisLease> {
    return new Promise((resolve) => {
      const core = this.#core
      core.checkOpen()
      if (core.settings.algorithm !== 'concurrency')
        throw unsupported('waitForLease', 'wait', core.settings.algorithm)
      checkCost(cost)
      const own = keepKey(key)
      core.nameOf(own)
      const ask = (_: number, answer: (lease: RedisLease) => void): void =>
        this.#acquire(own, cost, `q ${cost} ${newNonce()}`, answer)
      const giveBack = (lease: RedisLease): void => void lease[Symbol.asyncDispose]()
      resolve(waitForAdmission(core.waiting, own, cost, { ask, giveBack, polls: true }, options))
    })
  }

  /** From what this host has borrowed. */
  #takes(key: Key, cost: number): boolean {
    const core = this.#core
    if (core.leases === undefined || this.#under !== core.base || !core.leases.take(key, cost)) return false
    core.count('lease', true)
    return true
  }

  /** Whether it is known to be denied; then that was the answer. */
  #isDenied(kind: Kind, key: Key, cost: number, resolve: (decision: Decision) => void): boolean {
    const core = this.#core
    const denial = core.denialOf(this.#under, cost, key)
    if (denial === undefined) return false
    core.count('cache', false, kind)
    resolve(denial)
    return true
  }

  #decide(kind: Kind, key: Key, cost: number, item: string, resolve: (decision: Decision) => void): void {
    // Of less than asked for there may be some.
    if (kind !== 'partial' && this.#isDenied(kind, key, cost, resolve)) return
    const core = this.#core
    const name = core.nameOf(key)
    core.send(new DecisionCall(core, this.#under, key, name, item, kind, cost, resolve))
  }

  #decideLong(
    key: Key,
    cost: number,
    item: string,
    done: (decision: Decision, more: readonly [number, number, number]) => void,
  ): void {
    const core = this.#core
    const under = this.#under
    const call = new LongCall(
      core,
      under,
      key,
      core.nameOf(key),
      item,
      true,
      (reply, more) => {
        core.count('exact', reply.outcome === 0)
        done(exactDecision(reply, under.policy.capacity), more)
      },
      () => done(core.withoutRedis(under, key, cost, 'consume'), [0, 0, 0]),
    )
    core.send(call)
  }

  #acquire(key: Key, cost: number, item: string, done: (lease: RedisLease) => void): void {
    const core = this.#core
    const under = this.#under
    this.#decideLong(key, cost, item, (decision, [atUs, nonce]) => {
      const giveBack = async (): Promise<boolean> => {
        core.checkOpen()
        if (decision.source !== 'exact') return core.share?.release(decision) ?? false
        return (await core.giveBack(under, key, `g ${cost} ${atUs.toFixed(0)} ${nonce.toFixed(0)}`)) > 0
      }
      done(new RedisLease(decision, giveBack))
    })
  }
}

/** Of what is decided here: nobody need be given a promise of their own. */
const ADMITTED = Promise.resolve(true)
const REFUSED = Promise.resolve(false)
/** How many keys of a batch are on their way at once. */
const PORTION = 1024

/** Tells a place that was given from one that was given after a reset. */
function newNonce(): number {
  return Math.floor(Math.random() * 2 ** 48)
}

function unsupported(operation: string, instead: string, algorithm: Algorithm): RangeError & CodedError {
  return rangeError(
    'ERR_SLUICE_UNSUPPORTED',
    `${operation} is not for a limiter of algorithm '${algorithm}'; use ${instead}`,
  )
}
