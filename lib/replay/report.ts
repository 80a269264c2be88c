import { Histogram, type HistogramRow } from './histogram'
import type { KeyKind, LogContents, MalformedLine } from './read-requests'
import { type DecidingLimiter, replayRecords, type SettableClock } from './replay-records'
import { type LimitedKey, Tally } from './tally'

/** The policy that a log is replayed under. */
export type ReplayPolicy = { limit: number; windowMs: number } & (
  | { algorithm: 'token-bucket'; burst: number }
  | { algorithm: 'fixed-window'; align: 'first-request' | 'epoch' }
  | { algorithm: 'leaky-bucket'; queue: number }
  | { algorithm: 'sliding-window' | 'sliding-log' | 'strict-window' }
)

/** Admitted requests that had to wait for their turn. */
export interface Delays {
  delayed: number
  longestDelayMs: number
}

/** A limiter in the log's own time. */
export interface ReplayEngine {
  limiter: DecidingLimiter
  clock: SettableClock
  /** What a policy that paces made of the admitted requests so far; absent of the others. */
  delays?: Delays
  /** Throws if the limiter had to forget or refuse a key, which would make the result wrong. Frees the limiter. */
  finish(): void
}

/** Makes an engine that holds `keys` distinct keys at once, with its clock at `startMs`. */
export type OpenEngine = (policy: ReplayPolicy, keys: number, startMs: number) => ReplayEngine

/** How many there are and how many of them would have been limited at least once. */
export interface LimitedCount {
  total: number
  limited: number
  /** limited / total, 0 if there are none */
  limitedRatio: number
}

/** The result of a replay. `sluice replay --json` prints exactly this; docs/replay.md describes it. */
export interface ReplayReport {
  policy: ReplayPolicy & { key: KeyKind }
  files: readonly string[]
  /** requests.total + malformed.total */
  lines: number
  requests: { total: number; admitted: number; denied: number; deniedRatio: number } & Partial<Delays>
  clients: LimitedCount
  keys: LimitedCount
  /** The first and the last request; null if there are no requests. */
  time: { from: string; to: string; fromMs: number; toMs: number; spanMs: number } | null
  mostLimited: LimitedKey[]
  histogram: { bucketMs: number; rows: HistogramRow[] }
  malformed: { total: number; first: MalformedLine[] }
}

/** What to replay and how to report it. */
export interface ReplayRequest {
  files: readonly string[]
  policy: ReplayPolicy
  key: KeyKind
  /** Length of the list of the most limited keys. */
  top: number
}

/** Replays what was read from `request.files` and reports it. */
export function replay(request: ReplayRequest, contents: LogContents, openEngine: OpenEngine): ReplayReport {
  const { requests, lines, malformed } = contents
  const tally = new Tally(requests)
  const head = { policy: { ...request.policy, key: request.key }, files: request.files, lines }
  const span = timeSpan(requests.timesMs)
  const histogram = span && new Histogram(span.fromMs, span.toMs)
  let delays: Delays | undefined
  if (histogram) {
    const engine = openEngine(request.policy, requests.keys.length, span.fromMs)
    replayRecords(requests, engine.limiter, engine.clock, (index, _key, timeMs, allowed) => {
      tally.add(index, timeMs, allowed)
      histogram.add(timeMs, allowed)
    })
    delays = engine.delays
    engine.finish()
  }
  const { length: total } = requests
  const { denied } = tally
  return {
    ...head,
    requests: { total, admitted: total - denied, denied, deniedRatio: ratio(denied, total), ...delays },
    clients: limitedCount(requests.clients.length, tally.limitedClients()),
    keys: limitedCount(requests.keys.length, tally.limitedKeys()),
    time: span,
    mostLimited: tally.mostLimited(request.top),
    histogram: { bucketMs: histogram?.bucketMs ?? 0, rows: histogram?.rows() ?? [] },
    malformed,
  }
}

function timeSpan(timesMs: Float64Array): ReplayReport['time'] {
  if (timesMs.length === 0) return null
  let fromMs = Number.POSITIVE_INFINITY
  let toMs = Number.NEGATIVE_INFINITY
  for (const timeMs of timesMs) {
    if (timeMs < fromMs) fromMs = timeMs
    if (timeMs > toMs) toMs = timeMs
  }
  return { from: isoTime(fromMs), to: isoTime(toMs), fromMs, toMs, spanMs: toMs - fromMs }
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}

function limitedCount(total: number, limited: number): LimitedCount {
  return { total, limited, limitedRatio: ratio(limited, total) }
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}
