import { IndexedHeap, NOWHERE } from './indexed-heap'
import type { WaitSettings } from './wait-options'
import { floorUs } from './waiting-clock'

/** What keys a queue: those that are equal to a `Map` wait in one. */
export type QueueId = string | number | bigint

/** How a try of the head of a queue went. */
export interface Attempted<Answer> {
  /** Then it has spent what it wanted, and `answer` resolves the promise. */
  readonly admitted: boolean
  /** For how long one that was admitted is to be held back; default 0. */
  readonly delayMs?: number
  /** The wait after which it would be admitted if nobody else spends; `Infinity` where nobody knows. */
  readonly retryAfterMs: number
  /**
   * It may be admitted earlier than `retryAfterMs` says, for reasons that nobody tells the room: try again after this
   * long at the latest. Then `retryAfterMs` is no ground to give a wait up. `Infinity`: only `wake` tells.
   */
  readonly pollMs?: number
  /** The answer is on its way: `wake` tells when it is there, and until then the wait is not given up. */
  readonly isPending?: boolean
  readonly answer: Answer
}

/**
 * Synchronous. What it throws rejects the promise.
 * @param leftMs for how long the promise may yet be pending, in whole µs. What would have to be held back for longer is to
 * be refused, with the delay as `retryAfterMs`
 */
export type Attempt<Answer> = (leftMs: number) => Attempted<Answer>

/** One promise that is not settled. */
export class Waiter<Answer> {
  /** When it tries next: only the head of a queue does. */
  tryAtUs = Number.POSITIVE_INFINITY
  readonly deadlineUs: number
  /** Of one that was admitted, and is held back: it is in no queue any more. */
  held: { readonly answer: Answer; readonly untilUs: number } | undefined
  isSettled = false
  /** See `Attempted`. */
  isPending = false
  placeInQueue = NOWHERE
  placeInTimer = NOWHERE

  constructor(
    readonly queue: KeyQueue<Answer>,
    /** Rises with each one who comes, or is held back. */
    public order: number,
    readonly attempt: Attempt<Answer>,
    readonly settings: WaitSettings,
    sinceUs: number,
    readonly resolve: (answer: Answer) => void,
    readonly reject: (reason: unknown) => void,
  ) {
    this.deadlineUs = sinceUs + floorUs(settings.maxWaitMs)
  }

  /** When the clock is to see to it. */
  get atUs(): number {
    if (this.held !== undefined) return this.held.untilUs
    return this.isPending ? Number.POSITIVE_INFINITY : Math.min(this.tryAtUs, this.deadlineUs)
  }

  /** For how long it can wait yet, in whole µs. */
  leftMs(nowUs: number): number {
    return Math.max(0, Math.floor(this.deadlineUs - nowUs)) / 1000
  }
}

/** Those who wait for one key. The first is its head. */
export class KeyQueue<Answer> extends IndexedHeap<'placeInQueue', Waiter<Answer>> {
  /** Its head is trying at this moment. */
  isTrying = false

  constructor(readonly id: QueueId) {
    super('placeInQueue', isServedBefore)
  }
}

interface Ranked {
  readonly order: number
  readonly settings: { readonly priority: number }
}

function isServedBefore(a: Ranked, b: Ranked): boolean {
  const ahead = a.settings.priority - b.settings.priority
  return ahead !== 0 ? ahead > 0 : a.order < b.order
}
