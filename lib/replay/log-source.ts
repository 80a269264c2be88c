import { createReadStream } from 'node:fs'
import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'

/** The file name that means standard input. */
export const STDIN_NAME = '-'

/** A log cannot be read or is too large to replay. The message is one line that names the file. */
export class InputError extends Error {
  override readonly name = 'InputError'
}

const CHUNK_BYTES = 256 * 1024

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  Z_BUF_ERROR: 'the gzip data ends too early: the file is truncated',
  Z_DATA_ERROR: 'the gzip data is damaged',
}

/**
 * Yields the bytes of a log, unpacked if they begin like gzip, whatever the file is called.
 * `-` reads `stdin`. Throws InputError if the file cannot be opened, read or unpacked.
 */
export async function* readLog(name: string, stdin: Readable): AsyncGenerator<Buffer> {
  const raw = name === STDIN_NAME ? stdin : createReadStream(name, { highWaterMark: CHUNK_BYTES })
  try {
    const chunks: AsyncIterator<Buffer> = raw[Symbol.asyncIterator]()
    const head = await readHead(chunks)
    const bytes = rejoin(head, chunks)
    yield* isGzip(head) ? gunzip(bytes) : bytes
  } catch (error) {
    throw new InputError(`cannot read ${sourceLabel(name)}: ${reasonOf(error)}`, { cause: error })
  } finally {
    raw.destroy()
  }
}

/** How a log is called in messages: its name as given, in quotes if it would not stand alone. */
export function sourceLabel(name: string): string {
  if (name === STDIN_NAME) return 'standard input'
  return /^[\w./:@%+,=~-]+$/.test(name) ? name : JSON.stringify(name)
}

/** Reads on until there are the two bytes that tell gzip, or the input ends. */
async function readHead(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0)
  while (head.length < 2) {
    const next = await chunks.next()
    if (next.done) break
    head = Buffer.concat([head, next.value])
  }
  return head
}

async function* rejoin(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
}

function isGzip(head: Buffer): boolean {
  return head[0] === 0x1f && head[1] === 0x8b
}

/** Unpacks gzip, also several members one after the other. An error of either side ends the iteration with it. */
function gunzip(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  return pipeline(Readable.from(chunks), createGunzip({ chunkSize: CHUNK_BYTES }), () => {})
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return (code === undefined ? undefined : REASONS[code]) ?? code ?? String(message).replace(/\s+/g, ' ')
}
