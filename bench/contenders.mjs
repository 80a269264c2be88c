// What is compared: each as its user would call it.

import { BatchResult, Limiter } from '../dist/index.mjs'
import { loadNative } from '../dist/native/load.js'
import { BucketMap, CachedClock, WindowMap } from './hand-written.mjs'

/**
 * @typedef {import('./hand-written.mjs').Policy} Policy
 * @typedef {import('./keys.mjs').KeyPool} KeyPool
 *
 * @typedef {object} Contender
 * @property {(key: string) => boolean} allow one decision, to fill the table with
 * @property {(pool: KeyPool) => number} run decides a whole batch; returns how many were admitted
 * @property {() => void} [refresh] called between batches
 */

/** @typedef {'allow' | 'consume' | 'consumeMany'} Operation */
/** @typedef {'floor' | 'window-now' | 'window-cached' | 'bucket-now' | 'bucket-cached' | 'window' | 'bucket' | 'shared'} ContenderName */

/**
 * @param {ContenderName} name
 * @param {Operation} operation
 * @param {Policy} policy
 * @param {number} maxKeys
 * @param {string} [region] name for a shared limiter
 * @returns {Contender}
 */
export function makeContender(name, operation, policy, maxKeys, region) {
  if (name === 'floor') return floor()
  if (name === 'window')
    return sluice(new Limiter({ ...policy, maxKeys, algorithm: 'fixed-window' }), operation)
  if (name === 'shared') return sluice(new Limiter({ ...policy, maxKeys, shared: String(region) }), operation)
  if (name === 'bucket') return sluice(new Limiter({ ...policy, maxKeys }), operation)
  return handWritten(name, policy)
}

/** A native function that takes the string out without loss and does nothing with it. @returns {Contender} */
function floor() {
  const engine = loadNative()
  return {
    allow: (key) => engine.noop(key),
    run({ keys }) {
      let admitted = 0
      for (let i = 0; i < keys.length; i++) if (engine.noop(/** @type {string} */ (keys[i]))) admitted++
      return admitted
    },
  }
}

/** @param {Limiter} limiter @param {Operation} operation @returns {Contender} */
function sluice(limiter, operation) {
  const allow = (/** @type {string} */ key) => limiter.allow(key)
  if (operation === 'consumeMany') {
    const results = new BatchResult()
    return {
      allow,
      run({ portions }) {
        let admitted = 0
        for (const keys of portions) admitted += limiter.consumeMany(keys, results).allowedCount
        return admitted
      },
    }
  }
  if (operation === 'consume') {
    return {
      allow,
      run({ keys }) {
        let admitted = 0
        for (let i = 0; i < keys.length; i++)
          if (limiter.consume(/** @type {string} */ (keys[i])).allowed) admitted++
        return admitted
      },
    }
  }
  return { allow, run: ({ keys }) => countAllowed(limiter, keys) }
}

/** @param {'window-now' | 'window-cached' | 'bucket-now' | 'bucket-cached'} name @param {Policy} policy @returns {Contender} */
function handWritten(name, policy) {
  const clock = new CachedClock()
  const now = name.endsWith('-cached') ? () => clock.nowMs : () => Date.now()
  const limiter = name.startsWith('window') ? new WindowMap(policy, now) : new BucketMap(policy, now)
  return {
    allow: (key) => limiter.allow(key),
    run: ({ keys }) => countAllowed(limiter, keys),
    refresh: () => clock.refresh(),
  }
}

/** Each process runs this for one kind of limiter only. @param {{ allow(key: string): boolean }} limiter @param {string[]} keys */
function countAllowed(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) if (limiter.allow(/** @type {string} */ (keys[i]))) admitted++
  return admitted
}
