// Compiled with the rest of the tests, and never run: what TypeScript must accept of the Redis mode, and what it must not.
import { Cluster, Redis } from 'ioredis'
import type { Decision, DecisionSource, Key, Reason, SetDecision } from '../../lib/index'
import {
  type BreakerOptions,
  type BreakerState,
  type DenyCacheOptions,
  type LeaseOptions,
  type Mode,
  type RedisEvents,
  type RedisLease,
  RedisLimiter,
  type RedisLimiterOptions,
  RedisLimitSet,
  type RedisLimitSetMember,
  type RedisReservation,
  type RedisStats,
  type RedisView,
  type StateChange,
  type UnavailablePolicy,
} from '../../lib/redis/index'

const client = new Redis()
const cluster = new Cluster([{ host: 'redis', port: 6379 }])
const breaker: BreakerOptions = { failures: 1, openMs: 10, maxOpenMs: 10 }
const denyCache: DenyCacheOptions = { maxKeys: 1, maxAgeMs: 1, announce: false }
const lease: LeaseOptions = { leaseMs: 10, maxKeys: 1 }
const mode: Mode = 'leased'
const onUnavailable: UnavailablePolicy = 'deny'
const options: RedisLimiterOptions = {
  client,
  prefix: 'api',
  mode,
  onUnavailable,
  timeoutMs: 50,
  hosts: 2,
  breaker,
  denyCache,
  lease,
  shared: 'api',
  limit: 1,
  windowMs: 1000,
  tiers: { paid: { limit: 2 } },
}

export const limiter: RedisLimiter = new RedisLimiter(options)
export const held = new RedisLimiter({
  client: cluster,
  algorithm: 'concurrency',
  limit: 1,
  holdMs: 1000,
  denyCache: true,
})
export const view: RedisView = limiter.tier('paid')
export const mapped = new RedisLimiter({
  client: new Redis({ replyMapping: 'resp3' }),
  limit: 1,
  windowMs: 1000,
})
const key: Key = new Uint8Array(4)

export async function operations(): Promise<unknown[]> {
  const allowed: boolean = await limiter.allow(key)
  const decision: Decision = await view.consume('k', 2, { partial: true })
  const source: DecisionSource = decision.source
  const reason: Reason = decision.reason
  const many: Decision[] = await limiter.consumeMany(['a', 1, key] as const, { cost: [1, 2, 3] })
  const corrected: number = (await limiter.refund('k', 1, 5)) + (await limiter.penalize('k', 1))
  const done: boolean[] = [await limiter.block('k', 5), await limiter.reset('k')]
  const reservation: RedisReservation = await limiter.reserve('k', 5, 1000, { maxDebt: 1 })
  const uncharged: number = await reservation.settle(3)
  await reservation.cancel()
  const place: RedisLease = await held.acquire('k')
  const waited: [Decision, RedisLease] = [
    await limiter.wait('k', 1, { maxWaitMs: 5, priority: 1, signal: AbortSignal.timeout(5) }),
    await held.waitForLease('k'),
  ]
  await using other = await held.acquire('k', 2)
  await using mine = new RedisLimiter({ client, limit: 1, windowMs: 1000 })
  const released: boolean = await place.release()
  return [allowed, source, reason, many, corrected, done, uncharged, waited, other, mine.state, released]
}

export async function sets(): Promise<void> {
  const member: RedisLimitSetMember = { name: 'held', limiter: held }
  const set = new RedisLimitSet([limiter, view, member])
  const answer: SetDecision = await set.consume(['a', key, 7], [1, 2, 3])
  const by: string | undefined = answer.limitedBy
  const each: Decision | undefined = answer.decisions['held']
  const both: boolean = await set.allow('k')
  const waited: SetDecision = await set.wait('k', 1, { maxWaitMs: 5 })
  void [by, each, both, waited, await set.refund('k', 1, 5)]
}

export function listens(): RedisLimiter {
  const onState = ({ node, from, to, error }: StateChange): void => void [node, from, to, error]
  const events: (keyof RedisEvents)[] = ['state', 'hosts', 'announcements', 'reconciled']
  const stats: RedisStats = limiter.stats()
  const state: BreakerState = limiter.state
  const counts: { allowed: number; denied: number } = stats.sources.cache
  void [events, stats.client.evals, state, counts]
  return limiter
    .on('state', onState)
    .off('state', onState)
    .on('hosts', (count: number) => count)
    .on('reconciled', ({ tokens, keys, lostTokens }) => tokens + keys + lostTokens)
    .on('announcements', (isConnected: boolean) => isConnected)
}

// @ts-expect-error no client
new RedisLimiter({ limit: 1, windowMs: 1000 })
// @ts-expect-error no such mode
new RedisLimiter({ client, limit: 1, windowMs: 1000, mode: 'lease' })
// @ts-expect-error no such option
new RedisLimiter({ client, limit: 1, windowMs: 1000, maxKeys: 1 })
// @ts-expect-error no such policy
new RedisLimiter({ client, limit: 1, windowMs: 1000, onUnavailable: 'open' })
// @ts-expect-error an address is no client
new RedisLimiter({ client: 'redis://localhost', limit: 1, windowMs: 1000 })
// @ts-expect-error no event
limiter.on('close', () => undefined)
// @ts-expect-error not what the listener is told
limiter.on('hosts', (count: string) => count)
// @ts-expect-error no key
limiter.allow(undefined)
// @ts-expect-error a promise is no boolean
export const wrong: boolean = limiter.allow('k')
// @ts-expect-error no keys
new RedisLimitSet([limiter, view]).allow([undefined, key])
// @ts-expect-error nothing to construct by users
new RedisLimitSet([limiter, {}])
// @ts-expect-error read-only
limiter.state = 'open'
