import { rangeError, shown, typeError } from '../errors/errors'
import { checkTokens } from '../limiter/reservation'
import { LONGEST_DELAY_MS } from '../limiter/waiting'

/** @throws TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE */
export function checkCost(cost: unknown): void {
  // Nearly all there are.
  if (cost !== 1) checkTokens('cost', cost)
}

/** A span of time, in whole µs. @throws TypeError ERR_SLUICE_ARGUMENT_TYPE, RangeError ERR_SLUICE_ARGUMENT_RANGE */
export function checkSpanUs(name: string, ms: unknown): number {
  const accepted = `a number of milliseconds from 0 to ${LONGEST_DELAY_MS}`
  if (typeof ms !== 'number') {
    throw typeError('ERR_SLUICE_ARGUMENT_TYPE', `${name} must be ${accepted}; got ${shown(ms)}`)
  }
  if (!(ms >= 0 && ms <= LONGEST_DELAY_MS)) {
    throw rangeError('ERR_SLUICE_ARGUMENT_RANGE', `${name} must be ${accepted}; got ${shown(ms)}`)
  }
  return Math.round(ms * 1000)
}
