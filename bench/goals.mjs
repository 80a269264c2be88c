// The project's goals, as ratios within one run, and whether this run meets them. A goal not met is no failure.

import { algorithmGoals } from './algorithm-goals.mjs'
import { atLeast, atMost } from './goal.mjs'
import { ALGORITHMS, BASELINES } from './jobs.mjs'
import { redisGoals } from './redis-goals.mjs'
import { sharingGoals } from './sharing-goals.mjs'

/**
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./results.mjs').Results} Results
 */

/** The goals whose figures were measured. @param {Results} results @returns {Goal[]} */
export function judge(results) {
  return [
    ...ALGORITHMS.flatMap((algorithm) => timeGoals(results, algorithm)),
    ...memoryGoals(results),
    ...heapGoals(results),
    ...algorithmGoals(results),
    ...sharingGoals(results),
    ...redisGoals(results),
  ].filter((goal) => goal !== undefined)
}

/** @param {Results} results @param {string} algorithm */
function timeGoals(results, algorithm) {
  const hot = `fresh/allow/${algorithm}`
  const large = `1m/allow/${algorithm}`
  const batch = `1m/consumeMany/${algorithm}`
  const best = bestBaseline(results, '1m')
  const faster = (/** @type {string} */ baseline, /** @type {string} */ row) => results.ratio(baseline, row)
  return [
    atMost(hot, `allow, ${algorithm}, 1 k: times the floor`, 1.7, results.ratio(hot, 'fresh/allow/floor')),
    atLeast(
      hot,
      `allow, ${algorithm}, 1 k: times as fast as Map window`,
      1.9,
      faster('fresh/allow/window-now', hot),
    ),
    atLeast(
      hot,
      `allow, ${algorithm}, 1 k: times as fast as Map window, cached clock`,
      1.2,
      faster('fresh/allow/window-cached', hot),
    ),
    atLeast(
      large,
      `allow, ${algorithm}, 1 M: times as fast as the best Map`,
      4,
      best === undefined ? undefined : faster(best, large),
    ),
    atMost(large, `allow, ${algorithm}, 1 M: memory reads above the floor`, 1.5, readsOnTop(results, large)),
    atMost(
      batch,
      `consumeMany, ${algorithm}, 1 M: times the floor`,
      1.6,
      results.ratio(batch, '1m/allow/floor'),
    ),
  ]
}

/** @param {Results} results @param {string} load */
function bestBaseline(results, load) {
  const names = BASELINES.map((baseline) => `${load}/allow/${baseline}`).filter(
    (name) => results.median(name) !== undefined,
  )
  return names.sort((a, b) => Number(results.median(a)) - Number(results.median(b)))[0]
}

/** In units of the cheaper of the two kinds of read. @param {Results} results @param {string} name */
function readsOnTop(results, name) {
  const total = results.median(name)
  const floor = results.median('1m/allow/floor')
  const reads = ['dram', 'dram/huge-pages'].flatMap((dram) => results.median(dram) ?? [])
  if (total === undefined || floor === undefined || reads.length === 0) return undefined
  return (total - floor) / Math.min(...reads)
}

/** @param {Results} results */
function memoryGoals(results) {
  return ALGORITHMS.flatMap((algorithm) => {
    const row = `memory/${algorithm}`
    return [
      atMost(
        row,
        `memory, ${algorithm}: bytes per key of maxKeys`,
        24,
        results.median(row, 'bytesPerMaxKey'),
      ),
      atMost(
        row,
        `memory, ${algorithm}: bytes per key, 80 % of the slots in use`,
        21,
        results.median(row, 'bytesPerKeyAt80'),
      ),
    ]
  })
}

/** The same as without keys means: within 20 %, which is what the pauses vary by from run to run. @param {Results} results */
function heapGoals(results) {
  const own = results.median('heap/bucket', 'longestPauseMs')
  const none = results.median('heap/none', 'longestPauseMs')
  const ratio = own === undefined || none === undefined ? undefined : own / none
  return [
    atMost('heap/bucket', 'longest pause of the garbage collector: times that with no keys', 1.2, ratio),
  ]
}
