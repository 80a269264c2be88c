import { at, type LoggedRequests } from './records'

/** One key in the list of the most limited. */
export interface LimitedKey {
  key: string
  requests: number
  denied: number
  /** denied / requests */
  deniedRatio: number
  /** The most denials of this key in a row, with none of its requests admitted in between. */
  longestStreak: number
  /** From the first to the last denial of that streak. */
  longestStreakMs: number
}

/** Counts decisions per key and per client, in memory that depends on the number of keys only. */
export class Tally {
  denied = 0
  readonly #requests: LoggedRequests
  readonly #keyRequests: Uint32Array
  readonly #keyDenied: Uint32Array
  readonly #streak: Uint32Array
  readonly #streakStartMs: Float64Array
  readonly #longestStreak: Uint32Array
  readonly #longestStreakMs: Float64Array
  readonly #clientLimited: Uint8Array

  constructor(requests: LoggedRequests) {
    const keys = requests.keys.length
    this.#requests = requests
    this.#keyRequests = new Uint32Array(keys)
    this.#keyDenied = new Uint32Array(keys)
    this.#streak = new Uint32Array(keys)
    this.#streakStartMs = new Float64Array(keys)
    this.#longestStreak = new Uint32Array(keys)
    this.#longestStreakMs = new Float64Array(keys)
    this.#clientLimited = new Uint8Array(requests.clients.length)
  }

  /** Counts the decision about the request at `index`. Call it in the order of time. */
  add(index: number, timeMs: number, allowed: boolean): void {
    const keyId = at(this.#requests.keyIds, index)
    this.#keyRequests[keyId] = at(this.#keyRequests, keyId) + 1
    if (allowed) {
      this.#streak[keyId] = 0
      return
    }
    this.denied++
    this.#keyDenied[keyId] = at(this.#keyDenied, keyId) + 1
    this.#clientLimited[at(this.#requests.clientIds, index)] = 1
    const streak = at(this.#streak, keyId) + 1
    this.#streak[keyId] = streak
    if (streak === 1) this.#streakStartMs[keyId] = timeMs
    if (streak <= at(this.#longestStreak, keyId)) return
    this.#longestStreak[keyId] = streak
    this.#longestStreakMs[keyId] = timeMs - at(this.#streakStartMs, keyId)
  }

  /** Clients with at least one denied request. */
  limitedClients(): number {
    return this.#clientLimited.reduce((sum, limited) => sum + limited, 0)
  }

  /** Keys with at least one denied request. */
  limitedKeys(): number {
    return this.#keyDenied.reduce((sum, denied) => sum + (denied > 0 ? 1 : 0), 0)
  }

  /** The `count` keys with the most denials; among equals the one with more requests, then the one seen first. */
  mostLimited(count: number): LimitedKey[] {
    const limited: number[] = []
    this.#keyDenied.forEach((denied, keyId) => {
      if (denied > 0) limited.push(keyId)
    })
    limited.sort((a, b) => {
      return (
        at(this.#keyDenied, b) - at(this.#keyDenied, a) || at(this.#keyRequests, b) - at(this.#keyRequests, a)
      )
    })
    return limited.slice(0, count).map((keyId) => this.#limitedKey(keyId))
  }

  #limitedKey(keyId: number): LimitedKey {
    const requests = at(this.#keyRequests, keyId)
    const denied = at(this.#keyDenied, keyId)
    return {
      key: this.#requests.keys[keyId] ?? '',
      requests,
      denied,
      deniedRatio: denied / requests,
      longestStreak: at(this.#longestStreak, keyId),
      longestStreakMs: at(this.#longestStreakMs, keyId),
    }
  }
}
