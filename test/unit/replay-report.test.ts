import { describe, expect, it } from 'vitest'
import { Histogram, MAX_ROWS } from '../../lib/replay/histogram'
import type { LogContents } from '../../lib/replay/read-requests'
import { Interner, RecordColumns, timeOrder } from '../../lib/replay/records'
import { replayRecords } from '../../lib/replay/replay-records'
import { type OpenEngine, replay } from '../../lib/replay/report'
import { durationText, percentText, printable, reportText } from '../../lib/replay/report-text'

const START_MS = Date.UTC(2024, 0, 1)
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Requests as [client, second] or [client, second, path]; keyed by path if there is one. */
function contentsOf(rows: [string, number, string?][]): LogContents {
  const columns = new RecordColumns()
  const clients = new Interner()
  const keys = new Interner()
  for (const [client, second, path] of rows) {
    columns.push(START_MS + second * 1000, keys.idOf(path ?? client), clients.idOf(client))
  }
  const requests = columns.finish(keys.strings, clients.strings)
  return { requests, lines: rows.length, malformed: { total: 0, first: [] } }
}

/** An engine that admits `policy.limit` requests of each key in each `windowMs` of the epoch, and no more. */
const openFake: OpenEngine = ({ limit, windowMs }, _keys, startMs) => {
  let nowMs = startMs
  const counts = new Map<string, number>()
  const allow = (key: string) => {
    const slot = `${Math.floor(nowMs / windowMs)} ${key}`
    const count = (counts.get(slot) ?? 0) + 1
    counts.set(slot, count)
    return count <= limit
  }
  return {
    limiter: { allow },
    clock: {
      set(ms) {
        expect(ms).toBeGreaterThanOrEqual(nowMs)
        nowMs = ms
      },
    },
    finish() {},
  }
}

function report(contents: LogContents, limit: number, windowMs: number, top = 10, key: 'ip' | 'path' = 'ip') {
  const policy = { algorithm: 'fixed-window', limit, windowMs, align: 'epoch' } as const
  return replay({ files: ['a.log'], policy, key, top }, contents, openFake)
}

describe('replayRecords', () => {
  it('decides in the order of time; equal times keep the order of the log', () => {
    const { requests } = contentsOf([
      ['a', 5],
      ['b', 1],
      ['c', 5],
      ['d', 1],
      ['e', 0],
      ['f', 5],
    ])
    const clockMs: number[] = []
    const seen: [number, string, number, boolean][] = []
    const limiter = { allow: (key: string) => key !== 'c' }
    const clock = { set: (nowMs: number) => clockMs.push(nowMs - START_MS) }
    replayRecords(requests, limiter, clock, (index, key, timeMs, allowed) => {
      seen.push([index, key, (timeMs - START_MS) / 1000, allowed])
    })
    expect(seen).toEqual([
      [4, 'e', 0, true],
      [1, 'b', 1, true],
      [3, 'd', 1, true],
      [0, 'a', 5, true],
      [2, 'c', 5, false],
      [5, 'f', 5, true],
    ])
    expect(clockMs).toEqual([0, 1000, 5000])
  })

  it('sorts like a stable sort', () => {
    const times = Float64Array.from({ length: 5000 }, (_, i) => (i * 7919) % 61)
    const expected = Array.from(times.keys()).sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0))
    expect(Array.from(timeOrder(times) ?? [])).toEqual(expected)
  })

  it('needs no order for a log that is in order', () => {
    expect(timeOrder(Float64Array.of())).toBeUndefined()
    expect(timeOrder(Float64Array.of(1, 1, 2, 2, 3))).toBeUndefined()
    expect(Array.from(timeOrder(Float64Array.of(2, 1)) ?? [])).toEqual([1, 0])
  })
})

describe('replay', () => {
  it('counts requests, clients and streaks', () => {
    const rows: [string, number][] = [
      ['a', 0],
      ['a', 1],
      ['a', 3],
      ['a', 4],
      ['a', 9],
      ['a', 10],
      ['a', 11],
      ['b', 5],
    ]
    const result = report(contentsOf(rows), 1, 10_000)
    expect(result.requests).toEqual({ total: 8, admitted: 3, denied: 5, deniedRatio: 5 / 8 })
    expect(result.clients).toEqual({ total: 2, limited: 1, limitedRatio: 0.5 })
    expect(result.keys).toEqual(result.clients)
    expect(result.mostLimited).toEqual([
      { key: 'a', requests: 7, denied: 5, deniedRatio: 5 / 7, longestStreak: 4, longestStreakMs: 8000 },
    ])
    expect(result.time).toEqual({
      from: '2024-01-01T00:00:00.000Z',
      to: '2024-01-01T00:00:11.000Z',
      fromMs: START_MS,
      toMs: START_MS + 11_000,
      spanMs: 11_000,
    })
  })

  it('counts clients apart from keys', () => {
    const contents = contentsOf([
      ['a', 0, '/x'],
      ['b', 1, '/x'],
      ['c', 2, '/x'],
      ['c', 3, '/y'],
    ])
    const result = report(contents, 1, 10_000, 10, 'path')
    expect(result.clients).toEqual({ total: 3, limited: 2, limitedRatio: 2 / 3 })
    expect(result.keys).toEqual({ total: 2, limited: 1, limitedRatio: 0.5 })
  })

  it('lists the most limited first, then the busier, then the one seen first, `top` of them', () => {
    const times = (client: string, count: number) =>
      Array.from({ length: count }, (): [string, number] => [client, 0])
    const rows = [...times('one', 2), ...times('three', 4), ...times('uno', 2), ...times('none', 1)]
    const contents = contentsOf([...rows, ['uno', 10]])
    const keys = (top: number) => report(contents, 1, 10_000, top).mostLimited.map(({ key }) => key)
    expect(keys(10)).toEqual(['three', 'uno', 'one'])
    expect(keys(2)).toEqual(['three', 'uno'])
    expect(keys(0)).toEqual([])
  })

  it('sums up in every part of the report', () => {
    const rows = Array.from({ length: 3000 }, (_, i): [string, number] => [`c${i % 17}`, (i * 7919) % 50_000])
    const { requests, mostLimited, histogram } = report(contentsOf(rows), 2, 3_600_000, 100)
    const sum = (numbers: number[]) => numbers.reduce((total, n) => total + n, 0)
    expect(sum(histogram.rows.map(({ admitted }) => admitted))).toBe(requests.admitted)
    expect(sum(histogram.rows.map(({ denied }) => denied))).toBe(requests.denied)
    expect(sum(mostLimited.map(({ denied }) => denied))).toBe(requests.denied)
    expect(requests.admitted + requests.denied).toBe(3000)
  })

  it('carries what the engine notes about delays', () => {
    const delays = { delayed: 2, longestDelayMs: 750 }
    const contents = contentsOf([['a', 0]])
    const policy = { algorithm: 'leaky-bucket', limit: 1, windowMs: 1000, queue: 3 } as const
    const request = { files: ['a.log'], policy, key: 'ip', top: 1 } as const
    const open = () => ({ limiter: { allow: () => true }, clock: { set() {} }, delays, finish() {} })
    expect(replay(request, contents, open).requests).toEqual({
      total: 1,
      admitted: 1,
      denied: 0,
      deniedRatio: 0,
      ...delays,
    })
  })

  it('reports an empty log as zeros, without a limiter', () => {
    const result = report(contentsOf([]), 1, 1000)
    expect(result).toMatchObject({
      lines: 0,
      time: null,
      mostLimited: [],
      histogram: { bucketMs: 0, rows: [] },
    })
    expect(result.requests).toEqual({ total: 0, admitted: 0, denied: 0, deniedRatio: 0 })
    expect(reportText(result, 80)).toContain('none: the log is empty')
  })
})

describe('Histogram', () => {
  it.each([
    [0, 1000],
    [23_000, 1000],
    [24_000, 2000],
    [HOUR_MS, 180_000],
    [DAY_MS - 1, HOUR_MS],
    [DAY_MS, 2 * HOUR_MS],
    [20 * 365 * DAY_MS, 364 * DAY_MS],
  ])('a span of %i ms has rows of %i ms', (spanMs, bucketMs) => {
    expect(new Histogram(START_MS, START_MS + spanMs).bucketMs).toBe(bucketMs)
  })

  it('has at most MAX_ROWS rows for any span, and both ends have a row', () => {
    for (let spanMs = 1; spanMs < 3e14; spanMs *= 1.7) {
      const fromMs = 1_234_567_890_123
      const toMs = fromMs + Math.floor(spanMs)
      const histogram = new Histogram(fromMs, toMs)
      histogram.add(fromMs, true)
      histogram.add(toMs, false)
      const rows = histogram.rows()
      expect(rows.length).toBeLessThanOrEqual(MAX_ROWS)
      expect(rows[0]?.admitted).toBe(1)
      expect(rows.at(-1)?.denied).toBe(1)
      expect((rows[0]?.startMs ?? 1) % histogram.bucketMs).toBe(0)
    }
  })
})

describe('reportText', () => {
  const rows: [string, number][] = [
    ['a', 0],
    ['a', 1],
    ['\x1b[31mred', 1],
    ['a', 2],
    ['a', 5],
  ]
  const result = report(contentsOf(rows), 1, 3000)

  it('reads like this', () => {
    const malformed = { total: 12, first: [{ file: 'a b.log', line: 7, reason: 'empty line' as const }] }
    expect(reportText({ ...result, malformed }, 60)).toBe(
      `policy    fixed-window, 1 per 3 s, align epoch, key ip
log       a.log: 5 lines
time      2024-01-01 00:00:00 to 2024-01-01 00:00:05 UTC, 5 s
requests  5, of which 2 would have been limited (40.0 %)
clients   2, of which 1 would have been limited (50.0 %)

Most limited, by client
  client  requests  denied          longest streak of denials
  a              4       2  50.0 %  2 in 1 s

Requests over time, 1 s a row (▒ admitted, █ denied)
  from (UTC)           admitted  denied
  2024-01-01 00:00:00         1       0  ▒▒▒▒▒▒▒▒▒
  2024-01-01 00:00:01         1       1  ▒▒▒▒▒▒▒▒▒█████████
  2024-01-01 00:00:02         0       1  █████████
  2024-01-01 00:00:03         0       0
  2024-01-01 00:00:04         0       0
  2024-01-01 00:00:05         1       0  ▒▒▒▒▒▒▒▒▒

Left out: 12 malformed lines
  "a b.log":7: empty line
  and 11 more
`,
    )
  })

  it.each([
    [{ algorithm: 'leaky-bucket', queue: 1234 }, 'leaky-bucket, 2 per 5 s, queue 1,234, key ip'],
    [{ algorithm: 'strict-window' }, 'strict-window, 2 per 5 s, key ip'],
    [{ algorithm: 'token-bucket', burst: 9 }, 'token-bucket, 2 per 5 s, burst 9, key ip'],
  ] as const)('names the policy %j', (own, text) => {
    const policy = { limit: 2, windowMs: 5000, key: 'ip' as const, ...own }
    expect(reportText({ ...result, policy }, 80)).toContain(`policy    ${text}\n`)
  })

  it('says how long requests would have been held back, if the policy does that', () => {
    const withDelays = (delayed: number, longestDelayMs: number) =>
      reportText({ ...result, requests: { ...result.requests, delayed, longestDelayMs } }, 80)
    expect(withDelays(1234, 1499.5)).toContain(
      'requests  5, of which 2 would have been limited (40.0 %)\ndelays    1,234 of the others would have been held back, the longest by 1 s 500 ms\n',
    )
    expect(withDelays(0, 0)).toContain('\ndelays    0 of the others would have been held back\n')
    expect(reportText(result, 80)).not.toContain('delays')
  })

  it('stays within the columns and shows one denial among many requests', () => {
    const many = Array.from({ length: 500 }, (): [string, number] => ['a', 0])
    const text = reportText(report(contentsOf(many), 499, 1000), 70)
    expect(text).toContain('▒█\n')
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(70)
  })

  it('says so if no line could be read', () => {
    const contents = { ...contentsOf([]), lines: 3 }
    expect(reportText(report(contents, 1, 1000), 80)).toContain('no line is in common or combined log format')
  })

  it('prints control bytes of the log as text', () => {
    expect(printable('\x1b[31m\x07\x7f\x9b caf\xe9 日本')).toBe('\\x1b[31m\\x07\\x7f\\x9b caf\xe9 日本')
  })

  it.each([
    [0, '0 s'],
    [1, '1 ms'],
    [999, '999 ms'],
    [1000, '1 s'],
    [1500, '1 s 500 ms'],
    [3_600_000, '1 h'],
    [3_661_000, '1 h 1 min'],
    [3.5 * DAY_MS, '3 d 12 h'],
  ])('writes %i ms as %s', (ms, text) => {
    expect(durationText(ms)).toBe(text)
  })

  it.each([
    [0, '0.0 %'],
    [0.0001, '< 0.1 %'],
    [0.123, '12.3 %'],
    [0.99999, '> 99.9 %'],
    [1, '100.0 %'],
  ])('writes the ratio %f as %s', (ratio, text) => {
    expect(percentText(ratio)).toBe(text)
  })

  it.each([
    [500, '500 ms'],
    [90_000, '90 s'],
    [60_000, '1 min'],
    [0.5, '0.5 ms'],
    [25.5 * HOUR_MS, '1,530 min'],
  ])('writes a window of %f ms in full: %s', (windowMs, text) => {
    expect(reportText(report(contentsOf([]), 5, windowMs), 80)).toContain(`5 per ${text},`)
  })
})
