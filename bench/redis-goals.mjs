// The goals of Redis mode.

import { atLeast, atMost } from './goal.mjs'
import { redisJobName } from './redis-jobs.mjs'

/** @typedef {import('./results.mjs').Results} Results */

/** How many times as fast as rate-limiter-flexible, by how many are in flight. @type {[number, number][]} */
const TIMES_FLEXIBLE = [
  [64, 2.5],
  [512, 3.5],
]

/** @param {Results} results */
export function redisGoals(results) {
  const alone = redisJobName(1)
  const hot = redisJobName(1, true)
  return [
    atLeast(
      `${alone}/exact`,
      'Redis, exact, 1 in flight: times an empty script',
      0.9,
      results.median(alone, 'exact.perSecond/bare'),
    ),
    ...TIMES_FLEXIBLE.flatMap(([inFlight, times]) => loadGoals(results, inFlight, times)),
    atLeast(
      `${hot}/leased`,
      'Redis, leased, one hot key: times as fast as exact',
      50,
      results.median(hot, 'leased.perSecond/exact-hot'),
    ),
    atMost(
      `${hot}/denied`,
      'Redis, denied hot key: times an awaited native denial',
      1.5,
      inverse(results.median(hot, 'denied.perSecond/native-denied')),
    ),
  ]
}

/** @param {Results} results @param {number} inFlight @param {number} times */
function loadGoals(results, inFlight, times) {
  const job = redisJobName(inFlight)
  const row = `${job}/exact`
  const where = `Redis, exact, ${inFlight} in flight`
  return [
    atLeast(
      row,
      `${where}: times rate-limiter-flexible`,
      times,
      results.median(job, 'exact.perSecond/flexible'),
    ),
    atMost(row, `${where}: us of Node CPU a decision`, 1.5, results.median(job, 'exact.cpuUs')),
    atMost(row, `${where}: p99, times that of plain EVALSHA`, 1, results.median(job, 'exact.p99Us/bare')),
  ]
}

/** @param {number | undefined} value */
function inverse(value) {
  return value === undefined ? undefined : 1 / value
}
