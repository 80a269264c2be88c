import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { rangeError } from '../../lib/errors/errors'
import { ManualClock } from '../../lib/time/clock'
import type { WaitOptions } from '../../lib/waiting/wait-options'
import type { Attempt, Attempted } from '../../lib/waiting/waiter'
import { type WaitingClock, waitingClock } from '../../lib/waiting/waiting-clock'
import { WaitingRoom } from '../../lib/waiting/waiting-room'

/**
 * For each key a bucket that holds `capacity` tokens and gets one every `msPerToken`, at whole multiples of it. If it
 * `paces`, what is admitted is held back until all that was spent before it has come back.
 */
export class FakeLimiter {
  readonly #spent = new Map<string, number>()
  /** The keys that tried, one for each try. */
  readonly tries: string[] = []

  constructor(
    readonly nowMs: () => number,
    readonly capacity = 1,
    readonly msPerToken = 100,
    readonly paces = false,
  ) {}

  attempt(key: string, cost: number, leftMs = Number.POSITIVE_INFINITY): Attempted<string> {
    this.tries.push(key)
    if (cost > this.capacity) throw rangeError('ERR_SLUICE_TOO_COSTLY', `${cost}`)
    const backlogMs = this.#backlogMs(key)
    const delayMs = this.paces ? backlogMs : 0
    const waitMs = this.#waitMs(key, cost)
    const admitted = waitMs === 0 && delayMs <= leftMs
    if (admitted) this.#spent.set(key, backlogMs + cost * this.msPerToken + this.nowMs())
    const answer = `${key} at ${this.nowMs() + delayMs}`
    if (!admitted) return { admitted, retryAfterMs: waitMs === 0 ? delayMs : waitMs, answer }
    return delayMs === 0
      ? { admitted, retryAfterMs: 0, answer }
      : { admitted, retryAfterMs: 0, delayMs, answer }
  }

  #waitMs(key: string, cost: number): number {
    return Math.max(0, this.#backlogMs(key) + (cost - this.capacity) * this.msPerToken)
  }

  /** Gives tokens back, or takes them if negative. */
  give(key: string, tokens: number): void {
    this.#spent.set(key, Math.max(0, this.#backlogMs(key) - tokens * this.msPerToken) + this.nowMs())
  }

  /** How long until the key's bucket is full. */
  #backlogMs(key: string): number {
    return Math.max(0, (this.#spent.get(key) ?? Number.NEGATIVE_INFINITY) - this.nowMs())
  }
}

/** A room with a limiter that looks at the same clock, and a log of what became of each wait. */
export class Bench {
  readonly limiter: FakeLimiter
  readonly room: WaitingRoom<string>
  /** Names in the order in which their promises settled: `name`, or `name: code` if it was rejected. */
  readonly log: string[] = []

  constructor(
    readonly clock = new ManualClock(),
    {
      capacity = 1,
      msPerToken = 100,
      maxWaiters = 10_000,
      paces = false,
      waiting = waitingClock(clock) as WaitingClock,
    } = {},
  ) {
    this.limiter = new FakeLimiter(() => clock.now(), capacity, msPerToken, paces)
    this.room = new WaitingRoom<string>({ maxWaiters, clock: waiting })
  }

  wait(
    name: string,
    { key = 'k', cost = 1, ...options }: WaitOptions & { key?: string; cost?: number } = {},
  ) {
    return this.waitFor(name, (leftMs) => this.limiter.attempt(key, cost, leftMs), options, key)
  }

  waitFor(name: string, attempt: Attempt<string>, options?: WaitOptions, key = 'k'): Promise<string> {
    const promise = this.room.wait(key, attempt, options)
    promise.then(
      () => this.log.push(name),
      (error) => this.log.push(`${name}: ${error?.code ?? error}`),
    )
    return promise
  }

  /** What settled since it was last asked. */
  async settled(): Promise<string[]> {
    await microtasks()
    return this.log.splice(0)
  }

  async advance(ms: number): Promise<string[]> {
    this.clock.advance(ms)
    return this.settled()
  }
}

export async function microtasks(): Promise<void> {
  for (let i = 0; i < 4; i++) await undefined
}

export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
}

/** What the promise was rejected with. */
export async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (answer) => {
      throw new Error(`it was not rejected, but resolved with ${String(answer)}`)
    },
    (reason) => reason,
  )
}

/** A clock that counts its timers, and whose time is set by hand without running them. */
export class SpyClock implements WaitingClock {
  us = 0
  readonly scheduled: { readonly dueUs: number; readonly ring: () => void }[] = []
  /** How many were ever scheduled. */
  count = 0
  /** The most that were at once. */
  peak = 0

  nowUs(): number {
    return this.us
  }

  schedule(dueUs: number, callback: () => void): () => void {
    const timer = { dueUs, ring: callback }
    this.scheduled.push(timer)
    this.count++
    this.peak = Math.max(this.peak, this.scheduled.length)
    return () => {
      const at = this.scheduled.indexOf(timer)
      if (at >= 0) this.scheduled.splice(at, 1)
    }
  }

  /** Rings the only timer, due or not. */
  ring(): void {
    const [timer] = this.scheduled.splice(0, 1)
    timer?.ring()
  }
}
