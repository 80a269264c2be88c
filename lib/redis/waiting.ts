import type { Decision } from '../limiter/decision'
import type { Key } from '../limiter/view'
import { attempted, POLL_MS, queueIdOf, type Waiting } from '../limiter/waiting'
import type { WaitOptions } from '../waiting/wait-options'
import type { Attempted } from '../waiting/waiter'

export interface Asking<Answer extends Decision> {
  /**
   * Asks, and answers once, or fails.
   * @param leftMs what would have to be held back for longer is to be refused
   */
  ask(leftMs: number, answer: (decision: Answer) => void, fail: (error: unknown) => void): void
  /** Of one that was admitted when nobody waited for it any more. */
  giveBack(decision: Answer): void
  /** Whether it may be admitted earlier than its answer says. */
  readonly polls?: boolean
}

/** While an answer is on its way: only that wakes the one who asked. */
const ASKED = {
  admitted: false,
  retryAfterMs: Number.POSITIVE_INFINITY,
  pollMs: Number.POSITIVE_INFINITY,
  isPending: true,
} as const

/**
 * Waits in the room of the limiter until it is admitted by somebody who takes time to answer: the one who is asked is
 * still the head of the queue meanwhile.
 */
export async function waitForAdmission<Answer extends Decision>(
  waiting: Waiting,
  key: Key,
  cost: number,
  { ask, giveBack, polls = false }: Asking<Answer>,
  options: WaitOptions | undefined,
): Promise<Answer> {
  const queueId = queueIdOf(key)
  let isAsked = false
  let isOver = false
  let answer: Answer | undefined
  let failure: { readonly error: unknown } | undefined
  const fail = (error: unknown): void => {
    failure = { error }
    waiting.room.wake(queueId)
  }
  const receive = (decision: Answer): void => {
    isAsked = false
    if (isOver) {
      if (decision.allowed) giveBack(decision)
      return
    }
    answer = decision
    waiting.room.wake(queueId)
  }
  const attempt = (leftMs: number): Attempted<Answer> => {
    if (answer === undefined && !isAsked) {
      isAsked = true
      // May answer at once.
      ask(leftMs, receive, fail)
    }
    if (failure !== undefined) throw failure.error
    const received = answer
    answer = undefined
    return received === undefined
      ? { ...ASKED, answer: undefined as unknown as Answer }
      : attempted(received, cost, polls ? POLL_MS : undefined)
  }
  try {
    return (await waiting.room.wait(queueId, attempt, options)) as Answer
  } finally {
    isOver = true
    // Admitted, but its turn did not come before it gave up.
    if (answer?.allowed === true) giveBack(answer)
  }
}
