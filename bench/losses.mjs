// What sluice lost: one sentence for every goal missed, and for every case in which a hand-written Map was faster.

import { ALGORITHMS, BASELINES, LOADS } from './jobs.mjs'
import { oneKeyRows } from './sharing-report.mjs'
import { digits, TITLES, wrapped } from './text.mjs'

/**
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./jobs.mjs').LoadName} LoadName
 * @typedef {import('./results.mjs').Results} Results
 */

/** @param {Results} results @param {Goal[]} goals */
export function lossText(results, goals) {
  const missed = goals
    .filter(({ isMet }) => !isMet)
    .map(
      ({ text, bound, wanted, got }) =>
        `Goal missed: ${text}: ${got.toFixed(2)}, and it should be at ${bound} ${wanted}.`,
    )
  const slower = /** @type {LoadName[]} */ (Object.keys(LOADS)).flatMap((load) => slowerRows(results, load))
  return [...missed, ...slower, ...slowerTogether(results)].map(wrapped).join('\n')
}

/** @param {Results} results */
function slowerTogether(results) {
  return oneKeyRows(results)
    .filter(({ timesOne }) => timesOne < 1)
    .map(
      ({ label, timesOne }) =>
        `Slower: ${label}, all about one key, decide ${timesOne.toFixed(2)} times as often as one alone.`,
    )
}

/** @param {Results} results @param {LoadName} load */
function slowerRows(results, load) {
  const { title, operations, rivals } = LOADS[load]
  return operations.flatMap((operation) =>
    ALGORITHMS.flatMap((algorithm) => {
      const name = `${load}/${operation}/${algorithm}`
      const faster = BASELINES.filter(
        (baseline) => (results.ratio(`${rivals}/allow/${baseline}`, name) ?? 1) < 1,
      )
      if (faster.length === 0) return []
      const list = faster.map(
        (baseline) => `${TITLES[baseline]} ${nsOf(results, `${rivals}/allow/${baseline}`)}`,
      )
      return `Slower: ${operation}, ${algorithm}, ${title}: ${nsOf(results, name)} ns against ${list.join('; ')}.`
    }),
  )
}

/** @param {Results} results @param {string} name */
function nsOf(results, name) {
  return digits(Number(results.median(name)))
}
