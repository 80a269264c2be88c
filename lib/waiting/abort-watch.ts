import type { Waiter } from './waiter'

interface Watched<Answer> {
  readonly waiters: Set<Waiter<Answer>>
  readonly stop: () => void
}

/** One listener per signal, however many wait with it; none when nobody does. */
export class AbortWatch<Answer> {
  readonly #watched = new Map<AbortSignal, Watched<Answer>>()
  readonly #abandon: (waiters: ReadonlySet<Waiter<Answer>>, reason: unknown) => void

  /** @param abandon called with all those whose signal aborted, when they are no longer watched */
  constructor(abandon: (waiters: ReadonlySet<Waiter<Answer>>, reason: unknown) => void) {
    this.#abandon = abandon
  }

  add(waiter: Waiter<Answer>): void {
    const { signal } = waiter.settings
    if (signal !== undefined) (this.#watched.get(signal) ?? this.#watch(signal)).waiters.add(waiter)
  }

  remove(waiter: Waiter<Answer>): void {
    const { signal } = waiter.settings
    if (signal === undefined) return
    const watched = this.#watched.get(signal)
    if (watched === undefined || !watched.waiters.delete(waiter) || watched.waiters.size > 0) return
    this.#forget(signal, watched)
  }

  #watch(signal: AbortSignal): Watched<Answer> {
    const onAbort = (): void => {
      this.#forget(signal, watched)
      this.#abandon(watched.waiters, signal.reason)
    }
    const stop = (): void => signal.removeEventListener('abort', onAbort)
    const watched: Watched<Answer> = { waiters: new Set(), stop }
    signal.addEventListener('abort', onAbort)
    this.#watched.set(signal, watched)
    return watched
  }

  #forget(signal: AbortSignal, watched: Watched<Answer>): void {
    watched.stop()
    this.#watched.delete(signal)
  }
}
