import { shown, typeError } from '../errors/errors'
import { checkNumber, checkObject, type Range } from '../policy/options'

/** How a call of `wait` waits. */
export interface WaitOptions {
  /**
   * Gives the wait up when it aborts: the promise rejects with the signal's reason, and the place in the queue is free. If
   * it had aborted before, nothing is tried. A call that was booked already, and is only held back until it may go out
   * (`leaky-bucket`, `evenly`), stays spent.
   */
  signal?: AbortSignal
  /**
   * The longest wait, in ms, on the limiter's clock, counted down to the µs; from 0 (try once, if nobody is before it) to
   * `Infinity`, the default. Who comes to the head of the queue and learns that it would take longer is told at once,
   * and has spent nothing. On the machine's clock timers may ring a little late; the promise may then settle later by that.
   */
  maxWaitMs?: number
  /**
   * Higher ones go first; those of the same priority in the order in which they came. A safe integer, which may be
   * negative; default 0. Who was booked already is not overtaken.
   */
  priority?: number
}

/** Validated options. */
export interface WaitSettings {
  readonly signal: AbortSignal | undefined
  readonly maxWaitMs: number
  readonly priority: number
}

const KNOWN_OPTIONS = ['signal', 'maxWaitMs', 'priority'] as const
const MAX_WAIT_MS: Range = { min: 0, max: Number.POSITIVE_INFINITY, integer: false }
const PRIORITY: Range = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, integer: true }
const DEFAULTS: WaitSettings = { signal: undefined, maxWaitMs: Number.POSITIVE_INFINITY, priority: 0 }

/** @throws TypeError ERR_SLUICE_OPTION_TYPE, ERR_SLUICE_OPTION_UNKNOWN; RangeError ERR_SLUICE_OPTION_RANGE */
export function checkWaitOptions(value: unknown): WaitSettings {
  if (value === undefined) return DEFAULTS
  const { signal, maxWaitMs, priority } = checkObject('options', value, KNOWN_OPTIONS)
  return {
    signal: signal === undefined ? undefined : checkSignal(signal),
    maxWaitMs:
      maxWaitMs === undefined ? DEFAULTS.maxWaitMs : checkNumber('maxWaitMs', maxWaitMs, MAX_WAIT_MS),
    priority: priority === undefined ? DEFAULTS.priority : checkNumber('priority', priority, PRIORITY),
  }
}

/** Asks what it can do, not whose class it is: a test environment may have an AbortSignal of its own. */
function checkSignal(value: unknown): AbortSignal {
  const signal = value as AbortSignal | null
  const isSignal =
    typeof signal === 'object' &&
    signal !== null &&
    typeof signal.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function'
  if (!isSignal) {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `signal must be an AbortSignal; got ${shown(value)}`)
  }
  return signal
}
