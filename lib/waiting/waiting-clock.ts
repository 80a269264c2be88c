import { rangeError, shown } from '../errors/errors'
import { type ClockFunction, ManualClock, watchersOf } from '../time/clock'

/** The time as a waiting room sees it: in µs since any moment, never going back. */
export interface WaitingClock {
  /** @throws whatever a user's clock throws; RangeError ERR_SLUICE_CLOCK if it gives no time */
  nowUs(): number
  /**
   * Calls back once at `dueUs`, or before: so look at the clock. May be `Infinity`: then it only keeps the process alive.
   * What is called is told until when to go on; nothing means the present.
   * @returns what cancels it
   * @throws as nowUs
   */
  schedule(dueUs: number, callback: (untilUs?: number) => void): () => void
}

/** setTimeout takes no more; 24.8 days. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1
/** As the engine does (ForwardOnly in native/core/clock.h). */
const WAITED_OUT_US = 10_000_000
const LATEST_MS = 9e12

/** @param clock of the limiter: none for the machine's */
export function waitingClock(clock: ManualClock | ClockFunction | undefined): WaitingClock {
  if (clock === undefined)
    return { nowUs: machineUs, schedule: (dueUs, run) => timeout(dueUs - machineUs(), run) }
  if (clock instanceof ManualClock) return manual(clock)
  const nowUs = forwardOnly(clock)
  return { nowUs, schedule: (dueUs, run) => timeout(dueUs - nowUs(), run) }
}

/** Milliseconds in whole µs, rounded up. */
export function toUs(ms: number): number {
  if (ms === Number.POSITIVE_INFINITY) return ms
  const us = ms * 1000
  return Math.ceil(us - roundedBy(us))
}

/** Milliseconds in whole µs, rounded down. */
export function floorUs(ms: number): number {
  if (ms === Number.POSITIVE_INFINITY) return ms
  const us = ms * 1000
  return Math.floor(us + roundedBy(us))
}

/** By how much the product and the number itself may have been rounded, so that 0.07 ms are 70 µs. */
function roundedBy(us: number): number {
  return Math.min(us * 2 ** -51, 0.0005)
}

// The timers and clocks of the language are looked up at each call, because tests replace them.
function machineUs(): number {
  return performance.now() * 1000
}

function timeout(delayUs: number, callback: () => void): () => void {
  const delayMs = Math.min(Math.max(Math.ceil(delayUs / 1000), 1), LONGEST_TIMEOUT_MS)
  const timer = setTimeout(() => callback(), delayMs)
  return () => clearTimeout(timer)
}

function manual(clock: ManualClock): WaitingClock {
  const nowUs = forwardOnly(() => clock.now())
  const watchers = watchersOf(clock)
  const schedule = (dueUs: number, callback: (untilUs?: number) => void): (() => void) => {
    const watcher = {
      overdueUs: () => {
        try {
          return nowUs() - dueUs
        } catch {
          // Called at once, and finds out for itself.
          return Number.POSITIVE_INFINITY
        }
      },
      step: () => {
        watchers.delete(watcher)
        callback(dueUs)
      },
    }
    watchers.add(watcher)
    return () => watchers.delete(watcher)
  }
  return { nowUs, schedule }
}

/** What the engine makes of a user's clock: whole µs, steps back waited out or, if they are long, taken as none. */
function forwardOnly(clock: () => unknown): () => number {
  let latestUs = Number.NEGATIVE_INFINITY
  let offsetUs = 0
  return () => {
    const ms = clock()
    if (typeof ms !== 'number' || !(Math.abs(ms) <= LATEST_MS)) {
      throw rangeError('ERR_SLUICE_CLOCK', `clock must return milliseconds; got ${shown(ms)}`)
    }
    const us = Math.round(ms * 1000) + offsetUs
    if (latestUs - us > WAITED_OUT_US) offsetUs += latestUs - us
    else latestUs = Math.max(latestUs, us)
    return latestUs
  }
}
