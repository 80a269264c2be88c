import { InputError } from './log-source'

/** The requests of a log in the order of the log: compact columns, one number each per request. */
export interface ReplayRecords {
  readonly length: number
  /** Milliseconds since 1970-01-01 UTC. */
  readonly timesMs: Float64Array
  /** Index into `keys`. */
  readonly keyIds: Uint32Array
  /** The distinct keys, first seen first. */
  readonly keys: readonly string[]
}

/** Requests with their clients, which are not the keys if the policy counts by path. */
export interface LoggedRequests extends ReplayRecords {
  /** Index into `clients`. */
  readonly clientIds: Uint32Array
  readonly clients: readonly string[]
}

/** A JavaScript Map holds no more than this. */
const MAX_DISTINCT = 2 ** 24 - 1
const FIRST_CAPACITY = 4096

/** Numbers distinct strings 0, 1, 2 and so on. */
export class Interner {
  readonly strings: string[] = []
  readonly #ids = new Map<string, number>()

  /** The number of `text`; a new one if it was not seen before. Throws InputError beyond 16,777,215 strings. */
  idOf(text: string): number {
    const known = this.#ids.get(text)
    if (known !== undefined) return known
    const id = this.strings.length
    if (id === MAX_DISTINCT)
      throw new InputError(`more than ${MAX_DISTINCT} distinct keys: replay a part of the log`)
    this.#ids.set(text, id)
    this.strings.push(text)
    return id
  }
}

/** Collects requests: 16 bytes each, and each distinct string once. */
export class RecordColumns {
  length = 0
  #timesMs = new Float64Array(FIRST_CAPACITY)
  #keyIds = new Uint32Array(FIRST_CAPACITY)
  #clientIds = new Uint32Array(FIRST_CAPACITY)

  push(timeMs: number, keyId: number, clientId: number): void {
    if (this.length === this.#timesMs.length) this.#grow()
    this.#timesMs[this.length] = timeMs
    this.#keyIds[this.length] = keyId
    this.#clientIds[this.length] = clientId
    this.length++
  }

  /** What was collected, as views (not copies) of the columns. */
  finish(keys: readonly string[], clients: readonly string[]): LoggedRequests {
    return {
      length: this.length,
      timesMs: this.#timesMs.subarray(0, this.length),
      keyIds: this.#keyIds.subarray(0, this.length),
      clientIds: this.#clientIds.subarray(0, this.length),
      keys,
      clients,
    }
  }

  #grow(): void {
    const capacity = this.length * 2
    const timesMs = new Float64Array(capacity)
    const keyIds = new Uint32Array(capacity)
    const clientIds = new Uint32Array(capacity)
    timesMs.set(this.#timesMs)
    keyIds.set(this.#keyIds)
    clientIds.set(this.#clientIds)
    this.#timesMs = timesMs
    this.#keyIds = keyIds
    this.#clientIds = clientIds
  }
}

/** The indexes of `timesMs` by time; equal times keep their order. Undefined if they are in order already. */
export function timeOrder(timesMs: Float64Array): Uint32Array | undefined {
  let inOrder = true
  for (let i = 1; i < timesMs.length && inOrder; i++) inOrder = at(timesMs, i - 1) <= at(timesMs, i)
  if (inOrder) return undefined
  const order = new Uint32Array(timesMs.length)
  for (let i = 0; i < order.length; i++) order[i] = i
  return order.sort((a, b) => at(timesMs, a) - at(timesMs, b) || a - b)
}

/** The number at an index that is known to exist. */
export function at(column: Float64Array | Uint32Array | Uint8Array, index: number): number {
  return column[index] ?? 0
}
