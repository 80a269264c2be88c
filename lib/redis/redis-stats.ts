import type { DecisionSource } from '../limiter/decision'
import type { BreakerState } from './breaker'
import type { RedisCore } from './redis-core'

/** Figures about a `RedisLimiter` object since it was made. (`peek` does not count.) */
export interface RedisStats {
  allowed: number
  denied: number
  /** The same by who decided. */
  sources: Record<DecisionSource, { allowed: number; denied: number }>
  /** How many hosts share the limit, as far as is known. */
  hosts: number
  state: BreakerState
  /** Answers of Redis that a key holds something else: see the event `unreadable`. */
  unreadable: number
  /** What went over the client, of all limiters that have it in common. */
  client: {
    /** Scripts called, and how many calls they carried. */
    scriptCalls: number
    calls: number
    /** How often a script had to be sent whole, as after a restart of Redis. */
    evals: number
    /** Calls that were not answered in time. */
    timeouts: number
  }
}

export function readRedisStats(core: RedisCore): RedisStats {
  const stats: RedisStats = {
    allowed: 0,
    denied: 0,
    sources: {} as RedisStats['sources'],
    hosts: core.hosts.count,
    state: core.state,
    unreadable: core.unreadable,
    client: core.courier.stats,
  }
  for (const [source, [allowed, denied]] of Object.entries(core.counts)) {
    stats.sources[source as DecisionSource] = { allowed, denied }
    stats.allowed += allowed
    stats.denied += denied
  }
  return stats
}
