import { types } from 'node:util'
import { rangeError, shown, typeError } from '../errors/errors'
import type { NativeView } from '../native/engine'
import type { Key } from '../native/key'
import { checkObject } from '../policy/options'

/** The answers to `consumeMany`, one index per key. Reuse it from batch to batch: it grows as needed. */
export class BatchResult {
  #length = 0
  #allowedCount = 0
  #allowed = new Uint8Array(0)
  #remaining = new Float64Array(0)
  #retryAfterMs = new Float64Array(0)
  #delayMs = new Float64Array(0)

  /** How many keys the last batch had. Entries of the arrays from here on are stale. */
  get length(): number {
    return this.#length
  }
  /** How many of them were admitted. */
  get allowedCount(): number {
    return this.#allowedCount
  }
  /** 1 if the key was admitted, else 0. */
  get allowed(): Uint8Array {
    return this.#allowed
  }
  /** Whole tokens left. */
  get remaining(): Float64Array {
    return this.#remaining
  }
  /** As in `Decision`: 0 if admitted, `Infinity` if never. */
  get retryAfterMs(): Float64Array {
    return this.#retryAfterMs
  }

  /** As in `Decision`: how long the call must be held back, where the limiter paces; else 0. */
  get delayMs(): Float64Array {
    return this.#delayMs
  }

  /** @internal Makes room for `length` answers. */
  start(length: number): void {
    const room = Math.min(
      this.#allowed.length,
      this.#remaining.length,
      this.#retryAfterMs.length,
      this.#delayMs.length,
    )
    if (room < length) {
      this.#allowed = new Uint8Array(length)
      this.#remaining = new Float64Array(length)
      this.#retryAfterMs = new Float64Array(length)
      this.#delayMs = new Float64Array(length)
    }
    this.#length = length
    this.#allowedCount = 0
  }

  /** @internal Counts `admitted` more. */
  add(admitted: number): void {
    this.#allowedCount += admitted
  }
}

export interface BatchOptions {
  /** The cost of every key, or of each: integers from 0 to 2^53-1. Default 1. */
  cost?: number | ArrayLike<number>
}

/** Keys per crossing: enough to make its cost vanish, few enough to stay in the cache. */
const CHUNK = 1024
/** Above this many characters in one chunk, keys are handed over one by one. */
const MAX_CHUNK_CHARACTERS = 1 << 20

const lengths = new Uint32Array(CHUNK)
const integers = new Float64Array(CHUNK)

/**
 * Decides all keys, in order. Everything is validated first: bad input charges nothing.
 * @throws TypeError ERR_SLUICE_KEY_TYPE and others, naming the index
 */
export function consumeMany(
  view: NativeView,
  results: Float64Array,
  keys: readonly Key[],
  out: BatchResult,
  options: BatchOptions | undefined,
): BatchResult {
  const { keys: snapshot, costs } = checkBatch(keys, options)
  out.start(snapshot.length)
  // Once at least: an empty batch, too, is told that the limiter is closed.
  for (let from = 0; from === 0 || from < snapshot.length; from += CHUNK) {
    const chunk = snapshot.length <= CHUNK ? snapshot : snapshot.slice(from, from + CHUNK)
    out.add(consumeChunk(view, results, chunk, out, costs, from))
  }
  return out
}

function consumeChunk(
  view: NativeView,
  results: Float64Array,
  chunk: readonly Key[],
  out: BatchResult,
  costs: number | Float64Array,
  from: number,
): number {
  const { allowed, remaining, retryAfterMs, delayMs } = out
  const { length } = chunk
  if (allStrings(chunk)) {
    const text = chunk.join('')
    return view.consumeText(text, lengths, length, costs, allowed, remaining, retryAfterMs, from, delayMs)
  }
  if (allIntegers(chunk)) {
    return view.consumeIntegers(
      undefined,
      integers,
      length,
      costs,
      allowed,
      remaining,
      retryAfterMs,
      from,
      delayMs,
    )
  }
  let admitted = 0
  for (let i = 0; i < chunk.length; i++) {
    const cost = typeof costs === 'number' ? costs : (costs[from + i] as number)
    const isAllowed = view.consume(chunk[i] as Key, cost) === 0
    allowed[from + i] = isAllowed ? 1 : 0
    remaining[from + i] = results[0] as number
    retryAfterMs[from + i] = results[1] as number
    delayMs[from + i] = results[4] as number
    if (isAllowed) admitted++
  }
  return admitted
}

/** Whether all are strings of bearable length; then their lengths are in `lengths`. */
function allStrings(chunk: readonly Key[]): boolean {
  let characters = 0
  for (let i = 0; i < chunk.length; i++) {
    const key = chunk[i]
    if (typeof key !== 'string') return false
    lengths[i] = key.length
    characters += key.length
  }
  return characters <= MAX_CHUNK_CHARACTERS
}

/** Whether all are numbers; then they are in `integers`. */
function allIntegers(chunk: readonly Key[]): boolean {
  for (let i = 0; i < chunk.length; i++) {
    const key = chunk[i]
    if (typeof key !== 'number') return false
    integers[i] = key
  }
  return true
}

/**
 * The keys, and what each costs. They are read once, as arrays may have getters.
 * @throws TypeError ERR_SLUICE_KEY_TYPE and others, naming the index
 */
export function checkBatch(
  keys: readonly Key[],
  options: BatchOptions | undefined,
): { keys: readonly Key[]; costs: number | Float64Array } {
  if (!Array.isArray(keys))
    throw typeError('ERR_SLUICE_ARGUMENT_TYPE', `keys must be an array; got ${shown(keys)}`)
  const { cost = 1 } =
    options === undefined ? Object.create(null) : (checkObject('options', options, ['cost']) as BatchOptions)
  const snapshot: readonly Key[] = [...keys]
  checkKeys(snapshot)
  return { keys: snapshot, costs: checkCosts(cost, snapshot.length) }
}

function checkKeys(keys: readonly unknown[]): void {
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]
    if (typeof key === 'string' || Number.isSafeInteger(key) || types.isUint8Array(key)) continue
    if (typeof key === 'number') {
      throw rangeError(
        'ERR_SLUICE_KEY_RANGE',
        `keys[${i}]: a numeric key must be a safe integer; got ${shown(key)}`,
      )
    }
    throw typeError(
      'ERR_SLUICE_KEY_TYPE',
      `keys[${i}] must be a string, a safe integer or a Uint8Array; got ${shown(key)}`,
    )
  }
}

function checkCosts(cost: number | ArrayLike<number>, count: number): number | Float64Array {
  if (typeof cost === 'number') return checkCost('cost', cost)
  if (typeof cost !== 'object' || cost === null || cost.length !== count) {
    throw typeError(
      'ERR_SLUICE_ARGUMENT_TYPE',
      `cost must be a number or ${count} numbers, one per key; got ${shown(cost)}`,
    )
  }
  const costs = new Float64Array(count)
  for (let i = 0; i < count; i++) costs[i] = checkCost(`cost[${i}]`, cost[i])
  return costs
}

function checkCost(name: string, cost: unknown): number {
  if (typeof cost !== 'number') {
    throw typeError(
      'ERR_SLUICE_ARGUMENT_TYPE',
      `${name} must be an integer from 0 to 2^53-1; got ${shown(cost)}`,
    )
  }
  if (!(cost >= 0 && Number.isSafeInteger(cost))) {
    throw rangeError(
      'ERR_SLUICE_ARGUMENT_RANGE',
      `${name} must be an integer from 0 to 2^53-1; got ${shown(cost)}`,
    )
  }
  return cost
}
