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
  readonly order: number
}

/** At the same time, tries come before deadlines. */
function isDueBefore(a: Timed, b: Timed): boolean {
  if (a.atUs !== b.atUs) return a.atUs < b.atUs
  const aTries = a.tryAtUs === a.atUs
  return aTries === (b.tryAtUs === b.atUs) ? a.order < b.order : aTries
}
