// Turns what server and clients saw into the outcome: a verdict for every client, latencies, violations.

import { arch, availableParallelism, cpus, platform, release } from 'node:os'
import { abuser, pacedClients, policy } from './plan.mjs'

/** @typedef {import('./run.mjs').PhaseResult} PhaseResult */
/** @typedef {import('./run.mjs').RunResult} RunResult */

/**
 * @typedef {object} ClientOutcome
 * @property {string} client
 * @property {number} sent requests to /limited
 * @property {number} admitted
 * @property {number} denied
 * @property {number} allowedAtMost what the policy allows in the time of the phases, each starting with a full bucket
 * @property {number} overAdmitted decisions that admitted too much, over any interval
 * @property {number} wronglyDenied
 * @property {string[]} violations
 */
/** @typedef {{ requests: number, p50Ms: number, p99Ms: number }} Latency */
/** @typedef {'quiet' | 'abused'} Load */

/** @param {PhaseResult[]} phases @param {string} client @returns {ClientOutcome} */
function outcomeOf(phases, client) {
  const outcome = {
    client,
    sent: 0,
    admitted: 0,
    denied: 0,
    allowedAtMost: 0,
    overAdmitted: 0,
    wronglyDenied: 0,
  }
  const seen = { admitted: 0, denied: 0 }
  for (const phase of phases) {
    const decided = phase.decided[client]
    const answered = phase.seen[client]
    if (!decided || !answered) continue
    outcome.sent += answered.sent
    seen.admitted += answered.admitted
    seen.denied += answered.denied
    outcome.admitted += decided.admitted
    outcome.denied += decided.denied
    outcome.allowedAtMost += decided.allowedAtMost
    outcome.overAdmitted += decided.overAdmitted
    outcome.wronglyDenied += decided.wronglyDenied
  }
  return { ...outcome, violations: violationsOf(outcome, seen) }
}

/**
 * @param {Omit<ClientOutcome, 'violations'>} outcome @param {{ admitted: number, denied: number }} seen by the client
 * @returns {string[]}
 */
function violationsOf(outcome, seen) {
  const { client, sent, admitted, denied, allowedAtMost, overAdmitted, wronglyDenied } = outcome
  const violations = []
  if (admitted > allowedAtMost) violations.push(`admitted ${admitted}, the policy allows ${allowedAtMost}`)
  if (overAdmitted > 0) violations.push(`${overAdmitted} decisions admitted more than the policy allows`)
  if (wronglyDenied > 0) violations.push(`${wronglyDenied} decisions denied what the policy allows`)
  if (client === abuser && denied === 0) violations.push('the abuser was never denied')
  if (client !== abuser && denied > 0) violations.push(`a well-behaved client was denied ${denied} times`)
  if (sent === 0) violations.push('sent nothing')
  if (seen.admitted !== admitted || seen.denied !== denied || sent !== admitted + denied) {
    violations.push(`the client saw ${seen.admitted} admitted and ${seen.denied} denied of ${sent} sent`)
  }
  return violations
}

/** @param {number[]} sorted @param {number} share 0 to 1 */
function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** @param {PhaseResult[]} phases @param {Load} kind @param {boolean} limited @returns {Latency} */
function latencyOf(phases, kind, limited) {
  const matching = phases.filter(({ phase }) => phase.kind === kind && phase.limited === limited)
  const sorted = matching.flatMap(({ latenciesMs }) => latenciesMs).sort((a, b) => a - b)
  return { requests: sorted.length, p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99) }
}

/** @typedef {ReturnType<typeof outcomeOfRun>} Outcome */

/** @param {RunResult} run @param {string} version of the package @param {number} tookSeconds */
export function outcomeOfRun(run, version, tookSeconds) {
  const phases = run.phases.filter(({ phase }) => phase.kind !== 'warm-up')
  const clients = [...pacedClients, abuser].map((client) => outcomeOf(phases, client))
  const latency = {
    quietOpen: latencyOf(phases, 'quiet', false),
    quietLimited: latencyOf(phases, 'quiet', true),
    abusedOpen: latencyOf(phases, 'abused', false),
    abusedLimited: latencyOf(phases, 'abused', true),
  }
  return {
    ok: clients.every(({ violations }) => violations.length === 0),
    policy: { algorithm: 'token-bucket', ...policy },
    clients,
    latency,
    cost: run.cost,
    engine: { version, tableKeys: run.stats.keys, tableBytes: run.stats.bytes },
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
      cores: availableParallelism(),
      system: `${platform()} ${release()} ${arch()}`,
      node: process.version,
    },
    tookSeconds,
  }
}
