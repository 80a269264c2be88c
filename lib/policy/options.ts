import { rangeError, shown, typeError } from '../errors/errors'

/** The numbers an option accepts. */
export interface Range {
  readonly min: number
  readonly max: number
  readonly integer: boolean
}

export const TOKENS: Range = { min: 1, max: Number.MAX_SAFE_INTEGER, integer: true }
/** From a microsecond to about 146 years. */
export const WINDOW_MS: Range = { min: 0.001, max: 4_611_686_018_427, integer: false }
export const MAX_KEYS: Range = { min: 1, max: 2 ** 31, integer: true }

function accepted({ min, max, integer }: Range): string {
  return `${integer ? 'an integer' : 'a number'} from ${min} to ${max}`
}

/** `value`, if it lies in the range. @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkNumber(name: string, value: unknown, range: Range): number {
  if (typeof value !== 'number') {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `${name} must be ${accepted(range)}; got ${shown(value)}`)
  }
  if (!(value >= range.min && value <= range.max) || (range.integer && !Number.isInteger(value))) {
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `${name} must be ${accepted(range)}; got ${shown(value)}`)
  }
  return value
}

/** `value`, or false if it is absent. @throws TypeError ERR_SLUICE_OPTION_TYPE */
export function checkSwitch(name: string, value: unknown): boolean {
  if (value === undefined) return false
  if (typeof value === 'boolean') return value
  throw typeError('ERR_SLUICE_OPTION_TYPE', `${name} must be true or false; got ${shown(value)}`)
}

/** `value`, if it is one of `choices`. @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE */
export function checkChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  const list = choices.map((choice) => `'${choice}'`).join(' or ')
  if (typeof value !== 'string') {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `${name} must be ${list}; got ${shown(value)}`)
  }
  if (!(choices as readonly string[]).includes(value)) {
    throw rangeError('ERR_SLUICE_OPTION_RANGE', `${name} must be ${list}; got ${shown(value)}`)
  }
  return value as T
}

/**
 * A plain object whose own properties are all `known`. Inherited ones are not looked at.
 * @throws TypeError ERR_SLUICE_OPTION_TYPE, TypeError ERR_SLUICE_OPTION_UNKNOWN with the nearest valid name
 */
export function checkObject(name: string, value: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `${name} must be an object; got ${shown(value)}`)
  }
  const options: Record<string, unknown> = Object.assign(Object.create(null), value)
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    throw typeError(
      'ERR_SLUICE_OPTION_UNKNOWN',
      `${name} has no ${shown(key)}; did you mean '${nearest(key, known)}'? It knows ${known.join(', ')}`,
    )
  }
  return options
}

/** The candidate that takes the fewest edits to reach. */
export function nearest(word: string, candidates: readonly string[]): string {
  const distances = candidates.map((candidate) =>
    editDistance(word.slice(0, 64).toLowerCase(), candidate.toLowerCase()),
  )
  return candidates[distances.indexOf(Math.min(...distances))] ?? ''
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitute, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}
