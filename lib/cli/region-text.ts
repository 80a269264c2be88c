import { PURSE } from '../policy/algorithms'
import { durationText, printable } from '../replay/report-text'
import type { AttachedProcess, RegionFacts } from './shared-regions'

const BYTE_UNITS = ['KiB', 'MiB', 'GiB', 'TiB']
const WINDOW_UNITS = [
  { unit: 'd', ms: 86_400_000 },
  { unit: 'h', ms: 3_600_000 },
  { unit: 'm', ms: 60_000 },
  { unit: 's', ms: 1000 },
]

/** `token-bucket 100/1m burst 20`, `concurrency 5, held 30s`, `purse, leases of 100ms`. */
export function policyText({ policy, hasOwnClock }: Pick<RegionFacts, 'policy' | 'hasOwnClock'>): string {
  const { algorithm, limit, windowMs, holdMs, burst, queue, initial, rememberMs, evenly } = policy
  const parts = [
    isPurse({ algorithm })
      ? `${PURSE}, leases of ${spanText(windowMs ?? 0)}`
      : holdMs === undefined
        ? `${algorithm} ${limit}/${spanText(windowMs ?? 0)}`
        : `${algorithm} ${limit}, held ${spanText(holdMs)}`,
  ]
  if (burst !== undefined) parts.push(` burst ${burst}`)
  if (queue !== undefined) parts.push(` queue ${queue}`)
  if (initial !== undefined) parts.push(`, new keys ${initial}, known for ${spanText(rememberMs ?? 0)}`)
  if (evenly) parts.push(', spread evenly')
  if (hasOwnClock) parts.push(', own clock')
  return parts.join('')
}

/** Whether it holds the tokens that a `RedisLimiter` has leased, and is no limiter. */
export function isPurse({ algorithm }: { algorithm: string }): boolean {
  return algorithm === PURSE
}

/** `1m`, `90s`, `0.5ms`: in the largest unit of which it is a whole number. */
function spanText(spanMs: number): string {
  const { unit, ms } = WINDOW_UNITS.find(({ ms }) => spanMs % ms === 0) ?? { unit: 'ms', ms: 1 }
  return `${spanMs / ms}${unit}`
}

export function bytesText(bytes: number): string {
  let value = bytes / 1024
  let step = 0
  for (; value >= 1024 && step < BYTE_UNITS.length - 1; step++) value /= 1024
  return `${value.toFixed(value < 100 ? 1 : 0)} ${BYTE_UNITS[step]}`
}

export function ageText(ageMs: number): string {
  return durationText(Math.floor(ageMs / 1000) * 1000)
}

/** A wait in its two largest units, rounded up. (Beside a second, a millisecond does not count.) */
export function waitText(waitMs: number): string {
  if (waitMs === Number.POSITIVE_INFINITY) return 'all time'
  const larger = WINDOW_UNITS.findIndex(({ ms }) => waitMs >= ms)
  const stepMs = larger < 0 ? 1 : (WINDOW_UNITS[larger + 1]?.ms ?? 1)
  const slackMs = stepMs > 1 ? 1 : 0
  return durationText(Math.ceil((waitMs - slackMs) / stepMs) * stepMs)
}

export function keyText(key: string | number): string {
  return typeof key === 'number' ? `${key} (an integer)` : printable(JSON.stringify(key))
}

export function numberText(value: number): string {
  return value.toLocaleString('en-US')
}

/** `2 processes (pid 812, 813)`, for what cannot be done because of them. */
export function processesText(processes: readonly AttachedProcess[]): string {
  const shown = processes.slice(0, 5).map(({ pid }) => pid)
  const more = processes.length > shown.length ? ', ...' : ''
  const noun = processes.length === 1 ? 'process' : 'processes'
  return `${numberText(processes.length)} ${noun} (pid ${shown.join(', ')}${more})`
}

/**
 * Pads the cells of each row to columns, those from `firstRight` on to the right. A row that is shorter than the first
 * ends with a text of any length, which widens no column.
 */
export function columns(rows: readonly (readonly string[])[], firstRight: number): string[] {
  const full = rows[0]?.length ?? 0
  const widths = (rows[0] ?? []).map((_, column) => {
    const cells = rows.filter(({ length }) => length === full || column < length - 1)
    return Math.max(...cells.map((row) => row[column]?.length ?? 0))
  })
  const padded = (cell: string, column: number) =>
    column < firstRight ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
  return rows.map((row) => row.map(padded).join('  ').trimEnd())
}
