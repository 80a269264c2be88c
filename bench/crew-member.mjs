// A thread or process of a crew: does what it is told, one task at a time.

import { parentPort } from 'node:worker_threads'
import { makeDecider } from './deciders.mjs'
import { BATCH } from './keys.mjs'
import { nowNs } from './now.mjs'
import { quantile } from './results.mjs'

/**
 * @typedef {import('./deciders.mjs').DeciderSpec} DeciderSpec
 * @typedef {import('./deciders.mjs').Decider} Decider
 *
 * What a member can do: make ready, decide for some time, race for one key, say how many were admitted so far.
 * @typedef {{ do: 'prepare', spec: DeciderSpec, warmUpMs: number }} Prepare
 * @typedef {{ do: 'decide', durationMs: number, inFlight: number, startNs?: number }} Decide
 * @typedef {{ do: 'race', key: string, calls: number, startNs?: number }} Race
 * @typedef {Prepare | Decide | Race | { do: 'count' }} Task
 *
 * `latencyNs` is the median time from asking to knowing; where one decision cannot be timed alone, of a batch, a
 * decision's part. `cpuNs` is what the process used meanwhile, all its threads together.
 * @typedef {{ decisions: number, elapsedNs: number, latencyNs: number, cpuNs: number }} Decided
 * @typedef {{ admitted: number }} Counted
 * @typedef {Decided | Counted} Reply
 */

/** @type {Decider} */
let decider

/** @param {Task} task @returns {Promise<Reply>} */
async function perform(task) {
  switch (task.do) {
    case 'prepare':
      decider = await makeDecider(task.spec)
      await decide({ do: 'decide', durationMs: task.warmUpMs, inFlight: 64 })
      return { admitted: decider.admitted }
    case 'decide':
      return decide(task)
    case 'race':
      return race(task)
    case 'count':
      return { admitted: decider.admitted }
  }
}

/** @param {Decide} task */
function decide(task) {
  return 'run' in decider ? decideInBatches(decider.run, task) : decideInFlight(decider.decide, task)
}

/** @param {() => void} run @param {Decide} task @returns {Decided} */
function decideInBatches(run, { startNs = nowNs(), durationMs }) {
  waitUntil(startNs)
  const cpuBefore = process.cpuUsage()
  const fromNs = nowNs()
  const untilNs = startNs + durationMs * 1e6
  /** @type {number[]} */
  const latencies = []
  let endNs = fromNs
  do {
    const batchNs = endNs
    run()
    endNs = nowNs()
    latencies.push((endNs - batchNs) / BATCH)
  } while (endNs < untilNs)
  const decisions = latencies.length * BATCH
  const elapsedNs = endNs - fromNs
  return { decisions, elapsedNs, latencyNs: quantile(latencies, 0.5), cpuNs: cpuSince(cpuBefore) }
}

/**
 * @param {(count: number) => Promise<number>} ask
 * @param {Decide} task
 * @returns {Promise<Decided>}
 */
async function decideInFlight(ask, { startNs = nowNs(), durationMs, inFlight }) {
  waitUntil(startNs)
  const cpuBefore = process.cpuUsage()
  const fromNs = nowNs()
  const untilNs = startNs + durationMs * 1e6
  /** @type {number[]} */
  const latencies = []
  let decisions = 0
  const lane = async () => {
    for (let nowAtNs = nowNs(); nowAtNs < untilNs; ) {
      const decided = await ask(inFlight)
      const answeredNs = nowNs()
      decisions += decided
      latencies.push(answeredNs - nowAtNs)
      nowAtNs = answeredNs
    }
  }
  const lanes = /** @type {import('./deciders.mjs').RemoteDecider} */ (decider).asksTogether ? 1 : inFlight
  await Promise.all(Array.from({ length: lanes }, lane))
  const elapsedNs = nowNs() - fromNs
  return { decisions, elapsedNs, latencyNs: quantile(latencies, 0.5), cpuNs: cpuSince(cpuBefore) }
}

/** @param {NodeJS.CpuUsage} before */
function cpuSince(before) {
  const { user, system } = process.cpuUsage(before)
  return (user + system) * 1000
}

/** @param {Race} task @returns {Counted} */
function race({ startNs = nowNs(), key, calls }) {
  const { limiter } = /** @type {import('./deciders.mjs').LocalDecider} */ (decider)
  if (limiter === undefined) throw new Error('there is nothing to race with')
  waitUntil(startNs)
  let admitted = 0
  for (let i = 0; i < calls; i++) if (limiter.allow(key)) admitted++
  return { admitted }
}

/** Awake, so that nobody is late. @param {number} startNs */
function waitUntil(startNs) {
  while (nowNs() < startNs);
}

/** @param {Reply} reply */
function answer(reply) {
  if (parentPort === null) process.send?.({ reply })
  else parentPort.postMessage({ reply })
}

const port = parentPort ?? process
port.on('message', async (/** @type {Task} */ task) => {
  // Rivals get messages of their own over the same channel.
  if (task.do !== undefined) answer(await perform(task))
})
// A process loses what it is sent before it listens.
answer({ admitted: 0 })
