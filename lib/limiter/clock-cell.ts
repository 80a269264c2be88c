import { rangeError, shown, typeError } from '../errors/errors'
import type { ClockCell } from '../native/engine'
import { type ClockFunction, cellOf, ManualClock } from '../time/clock'
import { type WaitingClock, waitingClock } from '../waiting/waiting-clock'

/** Where the engine reads a user's clock, and what writes the time there before each call. */
export interface ClockSource {
  readonly cell: ClockCell
  /** Absent where the engine sees the time itself. */
  readonly read: (() => void) | undefined
  /** The same time for those who wait. */
  readonly waiting: WaitingClock
}

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_CLOCK */
export function clockSource(clock: unknown): ClockSource {
  if (clock === undefined) return { cell: undefined, read: undefined, waiting: waitingClock(undefined) }
  if (clock instanceof ManualClock)
    return { cell: cellOf(clock), read: undefined, waiting: waitingClock(clock) }
  if (typeof clock !== 'function') {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `clock must be a ManualClock or a function; got ${shown(clock)}`,
    )
  }
  const cell = new Float64Array(1)
  const read = () => {
    const ms: unknown = clock()
    if (typeof ms !== 'number')
      throw rangeError('ERR_SLUICE_CLOCK', `clock must return milliseconds; got ${shown(ms)}`)
    cell[0] = ms
  }
  read()
  return { cell, read, waiting: waitingClock(clock as ClockFunction) }
}
