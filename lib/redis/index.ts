export type { BreakerState } from './breaker'
export type {
  BreakerOptions,
  DenyCacheOptions,
  LeaseOptions,
  Mode,
  RedisLimiterOptions,
  UnavailablePolicy,
} from './options'
export type { RedisEvents, StateChange } from './redis-events'
export type { RedisLease } from './redis-lease'
export type { RedisLimitSetMember } from './redis-limit-set'
export { RedisLimitSet } from './redis-limit-set'
export { RedisLimiter } from './redis-limiter'
export type { RedisReservation } from './redis-reservation'
export type { RedisStats } from './redis-stats'
export { RedisView } from './redis-view'
