import { Limiter, ManualClock } from '../index'
import type { DecidingLimiter } from './replay-records'
import type { Delays, ReplayEngine, ReplayPolicy } from './report'

const MIN_KEYS = 1024

/**
 * Makes the native engine for a replay: room for twice the keys there are, so that none is ever evicted.
 * Throws what `new Limiter` throws if the policy is out of range.
 */
export function openEngine(policy: ReplayPolicy, keys: number, startMs: number): ReplayEngine {
  const clock = new ManualClock(startMs)
  const limiter = new Limiter({ ...policy, maxKeys: Math.max(MIN_KEYS, keys * 2), clock })
  return {
    ...(policy.algorithm === 'leaky-bucket' ? pacing(limiter) : { limiter }),
    clock,
    finish() {
      const { evictedLive, refusedFull } = limiter.stats()
      limiter.close()
      if (evictedLive + refusedFull > 0) {
        throw new Error(
          `the table lost keys (evicted ${evictedLive}, refused ${refusedFull}): the result would be wrong`,
        )
      }
    },
  }
}

/** Admits who may go out later too, and notes by how much. */
function pacing(limiter: Limiter): { limiter: DecidingLimiter; delays: Delays } {
  const delays = { delayed: 0, longestDelayMs: 0 }
  const allow = (key: string) => {
    const { allowed, delayMs } = limiter.consume(key)
    if (delayMs > 0) delays.delayed++
    if (delayMs > delays.longestDelayMs) delays.longestDelayMs = delayMs
    return allowed
  }
  return { limiter: { allow }, delays }
}
