// usage: node bench/check-keys.mjs
// Shows that the keys are what METHOD.md says: flat, one byte a character, and not hashed when they are handed over.
// Not part of `npm run bench`: it uses V8's own test functions.

import { setFlagsFromString } from 'node:v8'
import { KeyMaker } from './keys.mjs'

const COUNT = 4096
const REPEATS = 200

/** V8 prints its layout: type ONE_BYTE_STRING_TYPE is flat, CONS_ a tree, INTERNALIZED_ one that is certainly hashed. */
function showLayouts() {
  setFlagsFromString('--allow-natives-syntax')
  const show = new Function('text', '%DebugPrint(text)')
  const maker = new KeyMaker()
  console.log('a key:')
  show(maker.make(12345))
  console.log('for comparison, one made with +:')
  show(maker.make(12345) + maker.make(6789))
}

/** Looks every string up in a Map; a lookup hashes a string that has no hash yet. @param {Map<string, number>} map @param {string[]} keys */
function lookUpNs(map, keys) {
  const start = process.hrtime.bigint()
  let found = 0
  for (let i = 0; i < keys.length; i++) if (map.get(/** @type {string} */ (keys[i])) !== undefined) found++
  if (found !== keys.length) throw new Error('a key is missing')
  return Number(process.hrtime.bigint() - start) / keys.length
}

/** The first lookup of a string is dearer than the second by the price of hashing it. */
function showHashing() {
  const maker = new KeyMaker()
  const map = new Map(Array.from({ length: 1000 }, (_, id) => [maker.make(id), id]))
  /** @type {[number[], number[]]} */
  const [first, second] = [[], []]
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const keys = Array.from({ length: COUNT }, (_, i) => maker.make((i * 7919) % 1000))
    first.push(lookUpNs(map, keys))
    second.push(lookUpNs(map, keys))
  }
  const middle = (/** @type {number[]} */ values) => values.sort((a, b) => a - b)[REPEATS >> 1]?.toFixed(1)
  console.log(`Map.get of a key: first time ${middle(first)} ns, second time ${middle(second)} ns`)
}

showLayouts()
showHashing()
