// The part of the report that is about algorithms and about several limits as one.

import { SECTIONS } from './algorithm-jobs.mjs'
import { digits, spread, verdict } from './text.mjs'

/**
 * @typedef {import('./algorithm-jobs.mjs').Row} Row
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./results.mjs').Results} Results
 */

/** @param {Results} results @param {Goal[]} goals */
export function algorithmSections(results, goals) {
  return SECTIONS.map(({ title, unit, rows }) => {
    const lines = rows.flatMap((row) => tableRow(row, results, goals))
    if (lines.length === 0) return ''
    return [`${title}: ns a call`, line('', 'median', unit, 'wanted', 'goal', 'admitted'), ...lines].join(
      '\n',
    )
  })
}

/** @param {Row} row @param {Results} results @param {Goal[]} goals */
function tableRow({ name, title, base, wanted, admits }, results, goals) {
  const median = results.median(name)
  if (median === undefined) return []
  const ratios = base === undefined ? undefined : results.ratios(name, base)
  return line(
    title,
    digits(median),
    ratios === undefined ? '1' : spread(ratios),
    wanted === undefined ? '-' : `<= ${wanted}`,
    verdict(goals, name),
    admits === 'some' ? percent(results.median(name, 'admittedShare')) : '',
  )
}

/** @param {string} label @param {...string} cells */
function line(label, ...cells) {
  const widths = [9, 22, 8, 9, 10]
  return `${label.padEnd(42)}${cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('')}`.trimEnd()
}

/** @param {number | undefined} share */
function percent(share) {
  return `${(Number(share) * 100).toFixed(0)} %`
}
