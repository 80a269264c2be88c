import type { Key } from '../native/key'
import type { Attempted, QueueId } from '../waiting/waiter'
import type { WaitingClock } from '../waiting/waiting-clock'
import { WaitingRoom } from '../waiting/waiting-room'
import type { Decision } from './decision'

/** How often a waiter looks for what nobody tells it: a lease released, or a process let go on, elsewhere. */
const POLL_MS = 10

/** Where the callers of one limiter wait. Takes nothing before the first one does. */
export class Waiting {
  readonly clock: WaitingClock
  readonly #maxWaiters: number
  #room: WaitingRoom<Decision> | undefined
  #isClosed = false

  constructor(clock: WaitingClock, maxWaiters: number) {
    this.clock = clock
    this.#maxWaiters = maxWaiters
  }

  get room(): WaitingRoom<Decision> {
    if (this.#room === undefined) {
      this.#room = new WaitingRoom({ maxWaiters: this.#maxWaiters, clock: this.clock })
      if (this.#isClosed) this.#room.close()
    }
    return this.#room
  }

  /** Something was given back to that key. */
  wake(key: Key): void {
    if (this.#room !== undefined && this.#room.size > 0) this.#room.wake(queueIdOf(key))
  }

  /** The same for all keys. */
  close(): void {
    this.#isClosed = true
    this.#room?.close()
  }
}

/** @param polls whether places come free without the waiting room being told */
export function attempted<Answer extends Decision>(answer: Answer, polls: boolean): Attempted<Answer> {
  const { allowed: admitted, reason, retryAfterMs } = answer
  const never = reason === 'too-costly'
  const mayComeEarlier = polls || reason === 'busy' || reason === 'table-full'
  return mayComeEarlier
    ? { admitted, never, retryAfterMs, pollMs: POLL_MS, answer }
    : { admitted, never, retryAfterMs, answer }
}

/** Keys of which the engine makes one key wait in one queue. */
export function queueIdOf(key: Key): QueueId {
  return typeof key === 'object' && key !== null ? `\0bytes:${Buffer.from(key).toString('latin1')}` : key
}
