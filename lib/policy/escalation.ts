import { rangeError, shown, typeError } from '../errors/errors'
import { checkNumber, checkObject, type Range } from './options'

/** Blocks for those who go on after being refused. */
export interface EscalationOptions {
  /**
   * How long a key is blocked for its first offence, its second, and so on, in ms; the last one repeats. An offence is a
   * call refused as `limited`. 1 to 8 integers from 1 to about 69 years.
   */
  blockMs: readonly number[]
  /** How long after the end of its last block a key's offences are forgotten, in ms; as those of `blockMs`. */
  forgetMs: number
}

const MAX_STEPS = 8
const BLOCK_MS: Range = { min: 1, max: 2_190_000_000_000, integer: true }

/** The steps and `forgetMs`. @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkEscalation(value: unknown): EscalationOptions | undefined {
  if (value === undefined) return undefined
  const options = checkObject('escalate', value, ['blockMs', 'forgetMs'])
  const steps = options['blockMs']
  if (!Array.isArray(steps)) {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `escalate.blockMs must be an array of milliseconds; got ${shown(steps)}`,
    )
  }
  if (steps.length < 1 || steps.length > MAX_STEPS) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `escalate.blockMs must have 1 to ${MAX_STEPS} steps; got ${steps.length}`,
    )
  }
  return {
    blockMs: Array.from(steps, (step, i) => checkNumber(`escalate.blockMs[${i}]`, step, BLOCK_MS)),
    forgetMs: checkNumber('escalate.forgetMs', options['forgetMs'], BLOCK_MS),
  }
}
