// What the engine makes of the traffic, for each algorithm.
import { Limiter, ManualClock } from 'sluice'
import { END_MS, LIMIT, levels, most, OFFERED_MS, WINDOW_MS } from './traffic.mjs'

const limit = LIMIT
const windowMs = WINDOW_MS
const KEY = 'k'

/** Of concurrency: how long a call takes, and which of them die without releasing. */
const TAKES_MS = 4000
/** @param {number} place */
const dies = (place) => place % 4 === 3

/** @typedef {import('./traffic.mjs').Steps} Steps */
/** @typedef {import('sluice').LimiterOptions & { algorithm: import('sluice').Algorithm }} Policy */
/**
 * @typedef {object} Run
 * @property {Policy} policy
 * @property {number[]} admittedMs when each call that was admitted goes out
 * @property {Steps} admitted how much of them counts at a time
 * @property {Steps} offered the same if everything were admitted
 * @property {string} admittedWord
 * @property {string} axis
 * @property {string} verdict
 */

/** @type {Policy[]} */
const POLICIES = [
  { algorithm: 'token-bucket', limit, windowMs, burst: limit },
  { algorithm: 'fixed-window', limit, windowMs, align: 'epoch' },
  { algorithm: 'sliding-window', limit, windowMs },
  { algorithm: 'sliding-log', limit, windowMs },
  { algorithm: 'strict-window', limit, windowMs },
  { algorithm: 'leaky-bucket', limit, windowMs, queue: limit },
  { algorithm: 'concurrency', limit, holdMs: windowMs },
]

/**
 * One run for each algorithm: what was offered and admitted, when, and how much of it counts at a time.
 * @returns {Run[]}
 */
export function runs() {
  return POLICIES.map((policy) => {
    const clock = new ManualClock(0)
    const limiter = new Limiter({ ...policy, maxKeys: 1, clock })
    try {
      return policy.algorithm === 'concurrency'
        ? holds(policy, limiter, clock)
        : rates(policy, limiter, clock)
    } finally {
      limiter.close()
    }
  })
}

/** @param {Policy} policy @param {Limiter} limiter @param {ManualClock} clock @returns {Run} */
function rates(policy, limiter, clock) {
  /** @type {number[]} */
  const admittedMs = []
  for (const timeMs of OFFERED_MS) {
    clock.set(timeMs)
    const { allowed, delayMs } = limiter.consume(KEY)
    if (allowed) admittedMs.push(timeMs + delayMs)
  }
  const admitted = levels(admittedMs, WINDOW_MS)
  return {
    policy,
    admittedMs,
    admitted,
    offered: levels(OFFERED_MS, WINDOW_MS),
    admittedWord: policy.algorithm === 'leaky-bucket' ? 'goes out' : 'admitted',
    axis: 'calls in the last 10 s',
    verdict: `most in any 10 s: ${most(admitted)}`,
  }
}

/**
 * Every call takes a while and then releases its lease, or dies. What is held is what the engine says.
 * @param {Policy} policy @param {Limiter} limiter @param {ManualClock} clock @returns {Run}
 */
function holds(policy, limiter, clock) {
  /** @type {number[]} */
  const admittedMs = []
  /** @type {Steps} */
  const admitted = []
  /** @type {Map<number, import('sluice').Lease[]>} */
  const leases = new Map()
  let place = 0
  for (let timeMs = 0; timeMs <= END_MS; timeMs++) {
    clock.set(timeMs)
    for (const lease of leases.get(timeMs) ?? []) lease.release()
    for (; OFFERED_MS[place] === timeMs; place++) {
      const lease = limiter.acquire(KEY)
      if (!lease.allowed) continue
      admittedMs.push(timeMs)
      if (!dies(admittedMs.length - 1))
        leases.set(timeMs + TAKES_MS, [...(leases.get(timeMs + TAKES_MS) ?? []), lease])
    }
    const held = LIMIT - limiter.peek(KEY).remaining
    if (held !== (admitted.at(-1)?.[1] ?? 0)) admitted.push([timeMs, held])
  }
  return {
    policy,
    admittedMs,
    admitted,
    offered: levels(OFFERED_MS, TAKES_MS),
    admittedWord: 'admitted',
    axis: 'held at once',
    verdict: `most at once: ${most(admitted)}`,
  }
}
