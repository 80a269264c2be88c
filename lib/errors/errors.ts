/** What every error of sluice carries: a stable code, documented in docs/errors.md. */
export interface CodedError extends Error {
  readonly code: ErrorCode
}

/** Every code that sluice throws with. The native engine throws the same ones. */
export const ERROR_CODES = [
  'ERR_SLUICE_OPTION_UNKNOWN',
  'ERR_SLUICE_OPTION_TYPE',
  'ERR_SLUICE_OPTION_RANGE',
  'ERR_SLUICE_POLICY',
  'ERR_SLUICE_TIER_UNKNOWN',
  'ERR_SLUICE_KEY_TYPE',
  'ERR_SLUICE_KEY_RANGE',
  'ERR_SLUICE_ARGUMENT_TYPE',
  'ERR_SLUICE_ARGUMENT_RANGE',
  'ERR_SLUICE_CLOCK',
  'ERR_SLUICE_CLOSED',
  'ERR_SLUICE_UNSUPPORTED',
  'ERR_SLUICE_RELEASED',
  'ERR_SLUICE_SETTLED',
  'ERR_SLUICE_QUEUE_FULL',
  'ERR_SLUICE_WAIT_TIMEOUT',
  'ERR_SLUICE_TOO_COSTLY',
  'ERR_SLUICE_DUMP',
  'ERR_SLUICE_UNAVAILABLE',
  'ERR_SLUICE_NO_MEMORY',
  'ERR_SLUICE_HANDLE',
  'ERR_SLUICE_SHARED_UNSUPPORTED',
  'ERR_SLUICE_SHARED_MISMATCH',
  'ERR_SLUICE_SHARED_NOT_FOUND',
  'ERR_SLUICE_SHARED_OWNER',
  'ERR_SLUICE_SHARED_VERSION',
  'ERR_SLUICE_SHARED_CORRUPT',
  'ERR_SLUICE_SHARED_FULL',
  'ERR_SLUICE_SHARED_BUSY',
  'ERR_SLUICE_SHARED_SYSTEM',
  'ERR_SLUICE_NATIVE_LOAD',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** A value of the wrong type. */
export function typeError(code: ErrorCode, message: string): TypeError & CodedError {
  return Object.assign(new TypeError(message), { code })
}

/** A value of the right type that is not accepted. */
export function rangeError(code: ErrorCode, message: string): RangeError & CodedError {
  return Object.assign(new RangeError(message), { code })
}

/** Something outside of the program that did not do its part. */
export function unavailableError(message: string, cause?: unknown): Error & CodedError {
  return Object.assign(new Error(message, { cause }), { code: 'ERR_SLUICE_UNAVAILABLE' as const })
}

/** How a message shows the value it is about: short, and safe for any value. */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return value.length > 40 ? `${JSON.stringify(value.slice(0, 40))}...` : JSON.stringify(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol') return 'a symbol'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return Object.is(value, -0) ? '-0' : String(value)
}
