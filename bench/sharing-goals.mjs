// The goals about threads and processes.

import { atLeast, atMost } from './goal.mjs'
import { crewSizes, RIVALS, SHARED_CASES, SHARINGS } from './sharing-jobs.mjs'

/**
 * @typedef {import('./crew.mjs').CrewKind} CrewKind
 * @typedef {import('./results.mjs').Results} Results
 */

/** @param {Results} results */
export function sharingGoals(results) {
  return [
    ...SHARED_CASES.map(([load, operation]) => {
      const row = `shared/${load}/${operation}/shared`
      const text = `shared by name, ${operation}, ${load === '1m' ? '1 M' : '1 k'}: times a private limiter`
      return atMost(row, text, 1.1, results.ratio(row, `shared/${load}/${operation}/private`))
    }),
    ...crewSizes(false).flatMap((members) => [
      ...crewGoals(results, 'threads', members),
      ...crewGoals(results, 'processes', members),
    ]),
    ...RIVALS.map((rival) => {
      const row = `rivals/${rival}`
      const ratio = results.ratio(row, 'rivals/sluice', 'latencyNs1x1')
      return atLeast(row, `a decision shared by processes: times as fast as ${rival}`, 300, ratio)
    }),
  ]
}

/** @param {Results} results @param {CrewKind} crew @param {number} members */
function crewGoals(results, crew, members) {
  return SHARINGS[crew]
    .filter((sharing) => sharing === 'handle' || sharing === 'name')
    .flatMap((sharing) => {
      const row = `${crew}/${members}/${sharing}`
      const times = results.median(row, 'timesOne')
      const share = times === undefined ? undefined : times / members
      const cost = crew === 'threads' ? undefined : results.median(row, 'cpuTimesOne')
      return [
        atLeast(row, `${members} ${crew}, own keys, by ${sharing}: times ${members} x one`, 0.9, share),
        atMost(row, `${members} ${crew}, own keys, by ${sharing}: CPU a decision, times one's`, 1.1, cost),
      ]
    })
}
