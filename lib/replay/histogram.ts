import { at } from './records'

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** Rows that a histogram has at most. */
export const MAX_ROWS = 24

const ROUND_WIDTHS_MS = [
  ...[1, 2, 5, 10, 15, 20, 30].map((n) => n * SECOND_MS),
  ...[1, 2, 3, 4, 5, 10, 15, 20, 30].map((n) => n * MINUTE_MS),
  ...[1, 2, 3, 4, 6, 8, 12].map((n) => n * HOUR_MS),
  ...[1, 2, 3, 4, 7, 14, 28, 56, 91, 182, 364].map((n) => n * DAY_MS),
]

/** One row: the requests of [startMs, startMs + bucketMs). */
export interface HistogramRow {
  startMs: number
  admitted: number
  denied: number
}

/** Counts decisions over time in buckets of one round width, cut at multiples of the width since 1970 UTC. */
export class Histogram {
  readonly bucketMs: number
  readonly #startMs: number
  readonly #admitted: Uint32Array
  readonly #denied: Uint32Array

  /** For requests from `fromMs` to `toMs`, both included: the finest width that needs at most MAX_ROWS rows. */
  constructor(fromMs: number, toMs: number) {
    this.bucketMs = roundWidthMs(fromMs, toMs)
    this.#startMs = Math.floor(fromMs / this.bucketMs) * this.bucketMs
    const rows = rowsNeeded(fromMs, toMs, this.bucketMs)
    this.#admitted = new Uint32Array(rows)
    this.#denied = new Uint32Array(rows)
  }

  add(timeMs: number, allowed: boolean): void {
    const counts = allowed ? this.#admitted : this.#denied
    const row = Math.floor((timeMs - this.#startMs) / this.bucketMs)
    counts[row] = at(counts, row) + 1
  }

  /** All rows from first to last, empty ones too. */
  rows(): HistogramRow[] {
    return Array.from(this.#admitted, (admitted, row) => {
      return { startMs: this.#startMs + row * this.bucketMs, admitted, denied: at(this.#denied, row) }
    })
  }
}

function roundWidthMs(fromMs: number, toMs: number): number {
  const round = ROUND_WIDTHS_MS.find((widthMs) => rowsNeeded(fromMs, toMs, widthMs) <= MAX_ROWS)
  let widthMs = round ?? 364 * DAY_MS
  while (rowsNeeded(fromMs, toMs, widthMs) > MAX_ROWS) widthMs *= 2
  return widthMs
}

function rowsNeeded(fromMs: number, toMs: number, widthMs: number): number {
  return Math.floor(toMs / widthMs) - Math.floor(fromMs / widthMs) + 1
}
