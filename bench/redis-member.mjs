// A process that decides by one contender of the comparison with Redis, when it is told to.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { nowNs } from './now.mjs'
import { REDIS_CONTENDERS } from './redis-contenders.mjs'
import { quantile } from './results.mjs'

/**
 * @typedef {{ do: 'prepare', contender: import('./redis-jobs.mjs').RedisContender, port: number, inFlight: number, warmUpMs: number }} Prepare
 * @typedef {{ do: 'decide', durationMs: number, inFlight: number, startNs?: number }} Decide
 * @typedef {{ decisions: number, elapsedNs: number, cpuNs: number, p50Ns: number, p99Ns: number }} Decided
 */

/** Reading the clock must not be what is measured: of so many decisions one is timed by itself. */
const REMOTE_PER_SAMPLE = 4
const LOCAL_PER_SAMPLE = 256
const WARM_UP_IN_FLIGHT = 64

/** @type {import('./redis-contenders.mjs').RedisAsker} */
let asker

/** @param {Decide} task @returns {Promise<Decided>} */
async function decide({ durationMs, inFlight, startNs = nowNs() }) {
  while (nowNs() < startNs);
  const cpuBefore = process.cpuUsage()
  const fromMs = performance.now()
  const untilMs = fromMs + durationMs
  /** @type {number[]} */
  const latencies = []
  const lanes = asker.asksTogether ? 1 : inFlight
  const done = await Promise.all(Array.from({ length: lanes }, () => lane(untilMs, inFlight, latencies)))
  const elapsedNs = (performance.now() - fromMs) * 1e6
  const { user, system } = process.cpuUsage(cpuBefore)
  const decisions = done.reduce((sum, count) => sum + count, 0)
  asker.check?.(decisions)
  const [p50Ns, p99Ns] = [0.5, 0.99].map((share) => quantile(latencies, share) * 1e6)
  return { decisions, elapsedNs, cpuNs: (user + system) * 1000, p50Ns: Number(p50Ns), p99Ns: Number(p99Ns) }
}

/** One decision after the other. @param {number} untilMs @param {number} inFlight @param {number[]} latencies in ms */
async function lane(untilMs, inFlight, latencies) {
  const { ask, asksTogether, isLocal } = asker
  const perSample = asksTogether ? 1 : isLocal ? LOCAL_PER_SAMPLE : REMOTE_PER_SAMPLE
  const perAsk = asksTogether ? inFlight : 1
  for (let decisions = 0; ; decisions += perSample * perAsk) {
    const askedMs = performance.now()
    if (askedMs >= untilMs) return decisions
    await ask(inFlight)
    latencies.push(performance.now() - askedMs)
    for (let i = 1; i < perSample; i++) await ask(inFlight)
    if (isLocal) await nextTurn()
  }
}

/** @param {Prepare | Decide} task */
async function perform(task) {
  if (task.do === 'decide') return decide(task)
  asker = await REDIS_CONTENDERS[task.contender](task.port)
  // With many in flight the compiler sees enough calls soon.
  await decide({ do: 'decide', durationMs: task.warmUpMs / 2, inFlight: WARM_UP_IN_FLIGHT })
  return decide({ do: 'decide', durationMs: task.warmUpMs / 2, inFlight: task.inFlight })
}

process.on('message', async (/** @type {Prepare | Decide} */ task) => {
  process.send?.({ reply: await perform(task) })
})
// A process loses what it is sent before it listens.
process.send?.({ reply: { decisions: 0 } })
