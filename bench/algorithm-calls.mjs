// Limiters of every algorithm and sets of them, called as their users would call them.

import { Limiter, LimitSet } from '../dist/index.mjs'
import { BATCH, KeyMaker, KeyPool } from './keys.mjs'
import { measure, measureAsync } from './timing.mjs'

/**
 * @typedef {import('./algorithm-jobs.mjs').Algorithm} Algorithm
 * @typedef {import('./algorithm-jobs.mjs').AlgorithmJob} AlgorithmJob
 * @typedef {import('./algorithm-jobs.mjs').LimiterCase} LimiterCase
 * @typedef {import('./algorithm-jobs.mjs').SetCase} SetCase
 * @typedef {import('./results.mjs').Figures} Figures
 *
 * Decides a batch; returns how many were admitted.
 * @typedef {(pools: Pools) => number} Run
 * @typedef {(pools: Pools) => Promise<number>} RunAsync
 *
 * What a batch is about: member `i` of a set with a key for each takes its key from pool `i`, all else from the first.
 * @typedef {[KeyPool, KeyPool, KeyPool] | [KeyPool]} Pools
 *
 * @typedef {{ fill: (key: string) => unknown, run: Run } | { fill: (key: string) => unknown, runAsync: RunAsync }} Caller
 */

const MAX_KEYS = 1_000_000
/** @type {Algorithm[]} */
const MIXED = ['token-bucket', 'fixed-window', 'sliding-window']
/** @type {Algorithm[]} */
const BUCKETS = ['token-bucket', 'token-bucket', 'token-bucket']
const BUSY = { limit: 1_000_000, windowMs: 86_400_000 }

/** @param {AlgorithmJob} job @returns {Promise<Figures>} */
export async function measureAlgorithm({ what, keyCount, admits, measureMs }) {
  const caller = what.of === 'set' ? setCaller(what) : limiterCaller(what)
  const pools = makePools(what.of === 'set' && what.keys === 'key-each' ? 3 : 1, keyCount)
  const maker = new KeyMaker()
  // As often as it takes to fill a log, if it is to be full.
  const times = admits === 'none' && what.of === 'limiter' ? what.policy.limit : 1
  for (let time = 0; time < times; time++) for (let i = 0; i < keyCount; i++) caller.fill(maker.make(i))
  const tally = { admitted: 0, batches: 0 }
  const refill = () => {
    for (const pool of pools) pool.refill()
  }
  const note = (/** @type {number} */ admitted) => {
    if ((admits === 'all' && admitted !== BATCH) || (admits === 'none' && admitted !== 0))
      throw new Error(`${admitted} of ${BATCH} admitted, and ${admits} should be`)
    tally.admitted += admitted
    tally.batches++
    return admitted
  }
  const figures =
    'run' in caller
      ? measure({ refill, run: () => note(caller.run(pools)) }, BATCH, measureMs)
      : await measureAsync({ refill, run: async () => note(await caller.runAsync(pools)) }, BATCH, measureMs)
  return { ...figures, admittedShare: tally.admitted / tally.batches / BATCH }
}

/** @param {number} count @param {number} keyCount @returns {Pools} */
function makePools(count, keyCount) {
  const pools = Array.from({ length: count }, (_, i) => new KeyPool(keyCount, true, { seed: 0x5eed + i }))
  return /** @type {Pools} */ (pools)
}

/** @param {LimiterCase} what @returns {Caller} */
function limiterCaller({ algorithm, call, policy: { limit, windowMs } }) {
  const window = algorithm === 'concurrency' ? { holdMs: windowMs } : { windowMs }
  const limiter = new Limiter({ algorithm, limit, ...window, maxKeys: MAX_KEYS })
  const fill = (/** @type {string} */ key) => limiter.consume(key)
  switch (call) {
    case 'allow':
      return { fill, run: ([{ keys }]) => countAllowed(limiter, keys) }
    case 'consume':
      return { fill, run: ([{ keys }]) => countConsumed(limiter, keys) }
    case 'acquire':
      return { fill, run: ([{ keys }]) => countHeld(limiter, keys) }
    case 'await':
      return { fill, runAsync: ([{ keys }]) => countAwaited(limiter, keys) }
    case 'wait':
      return { fill, runAsync: ([{ keys }]) => countWaited(limiter, keys) }
  }
}

/** @param {SetCase} what @returns {Caller} */
function setCaller({ members, keys, call, isShared }) {
  const algorithms = members === 'mixed' ? MIXED : BUCKETS
  const [a, b, c] = /** @type {[Limiter, Limiter, Limiter]} */ (
    algorithms.map((algorithm) => new Limiter({ algorithm, ...BUSY, maxKeys: MAX_KEYS }))
  )
  if (isShared) attached.push(...[a, b, c].map((limiter) => Limiter.attach(limiter.handle())))
  const set = new LimitSet([
    { name: 'user', limiter: a },
    { name: 'route', limiter: b },
    { name: 'all', limiter: c },
  ])
  const fill = (/** @type {string} */ key) => set.allow(key)
  const isOne = keys === 'one-key'
  if (call === 'apart')
    return {
      fill,
      run: isOne ? ([pool]) => countApart(a, b, c, pool.keys) : (pools) => countEachApart(a, b, c, pools),
    }
  if (call === 'allow')
    return {
      fill,
      run: isOne ? ([pool]) => countSetAllowed(set, pool.keys) : (pools) => countEachAllowed(set, pools),
    }
  return {
    fill,
    run: isOne ? ([pool]) => countSetConsumed(set, pool.keys) : (pools) => countEachConsumed(set, pools),
  }
}

/** The other users of limiters; they do nothing, and must not be collected. @type {Limiter[]} */
const attached = []

// Each process runs one of these loops only.

/** @param {Limiter} limiter @param {string[]} keys */
function countAllowed(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) if (limiter.allow(/** @type {string} */ (keys[i]))) admitted++
  return admitted
}

/** @param {Limiter} limiter @param {string[]} keys */
function countConsumed(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++)
    if (limiter.consume(/** @type {string} */ (keys[i])).allowed) admitted++
  return admitted
}

/** @param {Limiter} limiter @param {string[]} keys */
function countHeld(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) {
    const lease = limiter.acquire(/** @type {string} */ (keys[i]))
    if (lease.release()) admitted++
  }
  return admitted
}

/** @param {Limiter} limiter @param {string[]} keys */
async function countAwaited(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++)
    if ((await limiter.consume(/** @type {string} */ (keys[i]))).allowed) admitted++
  return admitted
}

/** @param {Limiter} limiter @param {string[]} keys */
async function countWaited(limiter, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++)
    if ((await limiter.wait(/** @type {string} */ (keys[i]))).allowed) admitted++
  return admitted
}

/** @param {LimitSet} set @param {string[]} keys */
function countSetAllowed(set, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) if (set.allow(/** @type {string} */ (keys[i]))) admitted++
  return admitted
}

/** @param {LimitSet} set @param {string[]} keys */
function countSetConsumed(set, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) if (set.consume(/** @type {string} */ (keys[i])).allowed) admitted++
  return admitted
}

/** @param {LimitSet} set @param {Pools} pools */
function countEachAllowed(set, pools) {
  const [a, b, c] = keysOf(pools)
  let admitted = 0
  for (let i = 0; i < BATCH; i++) {
    const keys = /** @type {string[]} */ ([a[i], b[i], c[i]])
    if (set.allow(keys)) admitted++
  }
  return admitted
}

/** @param {LimitSet} set @param {Pools} pools */
function countEachConsumed(set, pools) {
  const [a, b, c] = keysOf(pools)
  let admitted = 0
  for (let i = 0; i < BATCH; i++) {
    const keys = /** @type {string[]} */ ([a[i], b[i], c[i]])
    if (set.consume(keys).allowed) admitted++
  }
  return admitted
}

/** @param {Limiter} a @param {Limiter} b @param {Limiter} c @param {string[]} keys */
function countApart(a, b, c, keys) {
  let admitted = 0
  for (let i = 0; i < keys.length; i++) {
    const key = /** @type {string} */ (keys[i])
    if (a.allow(key) && b.allow(key) && c.allow(key)) admitted++
  }
  return admitted
}

/** @param {Limiter} a @param {Limiter} b @param {Limiter} c @param {Pools} pools */
function countEachApart(a, b, c, pools) {
  const keys = keysOf(pools)
  let admitted = 0
  for (let i = 0; i < BATCH; i++) {
    const [keyA, keyB, keyC] = /** @type {[string, string, string]} */ ([keys[0][i], keys[1][i], keys[2][i]])
    if (a.allow(keyA) && b.allow(keyB) && c.allow(keyC)) admitted++
  }
  return admitted
}

/** @param {Pools} pools @returns {[string[], string[], string[]]} */
function keysOf(pools) {
  return /** @type {[string[], string[], string[]]} */ (pools.map(({ keys }) => keys))
}
