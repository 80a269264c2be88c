/**
 * Reads one line of a web access log in the common or the combined format:
 *
 *     client ident user [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" status size ...
 *
 * Works on bytes and decodes only what is asked for, so that a line costs no garbage but its key.
 */

/** Where the parts of a line are, as offsets into its bytes. One object is reused for all lines. */
export interface LineFields {
  /** Milliseconds since 1970-01-01 UTC, the offset of the stamp applied. */
  timeMs: number
  clientStart: number
  clientEnd: number
  requestStart: number
  requestEnd: number
}

/** Why a line is not an access log line. */
export type Malformed =
  | 'empty line'
  | 'no client at the start'
  | 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'
  | 'more than client, ident and user before the time'
  | 'the time does not exist, or is not from 1970 to 2099'
  | 'the quoted request does not end'
  | 'no status and size after the request'

const SPACE = 0x20
const QUOTE = 0x22
const BACKSLASH = 0x5c
const HASH = 0x23
const MINUS = 0x2d
const QUESTION = 0x3f
const OPEN_BRACKET = 0x5b
const STAMP_BYTES = 26
/** What the limiter's clock takes, in whole years. */
const MAX_TIME_MS = Date.UTC(2100, 0)
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const MONTH_BY_BYTES = new Map(MONTHS.map((name, month) => [packed(Buffer.from(name), 0), month]))

/** An empty record for `parseLine` to fill. */
export function newLineFields(): LineFields {
  return { timeMs: 0, clientStart: 0, clientEnd: 0, requestStart: 0, requestEnd: 0 }
}

/**
 * Reads the line in bytes[start, end) into `out`. Returns undefined, or the reason why it is malformed.
 * What follows status and size (referer, user agent, anything) is not looked at.
 */
export function parseLine(bytes: Buffer, start: number, end: number, out: LineFields): Malformed | undefined {
  if (start === end) return 'empty line'
  const clientEnd = indexOfByte(bytes, SPACE, start, end)
  if (clientEnd === start || clientEnd === end) return 'no client at the start'
  const stamp = findStamp(bytes, clientEnd, end)
  if (stamp < 0) return 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'
  if (!identAndUserFit(bytes, clientEnd + 1, stamp - 1))
    return 'more than client, ident and user before the time'
  out.timeMs = readStamp(bytes, stamp + 1)
  if (!(out.timeMs >= 0 && out.timeMs < MAX_TIME_MS))
    return 'the time does not exist, or is not from 1970 to 2099'
  out.clientStart = start
  out.clientEnd = clientEnd
  out.requestStart = stamp + STAMP_BYTES + 4
  out.requestEnd = closingQuote(bytes, out.requestStart, end)
  if (out.requestEnd === end) return 'the quoted request does not end'
  return hasStatusAndSize(bytes, out.requestEnd + 1, end) ? undefined : 'no status and size after the request'
}

/** The client (address or host name) of a parsed line, as Latin-1. */
export function clientOf(bytes: Buffer, line: LineFields): string {
  return bytes.toString('latin1', line.clientStart, line.clientEnd)
}

/**
 * The path of a parsed line, as Latin-1 and otherwise as logged: no query, no fragment, no `http://host`.
 * A request that is not `METHOD target PROTOCOL` (a TLS greeting, `-`) is its own path.
 */
export function pathOf(bytes: Buffer, line: LineFields): string {
  const { requestStart, requestEnd } = line
  const space = indexOfByte(bytes, SPACE, requestStart, requestEnd)
  if (space === requestEnd) return bytes.toString('latin1', requestStart, requestEnd) || '-'
  const lastSpace = bytes.lastIndexOf(SPACE, requestEnd - 1)
  const hasProtocol = lastSpace > space && bytes.toString('latin1', lastSpace + 1, lastSpace + 6) === 'HTTP/'
  const targetEnd = hasProtocol ? lastSpace : requestEnd
  const query = indexOfByte(bytes, QUESTION, space + 1, targetEnd)
  const path = bytes.toString('latin1', space + 1, indexOfByte(bytes, HASH, space + 1, query))
  return path.startsWith('/') ? path : path.replace(/^https?:\/\/[^/]*/i, '') || '/'
}

/** The offset of the first `byte` in bytes[start, end), or `end`. */
function indexOfByte(bytes: Buffer, byte: number, start: number, end: number): number {
  let at = start
  while (at < end && bytes[at] !== byte) at++
  return at
}

/** The offset of the `[` of the first ` [stamp] "` in bytes[start, end), or -1. Only the shape is checked. */
function findStamp(bytes: Buffer, start: number, end: number): number {
  const last = end - STAMP_BYTES - 4
  for (let at = start + 1; at <= last; at++) {
    if (bytes[at] === OPEN_BRACKET && bytes[at - 1] === SPACE && isStamp(bytes, at)) return at
  }
  return -1
}

const STAMP_SHAPE = Buffer.from('[00/Mon/0000:00:00:00 +0000] "')

/** Whether the bytes at `at` have the shape of STAMP_SHAPE: 0 is a digit, + is + or -, Mon is anything. */
function isStamp(bytes: Buffer, at: number): boolean {
  for (let i = 0; i < STAMP_SHAPE.length; i++) {
    const byte = byteAt(bytes, at + i)
    const shape = byteAt(STAMP_SHAPE, i)
    if (byte === shape || (i >= 4 && i <= 6)) continue
    if (shape === 0x30 ? byte < 0x30 || byte > 0x39 : !(shape === 0x2b && byte === MINUS)) return false
  }
  return true
}

/**
 * Between the client and the time stand ident and user, or less. A user name may hold spaces, but ident is
 * then `-`: anything else is another format (a virtual host first, say), whose first field is no client.
 */
function identAndUserFit(bytes: Buffer, start: number, end: number): boolean {
  const identEnd = indexOfByte(bytes, SPACE, start, end)
  if (identEnd >= end || indexOfByte(bytes, SPACE, identEnd + 1, end) === end) return true
  return identEnd === start + 1 && bytes[start] === MINUS
}

/** The time of the stamp `dd/Mon/yyyy:hh:mm:ss +zzzz` at `at` in ms, or NaN if there is no such moment. */
function readStamp(bytes: Buffer, at: number): number {
  const day = twoDigits(bytes, at)
  const month = MONTH_BY_BYTES.get(packed(bytes, at + 3))
  const year = twoDigits(bytes, at + 7) * 100 + twoDigits(bytes, at + 9)
  const hour = twoDigits(bytes, at + 12)
  const minute = twoDigits(bytes, at + 15)
  const second = twoDigits(bytes, at + 18) // 60 is a leap second
  const offsetHours = twoDigits(bytes, at + 22)
  const offsetMinutes = twoDigits(bytes, at + 24)
  if (month === undefined || day < 1 || hour > 23 || minute > 59 || second > 60 || offsetMinutes > 59)
    return Number.NaN
  if (day > daysInMonth(year, month)) return Number.NaN
  const offset = (offsetHours * 60 + offsetMinutes) * (bytes[at + 21] === MINUS ? -60_000 : 60_000)
  return year < 100 ? Number.NaN : Date.UTC(year, month, day, hour, minute, second) - offset
}

function daysInMonth(year: number, month: number): number {
  if (month === 1) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 3 || month === 5 || month === 8 || month === 10 ? 30 : 31
}

/** The offset of the first quote that no backslash escapes, or `end`. */
function closingQuote(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at++) {
    if (bytes[at] === BACKSLASH) at++
    else if (bytes[at] === QUOTE) return at
  }
  return end
}

/** Whether bytes[start, end) begin with ` status size`, each a number or `-`, and end there or go on after a space. */
function hasStatusAndSize(bytes: Buffer, start: number, end: number): boolean {
  if (start >= end || bytes[start] !== SPACE) return false
  const statusEnd = numberEnd(bytes, start + 1, end)
  const statusBytes = statusEnd - start - 1
  if (statusBytes !== 3 && !(statusBytes === 1 && bytes[start + 1] === MINUS)) return false
  if (statusEnd >= end || bytes[statusEnd] !== SPACE) return false
  const sizeEnd = numberEnd(bytes, statusEnd + 1, end)
  return sizeEnd > statusEnd + 1 && (sizeEnd === end || bytes[sizeEnd] === SPACE)
}

/** The end of the digits, or of the single `-`, at `start`. */
function numberEnd(bytes: Buffer, start: number, end: number): number {
  if (start < end && bytes[start] === MINUS) return start + 1
  let at = start
  while (at < end && byteAt(bytes, at) >= 0x30 && byteAt(bytes, at) <= 0x39) at++
  return at
}

function twoDigits(bytes: Buffer, at: number): number {
  return (byteAt(bytes, at) - 0x30) * 10 + byteAt(bytes, at + 1) - 0x30
}

function packed(bytes: Buffer, at: number): number {
  return (byteAt(bytes, at) << 16) | (byteAt(bytes, at + 1) << 8) | byteAt(bytes, at + 2)
}

function byteAt(bytes: Buffer, at: number): number {
  return bytes[at] ?? -1
}
