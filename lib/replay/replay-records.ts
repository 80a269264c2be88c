import { at, type ReplayRecords, timeOrder } from './records'

/** What replay needs of a limiter: a decision about one request of cost 1. */
export interface DecidingLimiter {
  allow(key: string): boolean
}

/** What replay needs of the limiter's clock. */
export interface SettableClock {
  set(nowMs: number): void
}

/** Receives each decision in the order it is made. `index` is the request's place in the log, from 0. */
export type OnDecision = (index: number, key: string, timeMs: number, allowed: boolean) => void

/**
 * Puts every request to `limiter` in the order of time, with `clock` (the limiter's own) set to the request's
 * time before. Equal times keep the order of the log.
 */
export function replayRecords(
  records: ReplayRecords,
  limiter: DecidingLimiter,
  clock: SettableClock,
  onDecision: OnDecision,
): void {
  const order = timeOrder(records.timesMs)
  let nowMs = Number.NaN
  for (let i = 0; i < records.length; i++) {
    const index = order === undefined ? i : at(order, i)
    const timeMs = at(records.timesMs, index)
    const key = records.keys[at(records.keyIds, index)] ?? ''
    if (timeMs !== nowMs) {
      clock.set(timeMs)
      nowMs = timeMs
    }
    onDecision(index, key, timeMs, limiter.allow(key))
  }
}
