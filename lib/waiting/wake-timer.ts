import { IndexedHeap } from './indexed-heap'
import type { Waiter } from './waiter'
import type { WaitingClock } from './waiting-clock'

/** When each waiter of a room is to be seen to, and the one timer for the first of them. */
export class WakeTimer<Answer> {
  readonly #heap = new IndexedHeap<'placeInTimer', Waiter<Answer>>('placeInTimer', isDueBefore)
  readonly #clock: WaitingClock
  readonly #ring: (untilUs?: number) => void
  #armed: { readonly forUs: number; cancel?: () => void } | undefined

  /** @param ring called when the first may be due; arm it again */
  constructor(clock: WaitingClock, ring: (untilUs?: number) => void) {
    this.#clock = clock
    this.#ring = ring
  }

  get first(): Waiter<Answer> | undefined {
    return this.#heap.first
  }

  /** All who have a time, in no order. */
  get waiters(): readonly Waiter<Answer>[] {
    return this.#heap.items
  }

  /** Takes notice of the waiter's times, new or changed. */
  note(waiter: Waiter<Answer>): void {
    if (waiter.atUs === Number.POSITIVE_INFINITY) this.#heap.remove(waiter)
    else this.#heap.put(waiter)
  }

  forget(waiter: Waiter<Answer>): void {
    this.#heap.remove(waiter)
  }

  /** Sets the timer for the first. One that rings too early is left as it is: the next ring sets it anew. @throws as the clock */
  arm(): void {
    const forUs = this.first?.atUs ?? Number.POSITIVE_INFINITY
    if (this.#armed !== undefined && this.#armed.forUs <= forUs) return
    this.disarm()
    const armed: { readonly forUs: number; cancel?: () => void } = { forUs }
    armed.cancel = this.#clock.schedule(forUs, (untilUs) => {
      // Whoever replaced the timer functions in between may have let a cancelled one ring.
      if (this.#armed !== armed) return
      this.#armed = undefined
      this.#ring(untilUs)
    })
    this.#armed = armed
  }

  disarm(): void {
    const armed = this.#armed
    this.#armed = undefined
    armed?.cancel?.()
  }
}

interface Timed {
  readonly atUs: number
  readonly tryAtUs: number
  readonly held: unknown
  readonly order: number
}

/** At the same time, those who were held back come before those who try, and these before deadlines. */
function isDueBefore(a: Timed, b: Timed): boolean {
  const atUs = b.atUs
  const ahead = a.atUs - atUs
  if (ahead !== 0) return ahead < 0
  const turn = turnOf(a, atUs) - turnOf(b, atUs)
  return turn === 0 ? a.order < b.order : turn < 0
}

function turnOf({ held, tryAtUs }: Timed, atUs: number): number {
  if (held !== undefined) return 0
  return tryAtUs === atUs ? 1 : 2
}
