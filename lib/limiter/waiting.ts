import { types } from 'node:util'
import { rangeError } from '../errors/errors'
import type { Key } from '../native/key'
import type { Attempted, QueueId } from '../waiting/waiter'
import type { WaitingClock } from '../waiting/waiting-clock'
import { WaitingRoom } from '../waiting/waiting-room'
import type { Decision } from './decision'

/** How often a waiter looks for what nobody tells it: a lease released, or a process let go on, elsewhere. */
export const POLL_MS = 10

/** The longest span of time that the engine takes. */
export const LONGEST_DELAY_MS = 4_611_686_018_427

/** Where the callers of one limiter wait. Takes nothing before the first one does. */
export class Waiting {
  readonly clock: WaitingClock
  readonly maxWaiters: number
  #room: WaitingRoom<Decision> | undefined
  #isClosed = false
  #hasOthers = false
  /** Those of sets of which the limiter is a member, if anybody may be waiting there. */
  readonly #sets = new Set<Waiting>()

  constructor(clock: WaitingClock, maxWaiters: number) {
    this.clock = clock
    this.maxWaiters = maxWaiters
  }

  get room(): WaitingRoom<Decision> {
    if (this.#room === undefined) {
      this.#room = new WaitingRoom({ maxWaiters: this.maxWaiters, clock: this.clock })
      if (this.#isClosed) this.#room.close()
    }
    return this.#room
  }

  get isEmpty(): boolean {
    return this.#room === undefined || this.#room.size === 0
  }

  /** Whether other limiter objects, of any thread or process, may give places back, of which nobody is told here. */
  get hasOthers(): boolean {
    return this.#hasOthers
  }

  /** From now on there may be such. */
  expectOthers(): void {
    if (this.#hasOthers) return
    this.#hasOthers = true
    this.#room?.wakeAll()
  }

  /** Something was given back to that key. */
  wake(key: Key): void {
    if (this.#room !== undefined && this.#room.size > 0) this.#room.wake(queueIdOf(key))
  }

  /** Something changed for all keys. */
  wakeAll(): void {
    this.#room?.wakeAll()
    for (const set of this.#sets) set.wakeAll()
  }

  close(): void {
    this.#isClosed = true
    this.#room?.close()
    // Their next try finds out.
    for (const set of this.#sets) set.wakeAll()
  }

  /** Tells that set, too, what happens to all keys, as long as anybody waits there. */
  tell(set: Waiting): void {
    if (this.#sets.has(set)) return
    for (const other of this.#sets) if (other.isEmpty) this.#sets.delete(other)
    this.#sets.add(set)
  }
}

/**
 * @param cost what was asked for
 * @param pollMs see `Attempted`; of a refusal
 * @throws RangeError ERR_SLUICE_TOO_COSTLY if it can never be admitted
 */
export function attempted<Answer extends Decision>(
  answer: Answer,
  cost: number | undefined,
  pollMs?: number,
): Attempted<Answer> {
  const { allowed: admitted, reason, retryAfterMs, delayMs, limit } = answer
  if (admitted) {
    // Once it resolves, the call may go out.
    return delayMs > 0
      ? { admitted, retryAfterMs, delayMs, answer: { ...answer, delayMs: 0 } }
      : { admitted, retryAfterMs, answer }
  }
  if (reason === 'busy' || reason === 'table-full') return { admitted, retryAfterMs, pollMs: POLL_MS, answer }
  if (retryAfterMs === Number.POSITIVE_INFINITY) throw tooCostly(cost ?? 1, limit)
  return pollMs === undefined
    ? { admitted, retryAfterMs, answer }
    : { admitted, retryAfterMs, pollMs, answer }
}

function tooCostly(cost: number, capacity: number): RangeError {
  return rangeError(
    'ERR_SLUICE_TOO_COSTLY',
    `the cost of ${cost} can never be admitted: a key can spend at most ${capacity} at once`,
  )
}

/** Keys of which the engine makes one key wait in one queue. What is no key is left to the engine to refuse. */
export function queueIdOf(key: Key): QueueId {
  if (types.isUint8Array(key)) return `\0bytes:${Buffer.from(key).toString('latin1')}`
  // So that no string is taken for bytes.
  return typeof key === 'string' && key.startsWith('\0') ? `\0string:${key}` : key
}
