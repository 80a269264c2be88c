// One goal: a ratio that was wanted, and what it is.

/**
 * @typedef {object} Goal
 * @property {string} row name of the job it is about
 * @property {string} text
 * @property {number} wanted
 * @property {'most' | 'least'} bound
 * @property {number} got
 * @property {boolean} isMet
 */

/** @param {string} row @param {string} text @param {number} wanted @param {number | undefined} got @returns {Goal | undefined} */
export function atMost(row, text, wanted, got) {
  return got === undefined ? undefined : { row, text, wanted, bound: 'most', got, isMet: got <= wanted }
}

/** @param {string} row @param {string} text @param {number} wanted @param {number | undefined} got @returns {Goal | undefined} */
export function atLeast(row, text, wanted, got) {
  return got === undefined ? undefined : { row, text, wanted, bound: 'least', got, isMet: got >= wanted }
}
