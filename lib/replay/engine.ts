import { Limiter, ManualClock } from '../index'
import type { ReplayEngine, ReplayPolicy } from './report'

const MIN_KEYS = 1024

/**
 * Makes the native engine for a replay: room for twice the keys there are, so that none is ever evicted.
 * Throws what `new Limiter` throws if the policy is out of range.
 */
export function openEngine(policy: ReplayPolicy, keys: number, startMs: number): ReplayEngine {
  const clock = new ManualClock(startMs)
  const limiter = new Limiter({ ...policy, maxKeys: Math.max(MIN_KEYS, keys * 2), clock })
  return {
    limiter,
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
