// The calls that every plot is about, and how many of them lie in any one window.

export const LIMIT = 20
export const WINDOW_MS = 10_000
export const END_MS = 60_000

/** @typedef {[timeMs: number, level: number][]} Steps */

/**
 * `count` calls, `everyMs` apart, from `fromMs` on.
 * @param {number} count @param {number} everyMs @param {number} fromMs
 */
function calls(count, everyMs, fromMs) {
  return Array.from({ length: count }, (_, i) => fromMs + i * everyMs)
}

/** What is offered, in the order of time. Windows that are aligned begin at multiples of WINDOW_MS. */
export const PHASES = [
  { name: '60 in a second', timesMs: calls(60, 16, 2000) },
  { name: '3 a second', timesMs: calls(60, 333, 15_000) },
  { name: '60 across an edge', timesMs: calls(60, 50, 48_500) },
]
export const OFFERED_MS = PHASES.flatMap(({ timesMs }) => timesMs)

/**
 * Wherever the level changes: +1 at each time, -1 when it has lasted.
 * @param {number[]} timesMs @param {number} lastsMs @returns {Steps}
 */
export function levels(timesMs, lastsMs) {
  const changes = new Map()
  for (const timeMs of timesMs) {
    changes.set(timeMs, (changes.get(timeMs) ?? 0) + 1)
    changes.set(timeMs + lastsMs, (changes.get(timeMs + lastsMs) ?? 0) - 1)
  }
  let level = 0
  return [...changes]
    .sort(([a], [b]) => a - b)
    .map(([timeMs, change]) => {
      level += change
      return [timeMs, level]
    })
}

/** The highest level. @param {Steps} steps */
export function most(steps) {
  return steps.reduce((highest, [, level]) => Math.max(highest, level), 0)
}
