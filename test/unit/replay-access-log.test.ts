import { describe, expect, it } from 'vitest'
import { clientOf, newLineFields, parseLine, pathOf } from '../../lib/replay/access-log'

const STAMP = '[17/May/2015:10:05:03 +0000]'
const STAMP_MS = Date.UTC(2015, 4, 17, 10, 5, 3)

/** Parses `line` (Latin-1) in the middle of other bytes: the reason, or what was read. */
function parse(line: string) {
  const before = '" 200 1 "'
  const bytes = Buffer.from(`${before}${line}${before}`, 'latin1')
  const fields = newLineFields()
  const reason = parseLine(bytes, before.length, before.length + line.length, fields)
  if (reason !== undefined) return reason
  return { client: clientOf(bytes, fields), path: pathOf(bytes, fields), timeMs: fields.timeMs }
}

function parseRequest(request: string) {
  return parse(`192.0.2.1 - - ${STAMP} "${request}" 200 1`)
}

function parseStamp(stamp: string) {
  return parse(`192.0.2.1 - - ${stamp} "GET / HTTP/1.1" 200 1`)
}

describe('parseLine reads', () => {
  it.each([
    ['common format', `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.0" 200 2326`, '192.0.2.1'],
    [
      'combined format',
      `192.0.2.1 - bob ${STAMP} "GET /a HTTP/1.1" 200 5 "http://r/" "Agent (x)"`,
      '192.0.2.1',
    ],
    ['a size of -', `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" 304 -`, '192.0.2.1'],
    ['a status of -', `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" - -`, '192.0.2.1'],
    ['IPv6', `2001:db8::7 - - ${STAMP} "GET /a HTTP/1.1" 200 5`, '2001:db8::7'],
    ['a host name', `crawler.example.com - - ${STAMP} "GET /a HTTP/1.1" 200 5`, 'crawler.example.com'],
    ['no ident', `192.0.2.1 - ${STAMP} "GET /a HTTP/1.1" 200 5`, '192.0.2.1'],
    ['no ident and user', `192.0.2.1 ${STAMP} "GET /a HTTP/1.1" 200 5`, '192.0.2.1'],
    ['a user with spaces', `192.0.2.1 - bob the builder ${STAMP} "GET /a HTTP/1.1" 200 5`, '192.0.2.1'],
    ['a user with brackets', `192.0.2.1 - a[1] [b ${STAMP} "GET /a HTTP/1.1" 200 5`, '192.0.2.1'],
    ['a user that looks like a time', `192.0.2.1 - ${STAMP} ${STAMP} "GET /a HTTP/1.1" 200 5`, '192.0.2.1'],
    [
      'escaped quotes in the agent',
      `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" 200 5 "-" "a \\"b\\""`,
      '192.0.2.1',
    ],
    ['an agent cut short', `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" 200 5 "-" "Mozil`, '192.0.2.1'],
    ['further fields', `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" 200 5 "-" "-" 0.004 upstream`, '192.0.2.1'],
    ['bytes that are not UTF-8', `h\xf6st - \xff ${STAMP} "GET /a HTTP/1.1" 200 5 "\xe9"`, 'h\xf6st'],
  ])('%s', (_, line, client) => {
    expect(parse(line)).toEqual({ client, path: '/a', timeMs: STAMP_MS })
  })
})

describe('parseLine names the reason of', () => {
  it.each([
    ['', 'empty line'],
    [` - - ${STAMP} "GET / HTTP/1.1" 200 5`, 'no client at the start'],
    ['192.0.2.1', 'no client at the start'],
    ['192.0.2.1 - - "GET / HTTP/1.1" 200 5', 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'],
    [`192.0.2.1 - - ${STAMP} GET / 200 5`, 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'],
    [`192.0.2.1 - - ${STAMP}`, 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'],
    [
      `www.example.com:443 192.0.2.1 - - ${STAMP} "GET / HTTP/1.1" 200 5`,
      'more than client, ident and user before the time',
    ],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1`, 'the quoted request does not end'],
    [`192.0.2.1 - - ${STAMP} "GET /\\" 200 5`, 'the quoted request does not end'],
    [`192.0.2.1 - - ${STAMP} "GET /\\`, 'the quoted request does not end'],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1"`, 'no status and size after the request'],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1" 200`, 'no status and size after the request'],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1" 200 `, 'no status and size after the request'],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1" 20 5`, 'no status and size after the request'],
    [`192.0.2.1 - - ${STAMP} "GET / HTTP/1.1" 200 5x`, 'no status and size after the request'],
    [`192.0.2.1 - - ${STAMP} "GET /"a" HTTP/1.1" 200 5`, 'no status and size after the request'],
    ['\0\0\0\0 garbage', 'no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client'],
  ])('%j', (line, reason) => {
    expect(parse(line)).toBe(reason)
  })

  it('every prefix of a line, without reading past its end', () => {
    const line = `192.0.2.1 - - ${STAMP} "GET /a HTTP/1.1" 200 5`
    for (let length = 0; length < line.length; length++)
      expect(parse(line.slice(0, length))).toBeTypeOf('string')
  })
})

describe('the time', () => {
  it.each([
    ['[17/May/2015:12:05:03 +0200]', STAMP_MS],
    ['[17/May/2015:04:35:03 -0530]', STAMP_MS],
    ['[18/May/2015:00:05:03 +1400]', STAMP_MS],
    ['[29/Feb/2024:00:00:00 +0000]', Date.UTC(2024, 1, 29)],
    ['[29/Feb/2000:00:00:00 +0000]', Date.UTC(2000, 1, 29)],
    ['[31/Dec/2016:23:59:60 +0000]', Date.UTC(2017, 0, 1)],
    ['[01/Jan/1970:00:00:00 +0000]', 0],
    ['[31/Dec/2099:23:59:59 +0000]', Date.UTC(2099, 11, 31, 23, 59, 59)],
  ])('%s is read with its offset', (stamp, timeMs) => {
    expect(parseStamp(stamp)).toMatchObject({ timeMs })
  })

  it.each(
    ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'].map((m, i) => [
      m,
      i,
    ]),
  )('month %s', (name, month) => {
    expect(parseStamp(`[28/${name}/2023:00:00:00 +0000]`)).toMatchObject({
      timeMs: Date.UTC(2023, Number(month), 28),
    })
  })

  it.each([
    '[00/May/2015:10:05:03 +0000]',
    '[31/Apr/2015:10:05:03 +0000]',
    '[32/Jan/2015:10:05:03 +0000]',
    '[29/Feb/2023:10:05:03 +0000]',
    '[29/Feb/1900:10:05:03 +0000]',
    '[17/Mai/2015:10:05:03 +0000]',
    '[17/May/2015:24:05:03 +0000]',
    '[17/May/2015:10:60:03 +0000]',
    '[17/May/2015:10:05:61 +0000]',
    '[17/May/2015:10:05:03 +0060]',
    '[17/May/0015:10:05:03 +0000]',
    '[31/Dec/1969:23:59:59 +0000]',
    '[01/Jan/2100:00:00:00 +0000]',
    '[31/Dec/9999:23:59:59 +0000]',
    '[01/Jan/1970:00:00:00 +0100]',
  ])('%s is refused', (stamp) => {
    expect(parseStamp(stamp)).toBe('the time does not exist, or is not from 1970 to 2099')
  })

  it('is not read from other shapes', () => {
    for (const stamp of [
      '[7/May/2015:10:05:03 +0000]',
      '[17/May/2015 10:05:03 +0000]',
      '[17/May/2015:10:05:03 0000]',
    ]) {
      expect(parseStamp(stamp)).toBe('no [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" after the client')
    }
  })
})

describe('the path', () => {
  it.each([
    ['GET /a/b HTTP/1.1', '/a/b'],
    ['GET /a?x=1&y=/z HTTP/1.1', '/a'],
    ['GET /a#top?x HTTP/1.1', '/a'],
    ['GET /a?x#y HTTP/1.1', '/a'],
    ['GET /?x HTTP/2.0', '/'],
    ['GET /a b HTTP/1.1', '/a b'],
    ['GET /a', '/a'],
    ['GET /a\\"b HTTP/1.1', '/a\\"b'],
    ['GET /a\\\\ HTTP/1.1', '/a\\\\'],
    ['GET /%7Ebob HTTP/1.1', '/%7Ebob'],
    ['GET /caf\xe9 HTTP/1.1', '/caf\xe9'],
    ['GET http://example.com/a?x HTTP/1.1', '/a'],
    ['GET HTTPS://example.com HTTP/1.1', '/'],
    ['OPTIONS * HTTP/1.1', '*'],
    ['CONNECT example.com:443 HTTP/1.1', 'example.com:443'],
    ['GET  HTTP/1.1', '/'],
    ['\\x16\\x03\\x01', '\\x16\\x03\\x01'],
    ['-', '-'],
    ['', '-'],
  ])('of %j is %j', (request, path) => {
    expect(parseRequest(request)).toMatchObject({ path })
  })
})
