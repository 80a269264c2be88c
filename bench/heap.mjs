// What keys cost besides time: pauses of the garbage collector, and memory.

import { PerformanceObserver } from 'node:perf_hooks'
import { Limiter } from '../dist/index.mjs'
import { makeContender } from './contenders.mjs'
import { KeyMaker } from './keys.mjs'

/**
 * @typedef {{ keys: number, longestPauseMs: number, fullPauseMs: number, pauses: number, rssBytesPerKey: number }} HeapFigures
 * @typedef {{ bytesPerMaxKey: number, bytesPerKeyAt80: number, occupancy: number, evictedLive: number, refusedFull: number }} MemoryFigures
 */

const policy = { limit: 1000, windowMs: 86_400_000 }
const FULL_COLLECTIONS = 3
const CHURN_ROUNDS = 400

/**
 * Pauses with `keyCount` keys in place, while other code makes garbage. Needs --expose-gc.
 * @param {'none' | 'bucket' | 'window-now'} name
 * @param {number} keyCount
 * @returns {Promise<HeapFigures>}
 */
export async function measureHeap(name, keyCount) {
  const collect = /** @type {() => void} */ (globalThis.gc)
  collect()
  const rssBefore = process.memoryUsage.rss()
  const contender = name === 'none' ? undefined : makeContender(name, 'allow', policy, keyCount)
  const maker = new KeyMaker()
  let admitted = 0
  for (let i = 0; i < keyCount; i++) {
    // Made without a limiter too: making them alone lets V8 enlarge its space for young objects, and so its pauses.
    const key = maker.make(i)
    if (contender === undefined || contender.allow(key)) admitted++
  }
  if (admitted !== keyCount) throw new Error(`${keyCount - admitted} keys were refused`)
  collect()
  collect()
  const rssBytesPerKey = (process.memoryUsage.rss() - rssBefore) / keyCount
  const pauses = await observePauses(() => {
    churn()
    for (let i = 0; i < FULL_COLLECTIONS; i++) collect()
  })
  // Keeps the keys alive until here.
  if (contender !== undefined && !contender.allow(maker.make(0))) throw new Error('a key was lost')
  const full = pauses.slice(-FULL_COLLECTIONS).sort((a, b) => a - b)
  return {
    keys: keyCount,
    longestPauseMs: Math.max(...pauses),
    fullPauseMs: /** @type {number} */ (full[FULL_COLLECTIONS >> 1]),
    pauses: pauses.length,
    rssBytesPerKey,
  }
}

/** Garbage as a busy server makes it: some lives for a while, most does not. */
function churn() {
  /** @type {unknown[]} */
  const kept = []
  for (let round = 0; round < CHURN_ROUNDS; round++) {
    const requests = Array.from({ length: 1000 }, (_, id) => ({
      id,
      path: `/item/${id}`,
      headers: { host: 'a', id },
    }))
    kept[round % 50] = requests
  }
}

/** @param {() => void} work @returns {Promise<number[]>} ms of each collection, in order */
async function observePauses(work) {
  /** @type {number[]} */
  const pauses = []
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) pauses.push(entry.duration)
  })
  observer.observe({ entryTypes: ['gc'] })
  work()
  // Entries are delivered after the work, in the next turns of the event loop.
  await new Promise((resolve) => setTimeout(resolve, 100))
  observer.disconnect()
  return pauses
}

/**
 * Memory of a table by its own account, as made and with 80 % of its slots in use.
 * @param {'window' | 'bucket'} name
 * @param {number} maxKeys
 * @returns {MemoryFigures}
 */
export function measureMemory(name, maxKeys) {
  const algorithm = name === 'window' ? 'fixed-window' : 'token-bucket'
  const limiter = new Limiter({ ...policy, maxKeys, algorithm })
  const { bytes, capacity } = limiter.stats()
  const target = Math.floor(capacity * 0.8)
  const maker = new KeyMaker()
  for (let i = 0; i < target; i++) limiter.allow(maker.make(i))
  const { keys, evictedLive, refusedFull } = limiter.stats()
  return {
    bytesPerMaxKey: bytes / maxKeys,
    bytesPerKeyAt80: bytes / keys,
    occupancy: keys / capacity,
    evictedLive,
    refusedFull,
  }
}
