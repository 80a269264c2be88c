import { sourceLabel } from './log-source'
import type { LimitedCount, ReplayReport } from './report'

const MIN_BAR = 10
const MAX_KEY_COLUMNS = 60
const ADMITTED_CELL = '▒'
const DENIED_CELL = '█'
const DAY_MS = 86_400_000
const UNITS = [
  { unit: 'd', ms: DAY_MS },
  { unit: 'h', ms: 3_600_000 },
  { unit: 'min', ms: 60_000 },
  { unit: 's', ms: 1000 },
  { unit: 'ms', ms: 1 },
]

/** The report for people, at most `columns` wide where names allow it, with a line end after the last line. */
export function reportText(report: ReplayReport, columns: number): string {
  const parts = [summary(report), mostLimited(report), histogram(report, columns), malformed(report)]
  return `${parts
    .filter((part) => part.length > 0)
    .map((part) => part.join('\n'))
    .join('\n\n')}\n`
}

/** Log content made safe to print: control bytes, which could drive a terminal, appear as `\xhh`. */
export function printable(text: string): string {
  return text.replace(
    /[^\x20-\x7e\xa0-\u{10ffff}]/gu,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}

/** A duration in its two largest units: `3 d 11 h`, `1 min`, `500 ms`. */
export function durationText(durationMs: number): string {
  const first = UNITS.findIndex(({ ms }) => durationMs >= ms)
  const large = UNITS[first]
  if (large === undefined) return durationMs === 0 ? '0 s' : `${durationMs} ms`
  const small = UNITS[first + 1]
  const count = Math.floor(durationMs / large.ms)
  const rest = durationMs - count * large.ms
  if (small === undefined) return `${durationMs} ms`
  const smallCount = Math.floor(rest / small.ms)
  return smallCount === 0 ? `${count} ${large.unit}` : `${count} ${large.unit} ${smallCount} ${small.unit}`
}

/** A ratio in percent with one decimal that never rounds something to nothing or to all. */
export function percentText(ratio: number): string {
  if (ratio > 0 && ratio < 0.0005) return '< 0.1 %'
  if (ratio < 1 && ratio >= 0.9995) return '> 99.9 %'
  return `${(ratio * 100).toFixed(1)} %`
}

function summary(report: ReplayReport): string[] {
  const { time, requests, policy } = report
  const logs = report.files.map(sourceLabel).map(printable)
  const lines = [
    `policy    ${policyText(policy)}`,
    `log       ${logs.slice(0, 3).join(', ')}${logs.length > 3 ? ` and ${logs.length - 3} more` : ''}: ${count(report.lines, 'line')}`,
  ]
  if (time === null) {
    const why = report.lines === 0 ? 'the log is empty' : 'no line is in common or combined log format'
    return [...lines, `requests  none: ${why}`]
  }
  lines.push(
    `time      ${clock(time.fromMs, 1000)} to ${clock(time.toMs, 1000)} UTC, ${durationText(time.spanMs)}`,
  )
  lines.push(
    `requests  ${limitedText({ total: requests.total, limited: requests.denied, limitedRatio: requests.deniedRatio })}`,
  )
  if (requests.delayed !== undefined) lines.push(delaysText(requests.delayed, requests.longestDelayMs ?? 0))
  lines.push(`clients   ${limitedText(report.clients)}`)
  if (policy.key === 'path') lines.push(`paths     ${limitedText(report.keys)}`)
  if (policy.key === 'ip+path') lines.push(`pairs     ${limitedText(report.keys)}`)
  return lines
}

function policyText(policy: ReplayReport['policy']): string {
  const rate = `${policy.algorithm}, ${number(policy.limit)} per ${windowText(policy.windowMs)}`
  return `${rate}${detailText(policy)}, key ${policy.key}`
}

function detailText(policy: ReplayReport['policy']): string {
  if (policy.algorithm === 'token-bucket') return `, burst ${number(policy.burst)}`
  if (policy.algorithm === 'leaky-bucket') return `, queue ${number(policy.queue)}`
  return policy.algorithm === 'fixed-window' ? `, align ${policy.align}` : ''
}

function delaysText(delayed: number, longestMs: number): string {
  const longest = delayed === 0 ? '' : `, the longest by ${durationText(Math.ceil(longestMs))}`
  return `delays    ${number(delayed)} of the others would have been held back${longest}`
}

/** The window in full, in the largest unit that divides it. */
function windowText(windowMs: number): string {
  const { unit, ms } = UNITS.find(({ ms }) => windowMs % ms === 0) ?? { unit: 'ms', ms: 1 }
  return `${number(windowMs / ms)} ${unit}`
}

function limitedText({ total, limited, limitedRatio }: LimitedCount): string {
  return `${number(total)}, of which ${number(limited)} would have been limited (${percentText(limitedRatio)})`
}

const KEY_NAMES = { ip: 'client', path: 'path', 'ip+path': 'client and path' }

function mostLimited({ mostLimited: keys, policy }: ReplayReport): string[] {
  if (keys.length === 0) return []
  const name = KEY_NAMES[policy.key]
  const header = [name, 'requests', 'denied', '', 'longest streak of denials']
  const rows = keys.map((key) => [
    shortened(printable(key.key)),
    number(key.requests),
    number(key.denied),
    percentText(key.deniedRatio),
    `${number(key.longestStreak)} in ${durationText(key.longestStreakMs)}`,
  ])
  return [`Most limited, by ${name}`, ...table([header, ...rows])]
}

/** Pads cells to columns: the first to the left, numbers to the right, the last not at all. */
function table(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0
      if (column === row.length - 1) return cell
      return column === 0 ? cell.padEnd(width) : cell.padStart(width)
    })
    return `  ${cells.join('  ')}`
  })
}

function histogram({ histogram: { bucketMs, rows } }: ReplayReport, columns: number): string[] {
  if (rows.length === 0) return []
  const most = rows.reduce((max, row) => Math.max(max, row.admitted + row.denied), 1)
  const cells = rows.map((row) => [clock(row.startMs, bucketMs), number(row.admitted), number(row.denied)])
  const head = table([['from (UTC)', 'admitted', 'denied', ''], ...cells.map((row) => [...row, ''])])
  const barColumns = Math.max(MIN_BAR, columns - 1 - (head[0]?.length ?? 0))
  const legend = `${ADMITTED_CELL} admitted, ${DENIED_CELL} denied`
  const body = rows.map((row, i) =>
    `${head[i + 1]}${bar(row.admitted, row.denied, most, barColumns)}`.trimEnd(),
  )
  return [
    `Requests over time, ${durationText(bucketMs)} a row (${legend})`,
    head[0]?.trimEnd() ?? '',
    ...body,
  ]
}

/** A bar of at most `columns` cells for `most` requests. What is not zero gets a cell if there is room for both. */
function bar(admitted: number, denied: number, most: number, columns: number): string {
  const total = admitted + denied
  const cells =
    total === 0 ? 0 : Math.max(Math.round((total / most) * columns), Math.sign(admitted) + Math.sign(denied))
  const share = Math.round((denied / (total || 1)) * cells)
  const deniedCells = Math.min(Math.max(share, Math.sign(denied)), cells - Math.sign(admitted))
  return ADMITTED_CELL.repeat(cells - deniedCells) + DENIED_CELL.repeat(deniedCells)
}

function malformed({ malformed: { total, first } }: ReplayReport): string[] {
  if (total === 0) return []
  const named = first.map(({ file, line, reason }) => `  ${printable(sourceLabel(file))}:${line}: ${reason}`)
  const more = total > first.length ? [`  and ${number(total - first.length)} more`] : []
  return [`Left out: ${count(total, 'malformed line')}`, ...named, ...more]
}

/** A moment in UTC as fine as steps of `stepMs` need. */
function clock(timeMs: number, stepMs: number): string {
  const iso = new Date(timeMs).toISOString().replace('T', ' ')
  return iso.slice(0, stepMs % DAY_MS === 0 ? 10 : stepMs % 60_000 === 0 ? 16 : 19)
}

function count(total: number, noun: string): string {
  return `${number(total)} ${noun}${total === 1 ? '' : 's'}`
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}

function shortened(key: string): string {
  return key.length <= MAX_KEY_COLUMNS ? key : `${key.slice(0, MAX_KEY_COLUMNS - 1)}…`
}
