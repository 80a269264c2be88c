import type { BreakerState } from './breaker'

/** A change of what is thought of a node. */
export interface StateChange {
  /** Of a Cluster: `host:port`. '' where there is but one. */
  readonly node: string
  readonly from: BreakerState
  readonly to: BreakerState
  /** What made it so, if it was a failure. */
  readonly error?: Error
}

/** What a `RedisLimiter` tells of itself, by the name of the event: the arguments of a listener. */
export interface RedisEvents {
  /**
   * `open`: the node has failed so often in a row that it is not asked any more; `half-open`: one call tries it again;
   * `closed`: it answers.
   */
  state: [change: StateChange]
  /**
   * A key in Redis holds something that sluice has not written, or under another algorithm: such calls are answered as if
   * Redis was away. Told of one key a second at most; `stats().unreadable` counts them.
   */
  unreadable: [key: string]
  /** How many hosts share the limit, as far as is known, has changed. */
  hosts: [count: number]
  /** What hosts announce (`reset`, `block`) comes through again, or does not; see `DenyCacheOptions.announce`. */
  announcements: [isConnected: boolean]
  /** What this host admitted without Redis was reported there: tokens, of how many keys, and how many tokens it lost count of. */
  reconciled: [report: { tokens: number; keys: number; lostTokens: number }]
}

export const EVENTS = [
  'state',
  'unreadable',
  'hosts',
  'announcements',
  'reconciled',
] as const satisfies readonly (keyof RedisEvents)[]
