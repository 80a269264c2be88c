// The list of what is measured about threads and processes. A job runs in a process of its own, with its crew.

import { availableParallelism } from 'node:os'
import { redisVersion } from './redis-server.mjs'

/**
 * Who shares what: one limiter by handle or by name; for comparison each has a limiter of its own, or none at all and
 * does arithmetic. Keys: each member has its own, all have the same 1000, or all have one.
 * @typedef {object} TogetherJob
 * @property {'together'} kind
 * @property {import('./crew.mjs').CrewKind} crew
 * @property {'handle' | 'name' | 'private' | 'loop'} sharing
 * @property {'own' | 'same' | 'one'} keys
 * @property {number} members
 * @property {number} measureMs
 *
 * @typedef {{ kind: 'exact', crew: import('./crew.mjs').CrewKind, sharing: 'handle' | 'name', algorithm: 'bucket' | 'window', members: number, limit: number }} ExactJob
 * @typedef {'sluice' | 'cluster' | 'redis-flexible' | 'redis-script'} RivalName
 * @typedef {{ kind: 'rival', rival: RivalName, measureMs: number }} RivalJob
 *
 * @typedef {import('./jobs.mjs').Entry} Entry
 * @typedef {import('./jobs.mjs').LoadName} LoadName
 * @typedef {import('./jobs.mjs').Operation} Operation
 */

/** A shared limiter is compared with a private one in these. @type {[LoadName, Operation][]} */
export const SHARED_CASES = [
  ['fresh', 'allow'],
  ['1m', 'allow'],
  ['1m', 'consumeMany'],
]
/** @type {RivalName[]} */
export const RIVALS = ['cluster', 'redis-flexible', 'redis-script']
/** @type {Record<import('./crew.mjs').CrewKind, TogetherJob['sharing'][]>} */
export const SHARINGS = {
  threads: ['loop', 'private', 'handle', 'name'],
  processes: ['loop', 'private', 'name'],
}
const CREWS = /** @type {import('./crew.mjs').CrewKind[]} */ (['threads', 'processes'])
const NEEDS_NAME = 'sharing by name needs Linux'

/** What of all this cannot be measured here, and why. */
export function whatIsMissing() {
  const missing = []
  if (process.platform !== 'linux')
    missing.push(`Not measured: everything shared between processes; ${NEEDS_NAME}.`)
  if (redisVersion() === undefined)
    missing.push(
      'Not measured: Redis; there is no redis-server on this machine (Debian: apt-get install redis-server).',
    )
  if (availableParallelism() === 1)
    missing.push('Not measured: how speed grows with threads and processes; there is one core.')
  return missing
}

/** Sizes of crews: up to the cores that this program may use. @param {boolean} isQuick */
export function crewSizes(isQuick) {
  const cores = availableParallelism()
  const sizes = [2, 4, 8, 16].filter((size) => size < cores)
  return cores === 1 ? [] : [...(isQuick ? [] : sizes), cores]
}

/** @param {import('./jobs.mjs').Plan} plan @param {string | undefined} only part of a name */
export function sharingJobs(plan, only) {
  const sizes = crewSizes(plan.isQuick)
  const all = [
    ...SHARED_CASES.flatMap(([load, operation]) => sharedJobs(load, operation, plan)),
    ...CREWS.flatMap((crew) => sizes.flatMap((members) => togetherJobs(crew, members, plan))),
    ...CREWS.flatMap((crew) => exactJobs(crew, Math.max(2, availableParallelism()), plan)),
    ...rivalJobs(plan),
  ].filter((entry) => process.platform === 'linux' || !needsName(entry))
  return only === undefined ? all : withComparisons(all, only)
}

/** Those asked for, and what they are compared with. @param {Entry[]} entries @param {string} only */
function withComparisons(entries, only) {
  const asked = new Set(entries.filter(({ name }) => name.includes(only)))
  const wanted = new Set(
    [...asked].flatMap(({ name }) => {
      const place = name.slice(0, name.lastIndexOf('/'))
      return [`${place}/private`, `${place}/loop`, `${place}/sluice`]
    }),
  )
  return entries.filter((entry) => asked.has(entry) || wanted.has(entry.name))
}

/** @param {Entry} entry */
function needsName({ job }) {
  if (job.kind === 'together' || job.kind === 'exact') return job.sharing === 'name'
  return job.kind === 'rival' || (job.kind === 'time' && job.contender === 'shared')
}

/** @param {LoadName} load @param {Operation} operation @param {import('./jobs.mjs').Plan} plan @returns {Entry[]} */
function sharedJobs(load, operation, { measureMs }) {
  // There and back: a machine that slows down slows both alike.
  return /** @type {const} */ (['private', 'shared', 'shared', 'private']).map((sharing) => ({
    name: `shared/${load}/${operation}/${sharing}`,
    job: {
      kind: 'time',
      load,
      contender: sharing === 'shared' ? 'shared' : 'bucket',
      operation,
      measureMs,
    },
    seconds: 0.3 + (1.6 * measureMs) / 1000 + (load === '1m' ? 0.7 : 0),
  }))
}

/** @param {import('./crew.mjs').CrewKind} crew @param {number} members @param {import('./jobs.mjs').Plan} plan @returns {Entry[]} */
function togetherJobs(crew, members, { measureMs }) {
  const seconds = 0.5 + (5.5 * measureMs) / 1000
  /** @type {(sharing: TogetherJob['sharing'], keys: TogetherJob['keys'], name: string) => Entry} */
  const entry = (sharing, keys, name) => ({
    name: `${crew}/${members}/${name}`,
    job: { kind: 'together', crew, sharing, keys, members, measureMs },
    seconds,
  })
  const own = SHARINGS[crew].map((sharing) => entry(sharing, 'own', sharing))
  const hammered = SHARINGS[crew]
    .filter((sharing) => sharing === 'handle' || sharing === 'name')
    .map((sharing) => entry(sharing, 'one', `one-key/${sharing}`))
  return [...own, ...hammered]
}

/** @param {import('./crew.mjs').CrewKind} crew @param {number} members @param {import('./jobs.mjs').Plan} plan @returns {Entry[]} */
function exactJobs(crew, members, { raceLimit }) {
  const sharings = /** @type {('handle' | 'name')[]} */ (crew === 'threads' ? ['handle', 'name'] : ['name'])
  return sharings.flatMap((sharing) =>
    /** @type {const} */ (['bucket', 'window']).map((algorithm) => ({
      name: `${crew}/${members}/exact/${sharing}/${algorithm}`,
      job: { kind: 'exact', crew, sharing, algorithm, members, limit: raceLimit },
      seconds: 0.4 + (raceLimit / 1e6) * members * 0.4,
    })),
  )
}

/** @param {import('./jobs.mjs').Plan} plan @returns {Entry[]} */
function rivalJobs({ measureMs }) {
  const rivals = redisVersion() === undefined ? RIVALS.filter((name) => !name.startsWith('redis-')) : RIVALS
  return ['sluice', ...rivals].map((rival) => ({
    name: `rivals/${rival}`,
    job: { kind: 'rival', rival: /** @type {RivalName} */ (rival), measureMs },
    seconds: 0.8 + (14 * measureMs) / 1000,
  }))
}
