// One decision shared by the processes of a machine: sluice, and those who ask another process for it.

import { createRequire } from 'node:module'
import { Crew } from './crew.mjs'
import { startRedis } from './redis-server.mjs'
import { median } from './results.mjs'
import { checkTotal, indices, openLimiter, perSecond, specOf } from './together.mjs'

/**
 * @typedef {import('./crew-member.mjs').Decided} Decided
 * @typedef {import('./deciders.mjs').DeciderSpec} DeciderSpec
 * @typedef {import('./results.mjs').Figures} Figures
 * @typedef {import('./sharing-jobs.mjs').RivalJob} RivalJob
 */

const WORKERS = 2
const IN_FLIGHT = 64
const TURNS = 3
const policy = { limit: 1_000_000, windowMs: 86_400_000 }
/** The same keys for all workers. */
const KEYS = 1000

/** @param {RivalJob & { region?: string }} job @returns {Promise<Figures>} */
export async function measureRival({ rival, measureMs, region }) {
  const redis = rival.startsWith('redis-') ? await startRedis() : undefined
  const limiter =
    rival === 'sluice' ? openLimiter('name', { ...policy, maxKeys: 1_000_000 }, region) : undefined
  if (rival === 'cluster') startMaster()
  const crew = await Crew.start('processes', WORKERS)
  /** @type {(index: number) => DeciderSpec} */
  const spec = (index) =>
    rival === 'sluice'
      ? specOf('name', limiter, policy, 'same', index)
      : { with: rival, policy, keys: { count: KEYS, first: 0, seed: index + 1 }, port: redis?.port ?? 0 }
  try {
    await crew.all((index) => ({ do: 'prepare', spec: spec(index), warmUpMs: 2 * measureMs }))
    const figures = await measureShapes(crew, measureMs)
    if (limiter !== undefined) await checkTotal(crew, limiter)
    return figures
  } finally {
    crew.stop()
    redis?.stop()
    limiter?.close()
  }
}

/** @param {Crew} crew @param {number} durationMs @returns {Promise<Figures>} */
async function measureShapes(crew, durationMs) {
  /** @type {Figures} */
  const figures = {}
  for (const workers of [1, WORKERS]) {
    for (const inFlight of [1, IN_FLIGHT]) {
      const task = /** @type {const} */ ({ do: 'decide', durationMs, inFlight })
      const rates = []
      const latencies = []
      for (let turn = 0; turn < TURNS; turn++) {
        const replies = await crew.together(indices(workers), task)
        rates.push(perSecond(replies))
        latencies.push(...replies.map((reply) => /** @type {Decided} */ (reply).latencyNs))
      }
      figures[`perSecond${workers}x${inFlight}`] = median(rates)
      figures[`latencyNs${workers}x${inFlight}`] = median(latencies)
    }
  }
  return figures
}

/** The process that decides for the others: this one. */
function startMaster() {
  const { RateLimiterClusterMaster } = /** @type {Record<string, new () => object>} */ (
    createRequire(import.meta.url)('rate-limiter-flexible')
  )
  ;new /** @type {new () => object} */ (RateLimiterClusterMaster)()
}
