// The list of what is measured about algorithms and about several limits as one. A job runs in a process of its own.

/**
 * @typedef {import('../dist/index.mjs').Algorithm} Algorithm
 * @typedef {import('./jobs.mjs').Entry} Entry
 * @typedef {import('./jobs.mjs').Plan} Plan
 *
 * @typedef {'allow' | 'consume' | 'acquire' | 'wait' | 'await'} CallName
 * @typedef {{ limit: number, windowMs: number }} Policy
 *
 * One limiter, called in one way.
 * @typedef {object} LimiterCase
 * @property {'limiter'} of
 * @property {Algorithm} algorithm
 * @property {CallName} call `await`: consume, and then an await
 * @property {Policy} policy
 *
 * Three limiters, each of another algorithm or all token buckets.
 * @typedef {object} SetCase
 * @property {'set'} of
 * @property {'mixed' | 'buckets'} members
 * @property {'one-key' | 'key-each'} keys one key for all members, or one for each
 * @property {'allow' | 'consume' | 'apart'} call `apart`: no set, but one call of each limiter after the other
 * @property {boolean} isShared others are attached to each limiter
 *
 * @typedef {object} AlgorithmJob
 * @property {'algorithm'} kind
 * @property {LimiterCase | SetCase} what
 * @property {number} keyCount
 * @property {'all' | 'none' | 'some'} admits how many of the calls must be admitted
 * @property {number} measureMs
 *
 * One line of the report.
 * @typedef {object} Row
 * @property {string} name of the job
 * @property {string} title
 * @property {LimiterCase | SetCase} what
 * @property {number} keyCount
 * @property {'all' | 'none' | 'some'} admits
 * @property {string | undefined} base the job whose figure is the unit
 * @property {number | undefined} wanted the most that it should be, in that unit
 *
 * `goal`: how the goals call the rest of what a row's title leaves out.
 * @typedef {{ title: string, unit: string, goal: string, rows: Row[] }} Section
 */

const DAY_MS = 86_400_000
/** The most that an algorithm's `allow` should take, in units of the token bucket's. */
const ALLOW_GOAL = 1.5
/** The most that a set of three should take, in units of one limit. */
const SET_GOAL = 2

// As in jobs.mjs: nothing runs out, and nothing is idle; every call finds the bucket full (the queue drained) again; all
// are over the limit.
const busy = { limit: 1_000_000, windowMs: DAY_MS }
const sparse = { limit: 1000, windowMs: DAY_MS }
const idle = { limit: 100, windowMs: 0.001 }
// A log has no room for a busy key. In these a few calls of a key are in the log, and nearly all are admitted; or it is full.
const short5 = { limit: 5, windowMs: 0.5 }
const short60 = { limit: 60, windowMs: 15 }
const full5 = { limit: 5, windowMs: DAY_MS }
const full60 = { limit: 60, windowMs: DAY_MS }

/** @type {Algorithm[]} */
const COUNTERS = ['fixed-window', 'sliding-window', 'strict-window', 'concurrency']
const HOT = 'algorithms/1k'
const HOT_ALLOW = `${HOT}/allow/token-bucket`
const HOT_CONSUME = `${HOT}/consume/token-bucket`
const LARGE = 'algorithms/1m'

/** @type {Section[]} */
export const SECTIONS = [
  {
    title: 'Algorithms: `allow`, 1,000 keys, fresh strings',
    unit: 'x token bucket',
    goal: ', allow, 1 k: times the token bucket',
    rows: [
      row(HOT_ALLOW, 'token-bucket', limiter('token-bucket', 'allow', busy), undefined),
      ...COUNTERS.map((name) =>
        row(`${HOT}/allow/${name}`, name, limiter(name, 'allow', busy), HOT_ALLOW, ALLOW_GOAL),
      ),
      row(
        `${HOT}/allow-idle/token-bucket`,
        'token-bucket, idle',
        limiter('token-bucket', 'allow', idle),
        HOT_ALLOW,
      ),
      row(
        `${HOT}/allow-idle/leaky-bucket`,
        'leaky-bucket, drained (x idle)',
        limiter('leaky-bucket', 'allow', idle),
        `${HOT}/allow-idle/token-bucket`,
        ALLOW_GOAL,
      ),
      logRow('allow', 'short-5', 'sliding-log, 5 in 0.5 ms', short5, 'some'),
      logRow('allow', 'short-60', 'sliding-log, 60 in 15 ms', short60, 'some'),
      logRow('allow', 'full-5', 'sliding-log, 5, full', full5, 'none'),
      logRow('allow', 'full-60', 'sliding-log, 60, full', full60, 'none'),
    ],
  },
  {
    title: 'Algorithms: 1,000,000 live keys, fresh strings',
    unit: 'x token bucket',
    goal: ', 1 M: times the token bucket',
    rows: [
      large(`${LARGE}/allow/token-bucket`, 'allow, token-bucket', limiter('token-bucket', 'allow', sparse)),
      ...COUNTERS.map((name) =>
        large(
          `${LARGE}/allow/${name}`,
          `allow, ${name}`,
          limiter(name, 'allow', sparse),
          `${LARGE}/allow/token-bucket`,
          ALLOW_GOAL,
        ),
      ),
      ...[full5, full60].map((policy) => ({
        ...large(
          `${LARGE}/allow/sliding-log-${policy.limit}`,
          `allow, sliding-log, ${policy.limit} a day`,
          limiter('sliding-log', 'allow', policy),
          `${LARGE}/allow/token-bucket`,
        ),
        admits: /** @type {const} */ ('some'),
      })),
      large(
        `${LARGE}/consume/token-bucket`,
        'consume, token-bucket',
        limiter('token-bucket', 'consume', sparse),
      ),
      large(
        `${LARGE}/consume/leaky-bucket`,
        'consume, leaky-bucket',
        limiter('leaky-bucket', 'consume', sparse),
        `${LARGE}/consume/token-bucket`,
        ALLOW_GOAL,
      ),
    ],
  },
  {
    title: 'Algorithms: `consume` and what goes with it, 1,000 keys, fresh strings',
    unit: "x token bucket's",
    goal: ', 1 k: times the token bucket',
    rows: [
      row(HOT_CONSUME, 'consume, token-bucket', limiter('token-bucket', 'consume', busy), undefined),
      ...COUNTERS.map((name) =>
        row(`${HOT}/consume/${name}`, `consume, ${name}`, limiter(name, 'consume', busy), HOT_CONSUME),
      ),
      row(
        `${HOT}/consume/leaky-bucket`,
        'consume, leaky-bucket',
        limiter('leaky-bucket', 'consume', busy),
        HOT_CONSUME,
        ALLOW_GOAL,
      ),
      logRow('consume', 'short-5', 'consume, sliding-log, 5 in 0.5 ms', short5, 'some'),
      logRow('consume', 'short-60', 'consume, sliding-log, 60 in 15 ms', short60, 'some'),
      row(
        `${HOT}/acquire/concurrency`,
        'acquire + release, concurrency',
        limiter('concurrency', 'acquire', busy),
        HOT_CONSUME,
      ),
      row(
        `${HOT}/await/token-bucket`,
        'await consume, token-bucket',
        limiter('token-bucket', 'await', busy),
        HOT_CONSUME,
      ),
      row(
        `${HOT}/wait/token-bucket`,
        'await wait, token-bucket',
        limiter('token-bucket', 'wait', busy),
        HOT_CONSUME,
      ),
    ],
  },
  {
    title: 'LimitSet of three, 1,000 keys, fresh strings (mixed: token bucket, fixed window, sliding window)',
    unit: 'x one limit',
    goal: ': times one limit',
    rows: [
      setRow('mixed', 'one-key', 'allow', false, SET_GOAL),
      setRow('mixed', 'key-each', 'allow', false, SET_GOAL),
      setRow('buckets', 'one-key', 'allow', false, SET_GOAL),
      setRow('buckets', 'key-each', 'allow', false, SET_GOAL),
      setRow('mixed', 'one-key', 'allow', true, SET_GOAL),
      setRow('mixed', 'key-each', 'allow', true, SET_GOAL),
      setRow('buckets', 'one-key', 'allow', true, SET_GOAL),
      setRow('mixed', 'one-key', 'apart', false),
      setRow('mixed', 'key-each', 'apart', false),
      setRow('mixed', 'one-key', 'consume', false),
      setRow('mixed', 'key-each', 'consume', false),
    ],
  },
]

/** @param {Plan} plan @param {string | undefined} only part of a name; what a job is compared with is kept with it */
export function algorithmJobs({ isQuick, measureMs }, only) {
  const rows = SECTIONS.flatMap(({ rows }) => rows)
  const isPlanned = (/** @type {Row} */ { keyCount, wanted }) =>
    !isQuick || (keyCount < 1e6 && wanted !== undefined)
  const asked = rows.filter((row) => (only === undefined ? isPlanned(row) : row.name.includes(only)))
  const bases = asked.map(({ base }) => base)
  // Half the time of others: there are many, and what they are compared with is not far from them.
  return rows
    .filter((row) => asked.includes(row) || bases.includes(row.name))
    .map((row) => entryOf(row, measureMs / 2))
}

/** @param {Row} row @param {number} measureMs @returns {Entry} */
function entryOf({ name, what, keyCount, admits }, measureMs) {
  return {
    name,
    job: { kind: 'algorithm', what, keyCount, admits, measureMs },
    seconds: 0.4 + (1.6 * measureMs) / 1000 + (keyCount / 1e6) * 0.7,
  }
}

/** @param {Algorithm} algorithm @param {CallName} call @param {Policy} policy @returns {LimiterCase} */
function limiter(algorithm, call, policy) {
  return { of: 'limiter', algorithm, call, policy }
}

/** @param {string} name @param {string} title @param {Row['what']} what @param {string} [base] @param {number} [wanted] @returns {Row} */
function row(name, title, what, base, wanted) {
  return { name, title, what, keyCount: 1e3, admits: 'all', base, wanted }
}

/** @param {string} name @param {string} title @param {LimiterCase} what @param {string} [base] @param {number} [wanted] @returns {Row} */
function large(name, title, what, base, wanted) {
  return { ...row(name, title, what, base, wanted), keyCount: 1e6 }
}

/** @param {'allow' | 'consume'} call @param {string} name @param {string} title @param {Policy} policy @param {Row['admits']} admits @returns {Row} */
function logRow(call, name, title, policy, admits) {
  const base = call === 'allow' ? HOT_ALLOW : HOT_CONSUME
  return {
    ...row(`${HOT}/${call}/sliding-log-${name}`, title, limiter('sliding-log', call, policy), base),
    admits,
  }
}

/** @param {SetCase['members']} members @param {SetCase['keys']} keys @param {SetCase['call']} call @param {boolean} isShared @param {number} [wanted] @returns {Row} */
function setRow(members, keys, call, isShared, wanted) {
  const name = `algorithms/set/${call}/${members}/${keys}${isShared ? '/shared' : ''}`
  const whose = keys === 'one-key' ? 'one key' : 'a key each'
  const how = call === 'apart' ? 'three calls of allow' : `set.${call}`
  const title = `${how}, ${members}, ${whose}${isShared ? ', attached twice' : ''}`
  const base = call === 'consume' ? HOT_CONSUME : HOT_ALLOW
  return row(name, title, { of: 'set', members, keys, call, isShared }, base, wanted)
}
