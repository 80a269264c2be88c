import type { Decision } from '../limiter/decision'
import { Limiter } from '../limiter/limiter'
import { type Key, partsOf, type ViewParts } from '../limiter/view'
import type { ClockFunction, ManualClock } from '../time/clock'
import { waitingClock } from '../waiting/waiting-clock'
import { redisKey } from './keys'
import type { Reply } from './scripts'

export interface DenialsOptions {
  /** How many denials are known at once at most. */
  readonly maxKeys: number
  /** For how long a denial is believed at most, in ms. */
  readonly maxAgeMs: number
  readonly clock?: ManualClock | ClockFunction | undefined
}

const LIMITED = 1
const BLOCKED = 3
/** What lasts less is not worth a note. */
const LEAST_MS = 1
const MAX_NUMBER = 2 ** 30 - 1
/** How many pairs of policy and cost, besides those of `isUsual`, are told apart. */
const MAX_VARIANTS = 64

/**
 * What Redis has denied until later: such calls need not be sent. A native table says which number the denial of a key has
 * (no more than a number goes into it), and arrays say the rest, so that a look-up is one native call, whether or not there is
 * a denial, and as many as `maxKeys` take a fixed amount of memory, none before the first.
 *
 * Each process learns of a denial by itself. One that another host has lifted is believed until it is told so (see
 * Announcements), and for `maxAgeMs` at most.
 */
export class Denials {
  readonly #maxKeys: number
  readonly #maxAgeUs: number
  readonly #clock: ManualClock | ClockFunction | undefined
  readonly #nowUs: () => number
  #notes: Notes | undefined
  /** Calls of the limiter's own policy and a cost of 1. */
  #usual: Index | undefined
  /** All others. */
  #others: Index | undefined
  readonly #variants = new Set<string>()
  #generation = 0
  #isClosed = false

  constructor({ maxKeys, maxAgeMs, clock }: DenialsOptions) {
    this.#maxKeys = maxKeys
    this.#maxAgeUs = Math.floor(maxAgeMs * 1000)
    this.#clock = clock
    this.#nowUs = waitingClock(clock).nowUs
  }

  /**
   * Notes what Redis has answered, if it is a denial that will be over. Never throws.
   * @param ageMs how long ago Redis was asked, in ms: the denial is taken to end that much earlier than the reply says, so
   * never after its true end
   */
  note(policyIndex: number, cost: number, key: Key, reply: Reply, ageMs = 0): void {
    const { outcome, retryAfterMs, resetAfterMs } = reply
    if ((outcome !== LIMITED && outcome !== BLOCKED) || this.#isClosed) return
    if (!(retryAfterMs - ageMs >= LEAST_MS)) return
    try {
      const nowUs = this.#nowUs()
      const askedUs = nowUs - ageMs * 1000
      const slot = this.#slotFor(policyIndex, cost, key, nowUs)
      if (slot === undefined) return
      const notes = this.#notes as Notes
      notes.retryUs[slot] = askedUs + toUs(retryAfterMs)
      notes.resetUs[slot] = askedUs + toUs(Math.max(retryAfterMs, resetAfterMs))
      notes.endUs[slot] = askedUs + Math.min(this.#maxAgeUs, toUs(retryAfterMs))
      notes.isBlocked[slot] = outcome === BLOCKED ? 1 : 0
    } catch {
      // No memory, or a clock that fails: then nothing is noted.
    }
  }

  /**
   * The denial of such a call, if one is known that is still in force.
   * @param limit what `limit` of the decision is to be
   * @throws as the operations of a limiter, on a bad key and a clock that fails
   */
  find(policyIndex: number, cost: number, key: Key, limit: number): Decision | undefined {
    const slot = this.#find(policyIndex, cost, key)
    if (slot < 0) return undefined
    const notes = this.#notes as Notes
    const nowUs = this.#nowUs()
    if (nowUs >= (notes.endUs[slot] as number)) return undefined
    return {
      allowed: false,
      limit,
      remaining: 0,
      retryAfterMs: Math.ceil((notes.retryUs[slot] as number) - nowUs) / 1000,
      resetAfterMs: Math.ceil((notes.resetUs[slot] as number) - nowUs) / 1000,
      consumed: 0,
      delayMs: 0,
      reason: notes.isBlocked[slot] === 1 ? 'blocked' : 'limited',
      source: 'cache',
    }
  }

  /** Whether `find` finds one. @throws as find */
  isDenied(policyIndex: number, cost: number, key: Key): boolean {
    const slot = this.#find(policyIndex, cost, key)
    return slot >= 0 && this.#nowUs() < ((this.#notes as Notes).endUs[slot] as number)
  }

  /** Whatever the key has been denied, under all policies and at all costs, is not known any more. */
  forget(key: Key): void {
    if (this.#isClosed) return
    this.#notes?.drop(this.#usual?.numberOf(key) ?? 0)
    for (const variant of this.#variants)
      this.#notes?.drop(this.#others?.numberOf(this.#nameOf(variant, key)) ?? 0)
  }

  forgetAll(): void {
    this.#notes?.dropAll()
  }

  close(): void {
    this.#isClosed = true
    this.#usual?.close()
    this.#others?.close()
    this.#usual = this.#others = this.#notes = undefined
  }

  /** Where the details of a denial are; -1 if there is none. */
  #find(policyIndex: number, cost: number, key: Key): number {
    if (isUsual(policyIndex, cost)) {
      return this.#usual === undefined ? -1 : (this.#notes as Notes).slotOf(this.#usual.numberOf(key))
    }
    if (this.#others === undefined) return -1
    const variant = `${policyIndex}:${cost}`
    if (!this.#variants.has(variant)) return -1
    return (this.#notes as Notes).slotOf(this.#others.numberOf(this.#nameOf(variant, key)))
  }

  /** Where the details of a denial may be put; nothing if the table has no room. */
  #slotFor(policyIndex: number, cost: number, key: Key, nowUs: number): number | undefined {
    this.#notes ??= new Notes(this.#maxKeys)
    const notes = this.#notes
    const isOfUsual = isUsual(policyIndex, cost)
    const index = isOfUsual ? this.#usual : this.#others
    if (index === undefined) {
      if (isOfUsual) this.#usual = this.#newIndex()
      else this.#others = this.#newIndex()
      return this.#slotFor(policyIndex, cost, key, nowUs)
    }
    const name = isOfUsual ? key : this.#nameOf(this.#addVariant(policyIndex, cost), key)
    const known = index.numberOf(name)
    const slot = notes.slotOf(known)
    // Of many calls that were under way at once, each brings the same denial.
    if (slot >= 0 && nowUs < (notes.endUs[slot] as number)) return slot
    return index.assign(name, notes.next, known) ? notes.take() : undefined
  }

  #addVariant(policyIndex: number, cost: number): string {
    const variant = `${policyIndex}:${cost}`
    if (this.#variants.size >= MAX_VARIANTS && !this.#variants.has(variant)) {
      // Names of another generation are never looked for again.
      this.#generation++
      this.#variants.clear()
    }
    this.#variants.add(variant)
    return variant
  }

  #nameOf(variant: string, key: Key): string {
    return redisKey(`${this.#generation}:${variant}`, key)
  }

  #newIndex(): Index {
    return new Index(this.#maxKeys, this.#maxAgeUs / 1000, this.#clock)
  }
}

function isUsual(policyIndex: number, cost: number): boolean {
  return policyIndex === 0 && cost === 1
}

function toUs(ms: number): number {
  return Math.round(ms * 1000)
}

/** A number for each key, in a native table: it is what the key has spent of a fixed window. */
class Index {
  readonly #limiter: Limiter
  readonly #parts: ViewParts

  constructor(maxKeys: number, maxAgeMs: number, clock: ManualClock | ClockFunction | undefined) {
    // Many times as long as anything is believed, so that numbers seldom go before what they stand for.
    const windowMs = Math.max(10_000, Math.ceil(10 * maxAgeMs))
    const options = { algorithm: 'fixed-window', limit: MAX_NUMBER + 1, windowMs, maxKeys } as const
    this.#limiter = new Limiter(clock === undefined ? options : { ...options, clock })
    this.#parts = partsOf(this.#limiter)
  }

  /** 0 if it has none. */
  numberOf(key: Key): number {
    const { native, results, readClock } = this.#parts
    readClock?.()
    native.peek(key)
    return MAX_NUMBER + 1 - (results[0] as number)
  }

  /** @param known the number that it has now. @returns false if the table has no room */
  assign(key: Key, number: number, known: number): boolean {
    if (known !== 0) this.#limiter.reset(key)
    return this.#limiter.allow(key, number)
  }

  close(): void {
    this.#limiter.close()
  }
}

/** The details of denials. The one with number n is in slot n % size, until another one takes the slot. */
class Notes {
  /** µs of the limiter's clock: when the call may be admitted, when nothing counts any more, when to ask Redis again. */
  readonly retryUs: Float64Array
  readonly resetUs: Float64Array
  readonly endUs: Float64Array
  readonly isBlocked: Uint8Array
  /** Of the denial that has the slot; 0: none. */
  readonly #numbers: Uint32Array
  readonly #size: number
  #next = 1

  constructor(size: number) {
    this.#size = size
    this.retryUs = new Float64Array(size)
    this.resetUs = new Float64Array(size)
    this.endUs = new Float64Array(size)
    this.isBlocked = new Uint8Array(size)
    this.#numbers = new Uint32Array(size)
  }

  /** The number that `take` gives. */
  get next(): number {
    return this.#next
  }

  /** Gives the next number and its slot. */
  take(): number {
    const number = this.#next
    // By the time they begin again, long after a window, nothing has the first ones any more.
    this.#next = (number % MAX_NUMBER) + 1
    const slot = number % this.#size
    this.#numbers[slot] = number
    return slot
  }

  /** -1 if the denial of that number is gone. */
  slotOf(number: number): number {
    if (number === 0) return -1
    const slot = number % this.#size
    return this.#numbers[slot] === number ? slot : -1
  }

  drop(number: number): void {
    const slot = this.slotOf(number)
    if (slot >= 0) this.#numbers[slot] = 0
  }

  dropAll(): void {
    this.#numbers.fill(0)
  }
}
