import { type FlagSpec, UsageError } from './flags'

/** For commands that take a KEY. */
export const INTEGER_FLAG: FlagSpec = {
  name: 'integer',
  help: 'KEY is an integer, as in consume(42), not a string',
}

export const KEY_HELP = `A KEY that begins with - goes after --, as in: -- -5
Keys of bytes (Uint8Array) cannot be given here.`

/** Checks how many there are. Throws UsageError that shows `usage`. */
export function positionalsOf(
  given: readonly string[],
  usage: string,
  least: number,
  most: number,
): readonly string[] {
  if (given.length > most) {
    throw new UsageError(`unexpected argument ${JSON.stringify(given[most])}; usage: ${usage}`)
  }
  if (given.length < least) {
    const missing = given.length === 0 ? 'NAME is missing (`sluice regions` lists all)' : 'KEY is missing'
    throw new UsageError(`${missing}; usage: ${usage}`)
  }
  return given
}

/** The key that a command line means. Throws UsageError. */
export function keyOf(text: string, isInteger: boolean): string | number {
  if (!isInteger) return text
  const key = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(key)) return key + 0 // no -0
  const most = Number.MAX_SAFE_INTEGER
  throw new UsageError(
    `with --integer, KEY must be an integer from ${-most} to ${most}; got ${JSON.stringify(text)}`,
  )
}

/** What to say of a key that nothing is known of, if it may be the wrong kind of key; else nothing. */
export function kindHint(key: string | number): string {
  if (typeof key === 'number') return ' (looked up as an integer; leave out --integer for a string)'
  return /^-?\d{1,16}$/.test(key) ? ' (looked up as a string; for an integer, add --integer)' : ''
}
