// A run as a picture that needs nothing else: SVG, light or dark as the reader's system is.
import { END_MS, LIMIT, OFFERED_MS, PHASES, WINDOW_MS } from './traffic.mjs'

const WIDTH = 760
const HEIGHT = 348
const PANEL = { left: 76, right: 700, top: 80, bottom: 250 }
const LEFT = 16
const MOST = 64
const RUG_HEIGHT = 14
const RUGS = { offered: 268, admitted: 288 }

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 }
  .verdict { font-size: 15px; font-weight: 600; fill: #0b5cad }
  .faint { fill: #57606a }
  .page { fill: #ffffff }
  .grid { stroke: #d0d7de }
  .axis { stroke: #57606a }
  .offered { stroke: #9aa4af; fill: none }
  .admitted { stroke: #0b5cad; fill: none }
  .area { fill: #0b5cad; fill-opacity: .18 }
  .limit { stroke: #c0392b; stroke-dasharray: 6 4 }
  .limit-text { fill: #c0392b }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .verdict { fill: #6cb6ff }
    .faint { fill: #9aa4af }
    .page { fill: #0d1117 }
    .grid { stroke: #30363d }
    .axis { stroke: #9aa4af }
    .offered { stroke: #6e7681 }
    .admitted { stroke: #6cb6ff }
    .area { fill: #6cb6ff; fill-opacity: .22 }
    .limit { stroke: #ff7b72 }
    .limit-text { fill: #ff7b72 }
  }`

/** The picture of a run. @param {import('./runs.mjs').Run} run */
export function drawing(run) {
  const title = titleOf(run.policy)
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="t">`,
    `<title id="t">${title}; ${run.verdict}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${WIDTH}" height="${HEIGHT}"/>`,
    text(LEFT, 26, title, 'title'),
    text(WIDTH - LEFT, 26, run.verdict, 'verdict', 'end'),
    ...axes(run.axis),
    ...PHASES.map(({ name, timesMs }) =>
      text((x(timesMs[0] ?? 0) + x(timesMs.at(-1) ?? 0)) / 2, PANEL.top - 8, name, 'faint', 'middle'),
    ),
    `<path class="offered" d="${line(run.offered)}"/>`,
    `<path class="area" d="${line(run.admitted)}V${PANEL.bottom}Z"/>`,
    `<path class="admitted" stroke-width="1.5" d="${line(run.admitted)}"/>`,
    `<path class="limit" d="M${PANEL.left} ${y(LIMIT)}H${PANEL.right}"/>`,
    text(PANEL.right + 6, y(LIMIT) + 4, `limit ${LIMIT}`, 'limit-text'),
    ...rug('offered', 'offered', OFFERED_MS),
    ...rug('admitted', run.admittedWord, run.admittedMs),
    text(
      LEFT,
      HEIGHT - 9,
      `${OFFERED_MS.length} offered (grey), ${run.admittedMs.length} admitted (blue)`,
      'faint',
    ),
    '</svg>',
  ]
  return `${parts.join('\n')}\n`
}

/** @param {import('./runs.mjs').Policy} policy */
function titleOf({ algorithm, limit, windowMs = 0, burst, queue, holdMs }) {
  if (holdMs !== undefined)
    return `${algorithm}: ${limit}, held ${holdMs / 1000} s; calls take 4 s, every 4th dies`
  const more = burst === undefined ? (queue === undefined ? '' : `, queue ${queue}`) : `, burst ${burst}`
  return `${algorithm}: ${limit} per ${windowMs / 1000} s${more}`
}

/** Grid, ticks and their labels. @param {string} label */
function axes(label) {
  const parts = []
  for (let timeMs = 0; timeMs <= END_MS; timeMs += WINDOW_MS) {
    parts.push(`<path class="grid" d="M${x(timeMs)} ${PANEL.top}V${PANEL.bottom}"/>`)
    parts.push(text(x(timeMs), 318, `${timeMs / 1000} s`, 'faint', 'middle'))
  }
  for (let level = 0; level < MOST; level += LIMIT) {
    parts.push(text(PANEL.left - 8, y(level) + 4, `${level}`, 'faint', 'end'))
    if (level > 0) parts.push(`<path class="grid" d="M${PANEL.left} ${y(level)}H${PANEL.right}"/>`)
  }
  parts.push(
    `<path class="axis" fill="none" d="M${PANEL.left} ${PANEL.top}V${PANEL.bottom}H${PANEL.right}"/>`,
    text(LEFT, 48, label, 'faint'),
  )
  return parts
}

/** A mark for every call. @param {keyof typeof RUGS} name @param {string} label @param {number[]} timesMs */
function rug(name, label, timesMs) {
  const top = RUGS[name]
  const marks = timesMs
    .filter((timeMs) => timeMs <= END_MS)
    .map((timeMs) => `M${x(timeMs)} ${top}v${RUG_HEIGHT}`)
  return [
    text(PANEL.left - 8, top + 11, label, 'faint', 'end'),
    `<path class="${name}" d="${marks.join('')}"/>`,
  ]
}

/** Steps from the left edge to the right one. @param {import('./traffic.mjs').Steps} steps */
function line(steps) {
  const shown = steps.filter(([timeMs]) => timeMs <= END_MS)
  const parts = shown.map(([timeMs, level]) => `H${x(timeMs)}V${y(level)}`)
  return `M${PANEL.left} ${PANEL.bottom}${parts.join('')}H${PANEL.right}`
}

/** @param {number} atX @param {number} atY @param {string} content @param {string} kind */
function text(atX, atY, content, kind, anchor = 'start') {
  return `<text class="${kind}" x="${atX}" y="${atY}" text-anchor="${anchor}">${content}</text>`
}

/** @param {number} timeMs */
function x(timeMs) {
  return rounded(PANEL.left + (timeMs / END_MS) * (PANEL.right - PANEL.left))
}

/** @param {number} level */
function y(level) {
  return rounded(PANEL.bottom - (level / MOST) * (PANEL.bottom - PANEL.top))
}

/** @param {number} position */
function rounded(position) {
  return Math.round(position * 10) / 10
}
