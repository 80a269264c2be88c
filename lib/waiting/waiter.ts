import { IndexedHeap, NOWHERE } from './indexed-heap'
import type { WaitSettings } from './wait-options'
import { toUs } from './waiting-clock'

/** What keys a queue: those that are equal to a `Map` wait in one. */
export type QueueId = string | number | bigint

/** How a try of the head of a queue went. */
export interface Attempted<Answer> {
  /** Then it has spent what it wanted, and `answer` resolves the promise. */
  readonly admitted: boolean
  /** It can never be admitted. */
  readonly never?: boolean
  /** The wait after which it would be admitted if nobody else spends; `Infinity` where nobody knows. */
  readonly retryAfterMs: number
  /**
   * It may be admitted earlier than `retryAfterMs` says, for reasons that nobody tells the room: try again after this
   * long at the latest. Then `retryAfterMs` is no ground to give a wait up. `Infinity`: only `wake` tells.
   */
  readonly pollMs?: number
  readonly answer: Answer
}

/** Synchronous. What it throws rejects the promise. */
export type Attempt<Answer> = () => Attempted<Answer>

/** One promise that is not settled. */
export class Waiter<Answer> {
  /** When it tries next: only the head of a queue does. */
  tryAtUs = Number.POSITIVE_INFINITY
  readonly deadlineUs: number
  placeInQueue = NOWHERE
  placeInTimer = NOWHERE

  constructor(
    readonly queue: KeyQueue<Answer>,
    /** Rises with each one who comes. */
    readonly order: number,
    readonly attempt: Attempt<Answer>,
    readonly settings: WaitSettings,
    sinceUs: number,
    readonly resolve: (answer: Answer) => void,
    readonly reject: (reason: unknown) => void,
  ) {
    this.deadlineUs = sinceUs + toUs(settings.maxWaitMs)
  }

  /** When the clock is to see to it. */
  get atUs(): number {
    return Math.min(this.tryAtUs, this.deadlineUs)
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
