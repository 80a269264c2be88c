// The part of the report that is about Redis mode.

import { contendersOf, LEVELS, REDIS_TITLES, redisJobName } from './redis-jobs.mjs'
import { digits, verdict } from './text.mjs'

/**
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./results.mjs').Results} Results
 */

/** @param {Results} results @param {Goal[]} goals */
export function redisSections(results, goals) {
  return [
    ...LEVELS.map((inFlight) =>
      table(results, goals, inFlight, false, `Redis mode: 1,000 keys, ${inFlight} in flight`, 'bare'),
    ),
    ...[1, 64].map((inFlight) =>
      table(results, goals, inFlight, true, `Redis mode: one hot key, ${inFlight} in flight`, 'exact-hot'),
    ),
  ]
}

/** @param {Results} results @param {Goal[]} goals @param {number} inFlight @param {boolean} isHot @param {string} title @param {string} base */
function table(results, goals, inFlight, isHot, title, base) {
  const job = redisJobName(inFlight, isHot)
  if (results.values(job, `${base}.perSecond`) === undefined) return ''
  const rows = contendersOf(inFlight, isHot).map((name) => {
    const figure = (/** @type {string} */ which) => Number(results.median(job, `${name}.${which}`))
    const range = [figure('low'), figure('high')].map((rate) => digits(rate / 1e3)).join(', ')
    return row(
      REDIS_TITLES[name],
      digits(figure('perSecond') / 1e3),
      `[${range}]`,
      name === base ? '1' : figure(`perSecond/${base}`).toFixed(2),
      figure('cpuUs').toFixed(2),
      figure('serverUs').toFixed(2),
      digits(figure('p50Us')),
      digits(figure('p99Us')),
      digits(figure('commandsPer1000')),
      verdict(goals, `${job}/${name}`),
    )
  })
  return [
    title,
    row('', 'thousand/s', '', 'x first', 'us CPU', 'server', 'us p50', 'p99', 'commands', 'goal'),
    ...rows,
  ].join('\n')
}

/** @param {string} label @param {...string} cells */
function row(label, ...cells) {
  const widths = [10, 14, 8, 7, 7, 7, 7, 9, 8]
  return `${label.padEnd(28)}${cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('')}`.trimEnd()
}
