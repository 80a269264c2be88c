// Keys as a server meets them: strings that were made just now out of bytes from a socket.

const PREFIX = 'user-'
const DIGITS = 12
const KEY_LENGTH = PREFIX.length + DIGITS

/** Decisions per timed batch. 4096 strings of 17 characters are 160 kB: they stay in the second-level cache. */
export const BATCH = 4096
/** Keys per call of `consumeMany`. */
export const KEYS_PER_CALL = 1024

/** Reproducible random integers (xorshift32). @param {number} seed not 0 */
export function randomIntegers(seed) {
  let state = seed
  return (/** @type {number} */ below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/**
 * Makes flat one-byte strings that V8 has not hashed: copied out of a buffer, as the HTTP parser makes them. (A string
 * put together with `+` is a tree until it is flattened; one that has been a Map's key carries its hash.)
 */
export class KeyMaker {
  #bytes = Buffer.from(PREFIX + '0'.repeat(DIGITS), 'latin1')

  /** A new string for key number `index`. @param {number} index */
  make(index) {
    const bytes = this.#bytes
    let rest = index
    for (let at = KEY_LENGTH - 1; at >= PREFIX.length; at--) {
      const quotient = Math.floor(rest / 10)
      bytes[at] = 48 + rest - quotient * 10
      rest = quotient
    }
    return bytes.toString('latin1', 0, KEY_LENGTH)
  }
}

/** The keys of one timed batch, drawn at random from `keyCount` keys. */
export class KeyPool {
  /** @type {string[]} */
  keys = new Array(BATCH).fill('')
  /** The same, in portions for `consumeMany`. @type {string[][]} */
  portions = []
  #maker = new KeyMaker()
  #random
  #keyCount
  #first
  /** @type {string[] | undefined} */
  #reused

  /**
   * @param {number} keyCount
   * @param {boolean} fresh new strings for each batch, or always the same objects
   * @param {{ first?: number, seed?: number }} [choice] number of the first key; where the drawing begins
   */
  constructor(keyCount, fresh, { first = 0, seed = 0x5eed } = {}) {
    this.#keyCount = keyCount
    this.#first = first
    this.#random = randomIntegers(seed)
    if (!fresh) this.#reused = Array.from({ length: keyCount }, (_, index) => this.#maker.make(first + index))
    this.refill()
  }

  /** Draws the next batch. Not to be timed. */
  refill() {
    const { keys } = this
    for (let i = 0; i < BATCH; i++) {
      const index = this.#random(this.#keyCount)
      keys[i] = this.#reused?.[index] ?? this.#maker.make(this.#first + index)
    }
    this.portions = []
    for (let from = 0; from < BATCH; from += KEYS_PER_CALL)
      this.portions.push(keys.slice(from, from + KEYS_PER_CALL))
  }
}
