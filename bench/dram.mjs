// One random read from memory: each address is known only when the read before it has come back.

import { BATCH, randomIntegers } from './keys.mjs'

const BYTES = 256 * 2 ** 20
const WORDS_PER_LINE = 16
const LINES = BYTES / 4 / WORDS_PER_LINE

/** A closed chain through every cache line of 256 MB, in random order. @returns {import('./timing.mjs').Timed} */
export function pointerChase() {
  const order = shuffledLines()
  const chain = new Uint32Array(LINES * WORDS_PER_LINE)
  for (let i = 0; i < LINES; i++) {
    const from = /** @type {number} */ (order[i])
    const to = /** @type {number} */ (order[(i + 1) % LINES])
    chain[from * WORDS_PER_LINE] = to * WORDS_PER_LINE
  }
  let at = 0
  return {
    refill() {},
    run() {
      let here = at
      for (let i = 0; i < BATCH; i++) here = /** @type {number} */ (chain[here])
      at = here
      return here
    },
  }
}

function shuffledLines() {
  const lines = new Uint32Array(LINES)
  for (let i = 0; i < LINES; i++) lines[i] = i
  const random = randomIntegers(0xd7a3)
  for (let i = LINES - 1; i > 0; i--) {
    const other = random(i + 1)
    const line = /** @type {number} */ (lines[i])
    lines[i] = /** @type {number} */ (lines[other])
    lines[other] = line
  }
  return lines
}
