import type { Readable } from 'node:stream'
import { clientOf, type Malformed, newLineFields, parseLine, pathOf } from './access-log'
import { LineSplitter } from './line-splitter'
import { readLog } from './log-source'
import { Interner, type LoggedRequests, RecordColumns } from './records'

/** What is counted: requests by client address, by path, or by the pair. */
export const KEY_KINDS = ['ip', 'path', 'ip+path'] as const
export type KeyKind = (typeof KEY_KINDS)[number]

/** A line that is no access log line, by file (as given) and line number (from 1). */
export interface MalformedLine {
  file: string
  line: number
  reason: Malformed
}

/** What several logs hold. */
export interface LogContents {
  requests: LoggedRequests
  /** All lines: requests and malformed ones. */
  lines: number
  malformed: { total: number; first: MalformedLine[] }
}

/** Malformed lines that are named; the others are counted. */
export const NAMED_MALFORMED_LINES = 10

/** Reads logs one after the other. Throws InputError if one cannot be read. */
export async function readRequests(
  files: readonly string[],
  kind: KeyKind,
  stdin: Readable,
): Promise<LogContents> {
  const columns = new RecordColumns()
  const clients = new Interner()
  const keys = kind === 'ip' ? clients : new Interner()
  const fields = newLineFields()
  const malformed: LogContents['malformed'] = { total: 0, first: [] }
  let file = ''
  let lines = 0

  const onLine = (bytes: Buffer, start: number, end: number, line: number): void => {
    const reason = parseLine(bytes, start, end, fields)
    if (reason === undefined) {
      const client = clientOf(bytes, fields)
      const clientId = clients.idOf(client)
      const keyId = kind === 'ip' ? clientId : keys.idOf(keyOf(kind, client, pathOf(bytes, fields)))
      columns.push(fields.timeMs, keyId, clientId)
    } else if (++malformed.total <= NAMED_MALFORMED_LINES) {
      malformed.first.push({ file, line, reason })
    }
  }

  for (file of files) {
    const splitter = new LineSplitter(onLine)
    for await (const chunk of readLog(file, stdin)) splitter.push(chunk)
    splitter.end()
    lines += splitter.lines
  }
  return { requests: columns.finish(keys.strings, clients.strings), lines, malformed }
}

function keyOf(kind: 'path' | 'ip+path', client: string, path: string): string {
  return kind === 'path' ? path : `${client} ${path}`
}
