// The list of what is measured. A job runs in a process of its own.

import { algorithmJobs } from './algorithm-jobs.mjs'
import { redisJobs } from './redis-jobs.mjs'
import { sharingJobs } from './sharing-jobs.mjs'

/** @typedef {import('./contenders.mjs').ContenderName} ContenderName */
/** @typedef {import('./contenders.mjs').Operation} Operation */

const DAY_MS = 86_400_000

/**
 * Keys and the policy they are under.
 * @typedef {object} Load
 * @property {string} title
 * @property {number} keyCount live keys; each is drawn with equal probability
 * @property {boolean} fresh each decision is about a new string
 * @property {import('./hand-written.mjs').Policy} policy
 * @property {Operation[]} operations of sluice
 * @property {LoadName} rivals the load under which floor and baselines were measured
 */

/** @typedef {'reused' | 'fresh' | '100k' | '1m' | 'idle' | 'denied'} LoadName */

/** @type {Operation[]} */
const ALL = ['allow', 'consume', 'consumeMany']
// Under these no key runs out while it is measured, and none is idle.
const busyPolicy = { limit: 1_000_000, windowMs: DAY_MS }
const sparsePolicy = { limit: 1000, windowMs: DAY_MS }
// A hundred tokens come back each microsecond: every call finds the bucket full, or the window over.
const idlePolicy = { limit: 100, windowMs: 0.001 }
const spentPolicy = { limit: 1, windowMs: DAY_MS }

/** @type {Record<LoadName, Load>} */
export const LOADS = {
  reused: load('1,000 keys, the same strings again and again', 1e3, false, busyPolicy, ALL, 'reused'),
  fresh: load('1,000 keys, fresh strings', 1e3, true, busyPolicy, ALL, 'fresh'),
  '100k': load('100,000 keys, fresh strings', 1e5, true, sparsePolicy, ALL, '100k'),
  '1m': load('1,000,000 keys, fresh strings', 1e6, true, sparsePolicy, ALL, '1m'),
  idle: load('1,000 keys, each idle since long', 1e3, true, idlePolicy, ['allow'], 'fresh'),
  denied: load('1,000 keys, all over their limit', 1e3, true, spentPolicy, ['allow'], 'denied'),
}

/** @type {ContenderName[]} */
export const BASELINES = ['window-now', 'window-cached', 'bucket-now', 'bucket-cached']
/** @type {ContenderName[]} */
export const ALGORITHMS = ['bucket', 'window']

/**
 * @typedef {{ kind: 'time', load: LoadName, contender: ContenderName, operation: Operation, measureMs: number }} TimeJob
 * @typedef {{ kind: 'dram', hugePages: boolean, measureMs: number }} DramJob
 * @typedef {{ kind: 'heap', contender: 'none' | 'bucket' | 'window-now', keyCount: number }} HeapJob
 * @typedef {{ kind: 'memory', contender: 'window' | 'bucket', keyCount: number }} MemoryJob
 * @typedef {import('./sharing-jobs.mjs').TogetherJob | import('./sharing-jobs.mjs').ExactJob | import('./sharing-jobs.mjs').RivalJob} SharingJob
 * @typedef {TimeJob | DramJob | HeapJob | MemoryJob | SharingJob | import('./algorithm-jobs.mjs').AlgorithmJob | import('./redis-jobs.mjs').RedisJob} Job
 *
 * A job, its name, and how long it is guessed to take.
 * @typedef {{ name: string, job: Job, seconds: number }} Entry
 *
 * @typedef {{ isQuick: boolean, rounds: number, heapRounds: number, measureMs: number, heapKeys: number, raceLimit: number, loads: LoadName[] }} Plan
 */

/** @type {Plan} */
const full = {
  isQuick: false,
  rounds: 3,
  heapRounds: 3,
  measureMs: 200,
  heapKeys: 5e6,
  raceLimit: 1e6,
  loads: ['reused', 'fresh', '100k', '1m', 'idle', 'denied'],
}
/** @type {Plan} */
const quick = {
  ...full,
  isQuick: true,
  rounds: 2,
  heapRounds: 2,
  measureMs: 100,
  heapKeys: 1e6,
  loads: ['fresh', '1m', 'idle'],
}

/** @param {boolean} isQuick @param {string | undefined} only part of a name; floors and baselines are kept with it */
export function planRounds(isQuick, only) {
  const plan = isQuick ? quick : full
  const chosen = (/** @type {Entry[]} */ entries) => choose(entries, only)
  const timed = chosen([...dramJobs(plan), ...plan.loads.flatMap((name) => timeJobs(name, plan))])
  const heap = chosen(heapJobs(plan))
  // Filling a Map takes long, and its pauses are far from anything they are compared with: once will do.
  const heapAgain = heap.filter(({ name }) => name !== 'heap/window-now')
  const memory = chosen(memoryJobs())
  const rounds = [
    ...new Array(plan.rounds).fill(timed),
    ...new Array(plan.rounds).fill(algorithmJobs(plan, only)),
    ...new Array(plan.rounds).fill(sharingJobs(plan, only)),
    ...new Array(plan.rounds).fill(redisJobs(plan, only)),
    heap,
    ...new Array(plan.heapRounds - 1).fill(heapAgain),
    memory,
  ]
  return { plan, rounds: /** @type {Entry[][]} */ (rounds).filter((round) => round.length > 0) }
}

/** @param {Entry[]} entries @param {string | undefined} only */
function choose(entries, only) {
  if (only === undefined) return entries
  const asked = entries.filter(({ name }) => name.includes(only))
  const rivalsOf = new Set(asked.map(({ job }) => (job.kind === 'time' ? LOADS[job.load].rivals : undefined)))
  return entries.filter((entry) => {
    const { job } = entry
    if (asked.includes(entry)) return true
    return job.kind === 'time' && rivalsOf.has(job.load) && !ALGORITHMS.includes(job.contender)
  })
}

/** @param {Plan} plan @returns {Entry[]} */
function dramJobs({ measureMs }) {
  return [false, true].map((hugePages) => ({
    name: hugePages ? 'dram/huge-pages' : 'dram',
    job: { kind: 'dram', hugePages, measureMs },
    seconds: 1.5 + (2 * measureMs) / 1000,
  }))
}

/** @param {LoadName} name @param {Plan} plan @returns {Entry[]} */
function timeJobs(name, { measureMs }) {
  const { rivals, operations, keyCount } = LOADS[name]
  /** @type {[ContenderName, Operation][]} */
  const others =
    rivals === name
      ? ['floor', ...BASELINES].map((contender) => [/** @type {ContenderName} */ (contender), 'allow'])
      : []
  /** @type {[ContenderName, Operation][]} */
  const own = operations.flatMap((operation) =>
    ALGORITHMS.map((contender) => /** @type {[ContenderName, Operation]} */ ([contender, operation])),
  )
  return [...others, ...own].map(([contender, operation]) => ({
    name: `${name}/${operation}/${contender}`,
    job: { kind: 'time', load: name, contender, operation, measureMs },
    seconds:
      0.2 +
      (1.6 * measureMs) / 1000 +
      (contender === 'floor' ? 0 : (keyCount / 1e6) * (BASELINES.includes(contender) ? 1.5 : 0.7)),
  }))
}

/** @param {Plan} plan @returns {Entry[]} */
function heapJobs({ heapKeys }) {
  const millions = heapKeys / 1e6
  return [
    {
      name: 'heap/none',
      job: { kind: 'heap', contender: 'none', keyCount: heapKeys },
      seconds: 1 + 0.3 * millions,
    },
    {
      name: 'heap/bucket',
      job: { kind: 'heap', contender: 'bucket', keyCount: heapKeys },
      seconds: 1 + 0.7 * millions,
    },
    {
      name: 'heap/window-now',
      job: { kind: 'heap', contender: 'window-now', keyCount: heapKeys },
      seconds: 2 + 2.5 * millions,
    },
  ]
}

/** @returns {Entry[]} */
function memoryJobs() {
  return ALGORITHMS.map((contender) => ({
    name: `memory/${contender}`,
    job: { kind: 'memory', contender: /** @type {'window' | 'bucket'} */ (contender), keyCount: 1e6 },
    seconds: 1.2,
  }))
}

/**
 * @param {string} title @param {number} keyCount @param {boolean} fresh @param {Load['policy']} policy
 * @param {Operation[]} operations @param {LoadName} rivals @returns {Load}
 */
function load(title, keyCount, fresh, policy, operations, rivals) {
  return { title, keyCount, fresh, policy, operations, rivals }
}
