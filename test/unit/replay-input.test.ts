import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { LineSplitter, MAX_LINE_BYTES } from '../../lib/replay/line-splitter'
import { InputError, readLog } from '../../lib/replay/log-source'
import { readRequests } from '../../lib/replay/read-requests'

const folder = mkdtempSync(join(tmpdir(), 'sluice-replay-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, content: Buffer | string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

function stdinOf(...chunks: (Buffer | string)[]): Readable {
  return Readable.from(chunks.map((chunk) => Buffer.from(chunk)))
}

function line(client: string, second: number, path = '/'): string {
  return `${client} - - [17/May/2015:10:05:${String(second).padStart(2, '0')} +0000] "GET ${path} HTTP/1.1" 200 5`
}

function split(...chunks: string[]): string[] {
  const lines: string[] = []
  const splitter = new LineSplitter((bytes, start, end, lineNumber) => {
    lines.push(bytes.toString('latin1', start, end))
    expect(lineNumber).toBe(lines.length)
  })
  for (const chunk of chunks) splitter.push(Buffer.from(chunk, 'latin1'))
  splitter.end()
  expect(splitter.lines).toBe(lines.length)
  return lines
}

async function readAll(name: string, stdin = stdinOf()): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of readLog(name, stdin)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('LineSplitter', () => {
  it.each([
    [[''], []],
    [['a\nb\n'], ['a', 'b']],
    [['a\nb'], ['a', 'b']],
    [['a\r\nb\r\n'], ['a', 'b']],
    [
      ['a\r', '\nb\r'],
      ['a', 'b'],
    ],
    [['\n\r\n'], ['', '']],
    [
      ['a', 'b', 'c\nd', '\n'],
      ['abc', 'd'],
    ],
    [
      ['a\n', 'b'],
      ['a', 'b'],
    ],
    [['a\rb\n'], ['a\rb']],
    [['\xff\xfe\n'], ['\xff\xfe']],
  ])('cuts %j into %j', (chunks, lines) => {
    expect(split(...chunks)).toEqual(lines)
  })

  it('gives the same lines however the bytes are cut', () => {
    const text = 'one\r\n\ntwo\nthree'
    for (let at = 0; at <= text.length; at++) {
      expect(split(text.slice(0, at), text.slice(at))).toEqual(['one', '', 'two', 'three'])
    }
    expect(split(...text)).toEqual(['one', '', 'two', 'three'])
  })

  it('keeps a bounded part of a line without end, and goes on after it', () => {
    const part = 'x'.repeat(MAX_LINE_BYTES / 2 + 1)
    const lines = split(part, part, part, 'tail\nnext\n')
    expect(lines.map(({ length }) => length)).toEqual([MAX_LINE_BYTES, 4])
  })
})

describe('readLog', () => {
  it('reads plain files, gzip by content whatever its name, and several gzip members', async () => {
    expect(await readAll(file('plain.gz', 'plain'))).toEqual(Buffer.from('plain'))
    expect(await readAll(file('packed.log', gzipSync('packed')))).toEqual(Buffer.from('packed'))
    const members = Buffer.concat([gzipSync('one '), gzipSync('two')])
    expect(await readAll(file('members', members))).toEqual(Buffer.from('one two'))
  })

  it('reads standard input as -, also gzip that comes byte by byte', async () => {
    expect(await readAll('-', stdinOf('text'))).toEqual(Buffer.from('text'))
    const bytes = Array.from(gzipSync('packed'), (byte) => Buffer.of(byte))
    expect(await readAll('-', stdinOf(...bytes))).toEqual(Buffer.from('packed'))
  })

  it('reads nothing from empty input, and one byte from one', async () => {
    expect(await readAll(file('empty', ''))).toHaveLength(0)
    expect(await readAll('-', stdinOf())).toHaveLength(0)
    expect(await readAll(file('one', '\x1f'))).toHaveLength(1)
  })

  it('says in one line what is wrong with a file', async () => {
    const packed = gzipSync(Array.from({ length: 500 }, (_, i) => `${i * 7919}`).join('\n'))
    const truncated = file('truncated', packed.subarray(0, packed.length - 20))
    const damaged = file('damaged', Buffer.concat([packed.subarray(0, 12), Buffer.alloc(80, 0xff)]))
    await expect(readAll(join(folder, 'missing'))).rejects.toThrow(/^cannot read .*missing: no such file$/)
    await expect(readAll(folder)).rejects.toThrow(/: it is a directory$/)
    await expect(readAll(truncated)).rejects.toThrow(
      /truncated: the gzip data ends too early: the file is truncated$/,
    )
    await expect(readAll(damaged)).rejects.toThrow(/damaged: the gzip data is damaged$/)
    await expect(readAll(join(folder, 'a\nb'))).rejects.toThrow(/a\\nb": no such file$/)
    await expect(readAll('-', stdinOf(gzipSync('x').subarray(0, 2)))).rejects.toThrow(InputError)
  })

  it('passes on the error of a stream that breaks', async () => {
    const broken = new Readable({ read: () => {} })
    broken.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
    await expect(readAll('-', broken)).rejects.toThrow('cannot read standard input: ECONNRESET')
  })
})

describe('readRequests', () => {
  it('collects the requests of all files in order and counts what is malformed', async () => {
    const first = file('first', `${line('192.0.2.1', 5)}\nrubbish\n\n${line('192.0.2.2', 4)}`)
    const second = file('second', gzipSync(`${line('192.0.2.1', 3)}\r\n`))
    const { requests, lines, malformed } = await readRequests([first, second], 'ip', stdinOf())
    expect(Array.from(requests.timesMs, (timeMs) => (timeMs / 1000) % 60)).toEqual([5, 4, 3])
    expect(Array.from(requests.keyIds)).toEqual([0, 1, 0])
    expect(requests.keys).toEqual(['192.0.2.1', '192.0.2.2'])
    expect(lines).toBe(5)
    expect(malformed).toEqual({
      total: 2,
      first: [
        { file: first, line: 2, reason: 'no client at the start' },
        { file: first, line: 3, reason: 'empty line' },
      ],
    })
  })

  it('names the first ten malformed lines only', async () => {
    const { malformed } = await readRequests(['-'], 'ip', stdinOf('x\n'.repeat(1000)))
    expect(malformed.total).toBe(1000)
    expect(malformed.first.map((entry) => entry.line)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  })

  it('keys by path or by the pair, and keeps the clients beside', async () => {
    const log = `${line('a', 1, '/x?1')}\n${line('b', 1, '/x?2')}\n${line('a', 1, '/y')}\n${line('a', 2, '/x')}\n`
    const byPath = await readRequests(['-'], 'path', stdinOf(log))
    expect(byPath.requests).toMatchObject({ keys: ['/x', '/y'], clients: ['a', 'b'] })
    expect(Array.from(byPath.requests.clientIds)).toEqual([0, 1, 0, 0])
    const byPair = await readRequests(['-'], 'ip+path', stdinOf(log))
    expect(byPair.requests.keys).toEqual(['a /x', 'b /x', 'a /y'])
    expect(Array.from(byPair.requests.keyIds)).toEqual([0, 1, 2, 0])
  })

  it('grows with the log', async () => {
    const many = Array.from({ length: 20_000 }, (_, i) => line(`host${i % 7000}`, i % 60)).join('\n')
    const { requests } = await readRequests(['-'], 'ip', stdinOf(many))
    expect(requests.length).toBe(20_000)
    expect(requests.keys[requests.keyIds[19_999] ?? 0]).toBe(`host${19_999 % 7000}`)
    expect(requests.timesMs[12_345]).toBe(Date.UTC(2015, 4, 17, 10, 5, 12_345 % 60))
  })
})
