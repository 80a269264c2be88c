// The goals about algorithms and about several limits as one.

import { SECTIONS } from './algorithm-jobs.mjs'
import { atMost } from './goal.mjs'

/** @param {import('./results.mjs').Results} results */
export function algorithmGoals(results) {
  return SECTIONS.flatMap(({ rows, goal }) =>
    rows.flatMap(({ name, title, base, wanted }) => {
      if (base === undefined || wanted === undefined) return []
      return atMost(name, `${title}${goal}`, wanted, results.ratio(name, base))
    }),
  )
}
