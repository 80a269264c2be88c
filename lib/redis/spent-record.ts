import type { Key } from '../limiter/view'
import type { Policy } from '../policy/policy'
import { redisKey } from './keys'

/** What a key has spent under a policy. */
export interface Spent {
  readonly index: number
  readonly policy: Policy
  readonly key: Key
  readonly tokens: number
}

const MAX_ENTRIES = 10_000
/** Of how many entries the smallest is dropped where one has to go. */
const CANDIDATES = 8

/** Who has spent how much, of so many keys; if there are more, some that have spent little are dropped. */
export class SpentRecord {
  readonly #maxEntries: number
  #entries: Spent[] = []
  readonly #places = new Map<string, number>()
  #first = 0
  #lostTokens = 0

  constructor(maxEntries = MAX_ENTRIES) {
    this.#maxEntries = maxEntries
  }

  add(index: number, policy: Policy, key: Key, tokens: number): void {
    const id = idOf(index, key)
    const known = this.#places.get(id)
    if (known !== undefined) {
      const entry = this.#entries[known] as Spent
      this.#entries[known] = { ...entry, tokens: entry.tokens + tokens }
      return
    }
    const isFull = this.#entries.length >= this.#maxEntries
    const place = isFull ? this.#clearPlace() : this.#entries.length
    this.#entries[place] = { index, policy, key, tokens }
    this.#places.set(id, place)
  }

  /** So much of it was not spent after all. */
  lessen(index: number, key: Key, tokens: number): void {
    const place = this.#places.get(idOf(index, key))
    if (place === undefined) return
    const entry = this.#entries[place] as Spent
    this.#entries[place] = { ...entry, tokens: Math.max(0, entry.tokens - tokens) }
  }

  /** All of them, which are no longer in the record then; and how many tokens are not among them. */
  take(): { spent: Spent[]; lostTokens: number } {
    const taken = { spent: this.#entries, lostTokens: this.#lostTokens }
    this.#entries = []
    this.#places.clear()
    this.#lostTokens = 0
    return taken
  }

  /** Of some entries far apart, others each time, the place of the smallest, which goes. */
  #clearPlace(): number {
    const { length } = this.#entries
    this.#first = (this.#first + 1) % length
    let place = this.#first
    for (let i = 1; i < CANDIDATES; i++) {
      const candidate = (this.#first + Math.floor((i * length) / CANDIDATES)) % length
      if ((this.#entries[candidate] as Spent).tokens < (this.#entries[place] as Spent).tokens)
        place = candidate
    }
    const { index, key, tokens } = this.#entries[place] as Spent
    this.#places.delete(idOf(index, key))
    this.#lostTokens += tokens
    return place
  }
}

function idOf(index: number, key: Key): string {
  return redisKey(String(index), key)
}
