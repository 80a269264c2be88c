import { types } from 'node:util'
import { rangeError, shown, typeError } from '../errors/errors'
import type { Key } from '../limiter/view'

/**
 * The Redis key of `key`. Different keys have different ones: `<prefix>:` is followed by a brace for text, by `n` for an
 * integer, `b` for bytes, and `u` for text that UTF-8 cannot say (halves of characters) or that has a closing brace (it could
 * look like a key of another prefix).
 * @throws TypeError ERR_SLUICE_KEY_TYPE, RangeError ERR_SLUICE_KEY_RANGE, as the engine does
 */
export function redisKey(prefix: string, key: Key): string {
  if (typeof key === 'string') return isPlain(key) ? `${prefix}:{${key}}` : `${prefix}:u{${unitsOf(key)}}`
  if (typeof key === 'number') {
    if (Number.isSafeInteger(key)) return `${prefix}:n{${key}}`
    throw rangeError('ERR_SLUICE_KEY_RANGE', `a numeric key must be a safe integer; got ${key}`)
  }
  if (types.isUint8Array(key)) return `${prefix}:b{${hexOf(key)}}`
  throw typeError(
    'ERR_SLUICE_KEY_TYPE',
    `key must be a string, a safe integer or a Uint8Array; got ${kindOf(key)}`,
  )
}

/** The key whose Redis key that is; nothing if it is none's. */
export function keyOf(prefix: string, text: string): Key | undefined {
  if (!text.startsWith(`${prefix}:`) || !text.endsWith('}')) return undefined
  const key = decoded(text.slice(prefix.length + 1, -1))
  return key !== undefined && redisKey(prefix, key) === text ? key : undefined
}

/** `body`: all after the prefix and its colon, less the brace at the end. */
function decoded(body: string): Key | undefined {
  if (body.startsWith('{')) return body.slice(1)
  const content = body.slice(2)
  switch (body.slice(0, 2)) {
    case 'n{':
      return Number.isSafeInteger(Number(content)) ? Number(content) : undefined
    case 'b{':
      return new Uint8Array(Buffer.from(content, 'hex'))
    case 'u{':
      return content.replace(/[0-9a-f]{4}/g, (unit) => String.fromCharCode(Number.parseInt(unit, 16)))
    default:
      return undefined
  }
}

const MAX_PREFIX_CHARACTERS = 128

/**
 * What all keys in Redis begin with. May have one hash tag (`{tag}`), which then puts all of them on one slot.
 * @throws TypeError ERR_SLUICE_OPTION_TYPE, RangeError ERR_SLUICE_OPTION_RANGE
 */
export function checkPrefix(value: unknown): string {
  if (typeof value !== 'string') {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `prefix must be a string; got ${shown(value)}`)
  }
  if (value.length < 1 || value.length > MAX_PREFIX_CHARACTERS || !isWellFormed(value)) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `prefix must have 1 to ${MAX_PREFIX_CHARACTERS} characters of Unicode; got ${shown(value)}, which has ${value.length}`,
    )
  }
  if (!/^[^{}]*(\{[^{}]+\}[^{}]*)?$/.test(value)) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `prefix may have braces only for one hash tag, as in 'app:{eu}'; got ${shown(value)}`,
    )
  }
  return value
}

/** Whether it may stand in a Redis key as it is. */
function isPlain(key: string): boolean {
  return isWellFormed(key) && !key.includes('}')
}

/** Whether it has no half of a character. */
function isWellFormed(text: string): boolean {
  // Every Node has it that we support; the language level that TypeScript checks against does not.
  return (text as string & { isWellFormed(): boolean }).isWellFormed()
}

/** Its UTF-16 code units, four hexadecimal digits each. */
function unitsOf(text: string): string {
  return Buffer.from(text, 'utf16le').swap16().toString('hex')
}

function hexOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex')
}

/** As the engine says what it got. */
function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
