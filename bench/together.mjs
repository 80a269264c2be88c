// Threads or processes that decide at the same time: how much more than one of them, and whether they count right.

import { Limiter } from '../dist/index.mjs'
import { Crew } from './crew.mjs'
import { median } from './results.mjs'

/**
 * @typedef {import('./crew-member.mjs').Decided} Decided
 * @typedef {import('./crew-member.mjs').Counted} Counted
 * @typedef {import('./deciders.mjs').DeciderSpec} DeciderSpec
 * @typedef {import('./results.mjs').Figures} Figures
 * @typedef {import('./sharing-jobs.mjs').TogetherJob} TogetherJob
 * @typedef {import('./sharing-jobs.mjs').ExactJob} ExactJob
 */

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const MAX_KEYS = 1_000_000
const KEYS = 1000
const PAIRS = 8
const RACES = 4

/** Under these no key runs out while it is measured. */
const busyPolicy = { limit: 1_000_000, windowMs: DAY_MS }
const hammeredPolicy = { limit: 2 ** 31, windowMs: DAY_MS }

/**
 * One member and all of them by turns, so that both meet the same machine.
 * @param {TogetherJob & { region?: string }} job
 * @returns {Promise<Figures>}
 */
export async function measureTogether({ crew: kind, sharing, keys, members, measureMs, region }) {
  const policy = keys === 'one' ? hammeredPolicy : busyPolicy
  const limiter = openLimiter(sharing, { ...policy, maxKeys: MAX_KEYS }, region)
  const crew = await Crew.start(kind, members)
  try {
    await crew.all((index) => ({
      do: 'prepare',
      spec: specOf(sharing, limiter, policy, keys, index),
      warmUpMs: measureMs,
    }))
    const figures = await alternate(crew, measureMs / 4)
    if (limiter !== undefined) await checkTotal(crew, limiter)
    return figures
  } finally {
    crew.stop()
    limiter?.close()
  }
}

/**
 * Everybody asks `limit` times about the same key, from the same moment on: the limit must be admitted, to the last one.
 * @param {ExactJob & { region?: string }} job
 * @returns {Promise<Figures>}
 */
export async function checkExact({ crew: kind, sharing, algorithm, members, limit, region }) {
  // Nothing comes back during a race: the bucket gets one token an hour, and the window lasts a day.
  const policy =
    algorithm === 'bucket'
      ? { limit: 1, burst: limit, windowMs: HOUR_MS }
      : { limit, windowMs: DAY_MS, algorithm: /** @type {const} */ ('fixed-window') }
  const limiter = openLimiter(sharing, { ...policy, maxKeys: MAX_KEYS }, region)
  const source = /** @type {Limiter} */ (limiter).handle()
  const crew = await Crew.start(kind, members)
  try {
    const keys = { count: 1, first: 0, seed: 1 }
    const spec = /** @type {const} */ ({ with: 'sluice', source, policy, maxKeys: MAX_KEYS, keys })
    await crew.all(() => ({ do: 'prepare', spec, warmUpMs: 0 }))
    const shares = []
    for (let number = 0; number < RACES; number++) {
      const task = /** @type {const} */ ({ do: 'race', key: `race-${number}`, calls: limit })
      const counts = admittedOf(await crew.together(indices(members), task))
      const total = sum(counts)
      if (total !== limit)
        throw new Error(`wrong count: ${members} ${kind} were admitted ${total} times; the limit is ${limit}`)
      shares.push((Math.min(...counts) * members) / limit)
    }
    return { races: RACES, members, limit, leastShare: Math.min(...shares) }
  } finally {
    crew.stop()
    limiter?.close()
  }
}

/**
 * @param {TogetherJob['sharing']} sharing
 * @param {import('../dist/index.mjs').LimiterOptions} options
 * @param {string | undefined} region
 */
export function openLimiter(sharing, options, region) {
  if (sharing === 'handle') return new Limiter(options)
  if (sharing === 'name') return new Limiter({ ...options, shared: String(region) })
  return undefined
}

/**
 * @param {TogetherJob['sharing']} sharing
 * @param {Limiter | undefined} limiter
 * @param {import('./hand-written.mjs').Policy} policy
 * @param {TogetherJob['keys']} keys
 * @param {number} index of the member
 * @returns {DeciderSpec}
 */
export function specOf(sharing, limiter, policy, keys, index) {
  if (sharing === 'loop') return { with: 'loop' }
  return {
    with: 'sluice',
    source: limiter?.handle(),
    policy,
    maxKeys: MAX_KEYS,
    keys: { count: keys === 'one' ? 1 : KEYS, first: keys === 'own' ? index * KEYS : 0, seed: index + 1 },
  }
}

/** @param {Crew} crew @param {number} durationMs of each turn @returns {Promise<Figures>} */
async function alternate(crew, durationMs) {
  const { size } = crew
  const task = /** @type {const} */ ({ do: 'decide', durationMs, inFlight: 1 })
  /** @type {{ one: Decided[], all: Decided[] }[]} */
  const pairs = []
  for (let pair = 0; pair < PAIRS; pair++) {
    const one = /** @type {Decided[]} */ (await crew.together([pair % size], task))
    pairs.push({ one, all: /** @type {Decided[]} */ (await crew.together(indices(size), task)) })
  }
  const cpuOf = (/** @type {Decided[]} */ replies) => cpuPerDecision(replies, crew.kind)
  return {
    members: size,
    onePerSecond: median(pairs.map(({ one }) => perSecond(one))),
    allPerSecond: median(pairs.map(({ all }) => perSecond(all))),
    timesOne: median(pairs.map(({ one, all }) => perSecond(all) / perSecond(one))),
    cpuTimesOne: median(pairs.map(({ one, all }) => cpuOf(all) / cpuOf(one))),
  }
}

/** Of all who decided at the same time. @param {Decided[]} replies @param {import('./crew.mjs').CrewKind} kind */
function cpuPerDecision(replies, kind) {
  const cpus = replies.map(({ cpuNs }) => cpuNs)
  // Each thread reports what its process used.
  const cpuNs = kind === 'threads' ? median(cpus) : sum(cpus)
  return cpuNs / sum(replies.map(({ decisions }) => decisions))
}

/** The limiter's own account must be that of its users. @param {Crew} crew @param {Limiter} limiter */
export async function checkTotal(crew, limiter) {
  const admitted = sum(admittedOf(await crew.all(() => ({ do: 'count' }))))
  const { allowed, denied } = limiter.stats()
  if (allowed !== admitted || denied !== 0) {
    throw new Error(
      `wrong count: ${admitted} admitted, and the limiter counts ${allowed} and ${denied} refused`,
    )
  }
}

/** Of all who decided at the same time. @param {import('./crew-member.mjs').Reply[]} replies */
export function perSecond(replies) {
  return sum(
    /** @type {Decided[]} */ (replies).map(({ decisions, elapsedNs }) => (decisions * 1e9) / elapsedNs),
  )
}

/** @param {import('./crew-member.mjs').Reply[]} replies */
function admittedOf(replies) {
  return /** @type {Counted[]} */ (replies).map(({ admitted }) => admitted)
}

/** @param {number} count */
export function indices(count) {
  return Array.from({ length: count }, (_, index) => index)
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}
