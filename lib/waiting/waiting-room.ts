import { rangeError, typeError } from '../errors/errors'
import { AbortWatch } from './abort-watch'
import { checkWaitOptions, type WaitOptions, type WaitSettings } from './wait-options'
import { type Attempt, type Attempted, KeyQueue, type QueueId, Waiter } from './waiter'
import { floorUs, toUs, type WaitingClock } from './waiting-clock'
import { WakeTimer } from './wake-timer'

/** How often those who wait for something of which nobody knows the time try again. */
const POLL_MS = 50

interface RoomParts {
  /** How many may wait at once, in all queues together. */
  readonly maxWaiters: number
  readonly clock: WaitingClock
}

/**
 * Where those wait whom a limiter cannot admit yet: a queue for each key, of which only the head tries. So nobody is
 * overtaken, and who wants much is not starved by those who want little. Who is admitted, but to be held back, has left
 * the queue, so the next one tries. One timer serves all.
 */
export class WaitingRoom<Answer> {
  readonly #maxWaiters: number
  readonly #clock: WaitingClock
  readonly #queues = new Map<QueueId, KeyQueue<Answer>>()
  readonly #timer: WakeTimer<Answer>
  readonly #signals = new AbortWatch<Answer>((waiters, reason) => this.#abandon(waiters, reason))
  #size = 0
  #lastOrder = 0
  #isClosed = false

  constructor({ maxWaiters, clock }: RoomParts) {
    this.#maxWaiters = maxWaiters
    this.#clock = clock
    this.#timer = new WakeTimer(clock, (untilUs) => this.#seeToDue(untilUs))
  }

  /** How many wait, those who are held back among them. */
  get size(): number {
    return this.#size
  }

  /**
   * Resolves with the answer of the attempt that is admitted, when that is to be held back no longer. Who would be the
   * head of the queue tries at once. Who gives up while held back has spent what it wanted all the same.
   * Never throws. Rejects with TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN, ERR_SLUICE_CLOSED; RangeError
   * ERR_SLUICE_OPTION_RANGE, ERR_SLUICE_QUEUE_FULL, ERR_SLUICE_WAIT_TIMEOUT, ERR_SLUICE_CLOCK; the signal's reason; or what
   * the attempt throws.
   */
  wait(queueId: QueueId, attempt: Attempt<Answer>, options?: WaitOptions): Promise<Answer> {
    try {
      const settings = checkWaitOptions(options)
      this.#checkStillWanted(settings)
      const head = this.#size === 0 ? undefined : this.#queues.get(queueId)?.first
      if (head !== undefined && head.settings.priority >= settings.priority) {
        return this.#enter(queueId, attempt, settings, undefined)
      }
      // Where there is no room to be held back in, only what may go out now is admitted.
      const attempted = attempt(this.#size < this.#maxWaiters ? floorUs(settings.maxWaitMs) / 1000 : 0)
      if (attempted.admitted && !isHeldBack(attempted)) return Promise.resolve(attempted.answer)
      return this.#enter(queueId, attempt, settings, attempted)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Something was given back to that key: lets the head of its queue try at once. */
  wake(queueId: QueueId): void {
    if (this.#size === 0) return
    const queue = this.#queues.get(queueId)
    if (queue === undefined) return
    this.#serve(queue)
    this.#arm()
  }

  /** Something changed for every key, as a limit does: lets all heads try at once. */
  wakeAll(): void {
    for (const queue of [...this.#queues.values()]) this.#serve(queue)
    this.#arm()
  }

  /** Rejects everybody who waits, or comes later, with ERR_SLUICE_CLOSED. */
  close(): void {
    this.#isClosed = true
    this.#rejectAll(closed())
  }

  #checkStillWanted({ signal }: WaitSettings): void {
    if (this.#isClosed) throw closed()
    if (signal?.aborted) throw signal.reason
  }

  /** @param attempted how it went, if the newcomer has tried, as the new head */
  #enter(
    queueId: QueueId,
    attempt: Attempt<Answer>,
    settings: WaitSettings,
    attempted: Attempted<Answer> | undefined,
  ): Promise<Answer> {
    // Again: the attempt may have read a user's clock, which may do anything.
    this.#checkStillWanted(settings)
    if (this.#size >= this.#maxWaiters) throw queueFull(this.#size)
    const nowUs = this.#clock.nowUs()
    const queue = this.#queues.get(queueId) ?? new KeyQueue<Answer>(queueId)
    const { promise, resolve, reject } = withResolvers<Answer>()
    const waiter = new Waiter(queue, ++this.#lastOrder, attempt, settings, nowUs, resolve, reject)
    if (attempted === undefined && waiter.deadlineUs <= nowUs) throw waitedTooLong(settings)
    const isAdmitted = attempted?.admitted === true
    waiter.isPending = attempted?.isPending === true
    const tryAtUs = attempted === undefined || isAdmitted ? nowUs : this.#nextTryUs(waiter, attempted, nowUs)
    // First, because whoever brought the signal may have it throw.
    this.#signals.add(waiter)
    this.#size++
    if (isAdmitted) this.#holdBack(waiter, attempted, nowUs)
    else this.#queueUp(waiter, tryAtUs)
    this.#arm()
    return promise
  }

  /** @param tryAtUs when it tries next, if it is the head now */
  #queueUp(waiter: Waiter<Answer>, tryAtUs: number): void {
    const { queue } = waiter
    const formerHead = queue.first
    if (formerHead === undefined) this.#queues.set(queue.id, queue)
    queue.put(waiter)
    if (queue.first === waiter) {
      if (formerHead !== undefined) this.#retryAt(formerHead, Number.POSITIVE_INFINITY)
      waiter.tryAtUs = tryAtUs
    }
    this.#timer.note(waiter)
  }

  /** One that was admitted waits on, outside of its queue. */
  #holdBack(waiter: Waiter<Answer>, { answer, delayMs = 0 }: Attempted<Answer>, nowUs: number): void {
    this.#leaveQueue(waiter)
    waiter.order = ++this.#lastOrder
    waiter.held = { answer, untilUs: nowUs + toUs(delayMs) }
    this.#timer.note(waiter)
  }

  /** Lets the head try, and whoever is the head then, until one is refused. */
  #serve(queue: KeyQueue<Answer>): void {
    // An attempt that gives something back to its own key comes here again.
    if (queue.isTrying) return
    queue.isTrying = true
    while (queue.first !== undefined && this.#serveOne(queue.first));
    queue.isTrying = false
  }

  /** @returns whether the waiter is done with */
  #serveOne(waiter: Waiter<Answer>): boolean {
    // Whatever becomes of it, the time that it waited for is over.
    this.#retryAt(waiter, Number.POSITIVE_INFINITY)
    try {
      const attempted = waiter.attempt(this.#leftMs(waiter))
      waiter.isPending = attempted.isPending === true
      if (!attempted.admitted) {
        if (waiter.queue.first !== waiter) return true
        this.#retryAt(waiter, this.#nextTryUs(waiter, attempted, this.#clock.nowUs()))
        return false
      }
      if (!isHeldBack(attempted)) this.#resolve(waiter, attempted.answer)
      else if (!waiter.isSettled) this.#holdBack(waiter, attempted, this.#clock.nowUs())
    } catch (error) {
      this.#reject(waiter, error)
    }
    return true
  }

  #leftMs(waiter: Waiter<Answer>): number {
    return waiter.deadlineUs === Number.POSITIVE_INFINITY
      ? Number.POSITIVE_INFINITY
      : waiter.leftMs(this.#clock.nowUs())
  }

  /** When the head, which was refused, tries again. @throws RangeError ERR_SLUICE_WAIT_TIMEOUT if that is too late */
  #nextTryUs(waiter: Waiter<Answer>, { retryAfterMs, pollMs }: Attempted<Answer>, nowUs: number): number {
    const isKnown = pollMs === undefined && retryAfterMs !== Number.POSITIVE_INFINITY
    if (isKnown && nowUs + toUs(retryAfterMs) > waiter.deadlineUs) {
      throw wouldTakeTooLong(waiter.settings, retryAfterMs, (waiter.deadlineUs - nowUs) / 1000)
    }
    const delayUs = isKnown ? toUs(retryAfterMs) : toUs(Math.min(retryAfterMs, pollMs ?? POLL_MS))
    return nowUs + Math.max(delayUs, 1)
  }

  #retryAt(waiter: Waiter<Answer>, tryAtUs: number): void {
    waiter.tryAtUs = tryAtUs
    this.#timer.note(waiter)
  }

  #resolve(waiter: Waiter<Answer>, answer: Answer): void {
    this.#leave(waiter)
    waiter.resolve(answer)
  }

  #reject(waiter: Waiter<Answer>, reason: unknown): void {
    this.#leave(waiter)
    waiter.reject(reason)
  }

  #leave(waiter: Waiter<Answer>): void {
    if (waiter.isSettled) return
    waiter.isSettled = true
    this.#leaveQueue(waiter)
    this.#timer.forget(waiter)
    this.#signals.remove(waiter)
    this.#size--
  }

  #leaveQueue(waiter: Waiter<Answer>): void {
    const { queue } = waiter
    if (!queue.has(waiter)) return
    queue.remove(waiter)
    if (queue.size === 0) this.#queues.delete(queue.id)
  }

  /** The timer rang. */
  #seeToDue(untilUs = Number.POSITIVE_INFINITY): void {
    try {
      const limitUs = Math.min(untilUs, this.#clock.nowUs())
      // Ends: who tries in vain is put off to a later time.
      for (;;) {
        const waiter = this.#timer.first
        if (waiter === undefined || waiter.atUs > limitUs) break
        this.#seeTo(waiter)
      }
    } catch (error) {
      this.#rejectAll(error)
    }
    this.#arm()
  }

  #seeTo(waiter: Waiter<Answer>): void {
    if (waiter.held !== undefined) {
      this.#resolve(waiter, waiter.held.answer)
      return
    }
    const { queue } = waiter
    const wasHead = queue.first === waiter
    if (waiter.tryAtUs > waiter.deadlineUs) this.#reject(waiter, waitedTooLong(waiter.settings))
    if (wasHead) this.#serve(queue)
  }

  #abandon(waiters: ReadonlySet<Waiter<Answer>>, reason: unknown): void {
    const headless = new Set<KeyQueue<Answer>>()
    for (const waiter of waiters) {
      if (waiter.queue.first === waiter) headless.add(waiter.queue)
      this.#reject(waiter, reason)
    }
    // Only now, so that nobody tries whose signal has aborted too.
    for (const queue of headless) this.#serve(queue)
    this.#arm()
  }

  #rejectAll(reason: unknown): void {
    const queued = [...this.#queues.values()].flatMap((queue) => [...queue.items])
    const held = this.#timer.waiters.filter((waiter) => waiter.held !== undefined)
    for (const waiter of [...held, ...queued]) this.#reject(waiter, reason)
    this.#timer.disarm()
  }

  /** A clock that gives no time leaves nobody waiting. */
  #arm(): void {
    try {
      if (this.#size === 0) this.#timer.disarm()
      else this.#timer.arm()
    } catch (error) {
      this.#rejectAll(error)
    }
  }
}

function isHeldBack({ delayMs = 0 }: Attempted<unknown>): boolean {
  return delayMs > 0
}

function withResolvers<T>(): {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (reason: unknown) => void
} {
  let resolve!: (value: T) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}

function closed(): TypeError {
  return typeError('ERR_SLUICE_CLOSED', 'the limiter is closed; create a new one')
}

function queueFull(waiting: number): RangeError {
  return rangeError('ERR_SLUICE_QUEUE_FULL', `${waiting} wait already; raise maxWaiters if more are to`)
}

function waitedTooLong({ maxWaitMs }: WaitSettings): RangeError {
  return rangeError('ERR_SLUICE_WAIT_TIMEOUT', `not admitted within ${maxWaitMs} ms (maxWaitMs)`)
}

function wouldTakeTooLong({ maxWaitMs }: WaitSettings, waitMs: number, leftMs: number): RangeError {
  return rangeError(
    'ERR_SLUICE_WAIT_TIMEOUT',
    `it would take another ${shownMs(waitMs)} ms, and of maxWaitMs (${maxWaitMs}) ${shownMs(leftMs)} are left`,
  )
}

function shownMs(ms: number): string {
  return String(Math.max(0, Math.round(ms * 1000) / 1000))
}
