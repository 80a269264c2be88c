// Words and numbers of the report.

import { quantile } from './results.mjs'

const COLUMNS = 100

/** @type {Record<string, string>} */
export const TITLES = {
  floor: 'floor (does nothing)',
  'window-now': 'Map window, Date.now',
  'window-cached': 'Map window, cached clock',
  'bucket-now': 'Map bucket, Date.now',
  'bucket-cached': 'Map bucket, cached clock',
}

/** Three digits or so. @param {number} value */
export function digits(value) {
  return value < 100 ? value.toFixed(1) : value.toFixed(0)
}

/** The median with the quartiles. @param {number[]} ratios */
export function spread(ratios) {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(ratios, share).toFixed(2))
  return `${middle} [${low}, ${high}]`
}

/** @param {import('./goal.mjs').Goal[]} goals @param {string} row */
export function verdict(goals, row) {
  const own = goals.filter((goal) => goal.row === row)
  if (own.length === 0) return '-'
  return own.every(({ isMet }) => isMet) ? 'met' : 'NOT MET'
}

/** Breaks a sentence into lines of at most 100 columns. @param {string} sentence */
export function wrapped(sentence) {
  const lines = ['']
  for (const word of sentence.split(' ')) {
    const last = /** @type {string} */ (lines.at(-1))
    if (last.length + 1 + word.length > COLUMNS) lines.push(`  ${word}`)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines.join('\n')
}
