import { randomBytes } from 'node:crypto'
import Redis, { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { ManualClock } from '../../lib/index'
import {
  RedisLimiter,
  type RedisLimiterOptions,
  RedisLimitSet,
  type RedisReservation,
  type RedisView,
} from '../../lib/redis/index'
import type { VectorMember, VectorPolicy } from '../conformance/format'
import {
  type BackendAnswer,
  type BackendCall,
  type BackendSetCall,
  runSetVectors,
  runVectors,
  type VectorBackend,
  type VectorSetBackend,
} from '../conformance/run-vectors'
import { type RedisCluster, startCluster } from './cluster'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

type Lease = Awaited<ReturnType<RedisView['acquire']>>
type DenyCache = NonNullable<RedisLimiterOptions['denyCache']>
type Sharing = Pick<RedisLimiterOptions, 'client' | 'prefix' | 'denyCache'>

/** What the deny cache does not know is asked of a limiter without one. */
class Users implements VectorBackend {
  readonly #users: RedisLimiter[]
  readonly #onlooker: RedisLimiter
  readonly #leases = new Map<number, Lease>()
  readonly #reservations = new Map<number, RedisReservation>()
  #calls = 0

  /** @param users of one limiter, of which each call is made by the next one */
  constructor(
    readonly clock: ManualClock,
    users: RedisLimiter[],
    onlooker: RedisLimiter,
  ) {
    this.#users = users
    this.#onlooker = onlooker
  }

  /** All see every step of the clock. */
  async setTime(ms: number): Promise<void> {
    this.clock.set(ms)
    await Promise.all([...this.#users, this.#onlooker].map((user) => user.peek('nobody')))
  }

  async call(call: BackendCall): Promise<BackendAnswer> {
    const user = this.#users[this.#calls++ % this.#users.length] as RedisLimiter
    const { op, key, args, tier } = call
    const [first = 1, second] = args
    const view = viewOf(user, tier)
    switch (op) {
      case 'consume':
        return this.#decision(await view.consume(key, first), call)
      case 'consumePartial':
        return this.#decision(await view.consume(key, first, { partial: true }), call)
      case 'allow':
        return view.allow(key, first)
      case 'peek':
        return this.#decision(await view.peek(key), call)
      case 'refund':
        return view.refund(key, first, second)
      case 'penalize':
        return view.penalize(key, first)
      case 'block':
        return view.block(key, first)
      case 'reset':
        return view.reset(key)
      default:
        return this.#hold(view, call)
    }
  }

  async #hold(view: RedisView, { op, key, args, index, of = -1 }: BackendCall): Promise<BackendAnswer> {
    const [first = 1, second = 0, maxDebt] = args
    if (op === 'acquire') {
      const lease = await view.acquire(key, first)
      this.#leases.set(index, lease)
      return lease
    }
    if (op === 'release') return (this.#leases.get(of) as Lease).release()
    if (op === 'reserve') {
      const options = maxDebt === undefined ? undefined : { maxDebt }
      const reservation = await view.reserve(key, first, second, options)
      this.#reservations.set(index, reservation)
      return reservation
    }
    const reservation = this.#reservations.get(of) as RedisReservation
    if (op === 'settle') return reservation.settle(first)
    await reservation.cancel()
    return undefined
  }

  async #decision(
    answer: Awaited<ReturnType<RedisView['peek']>>,
    { key, tier }: BackendCall,
  ): Promise<object> {
    expect(answer.source).toBeOneOf(['exact', 'cache'])
    if (answer.source !== 'cache') return answer
    expect(answer).toMatchObject({ allowed: false, remaining: 0, consumed: 0 })
    const { remaining, resetAfterMs } = await viewOf(this.#onlooker, tier).peek(key)
    // What was spent under other tiers since may count for longer.
    expect(answer.resetAfterMs).toBeLessThanOrEqual(resetAfterMs)
    return { ...answer, remaining, resetAfterMs }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#users, this.#onlooker].map((user) => user.close()))
  }
}

function viewOf(limiter: RedisLimiter, tier: string | undefined): RedisView {
  return tier === undefined ? limiter : limiter.tier(tier)
}

/** A set, whose members can be called by themselves. */
class RedisSet implements VectorSetBackend {
  readonly #members: Map<string, Users>
  readonly #set: RedisLimitSet

  constructor(
    readonly clock: ManualClock,
    limiters: [string, RedisLimiter, RedisLimiter][],
  ) {
    this.#members = new Map(
      limiters.map(([name, limiter, onlooker]) => [name, new Users(clock, [limiter], onlooker)]),
    )
    this.#set = new RedisLimitSet(limiters.map(([name, limiter]) => ({ name, limiter })))
  }

  setTime(ms: number): void {
    this.clock.set(ms)
  }

  call({ op, keys, costs }: BackendSetCall): Promise<object | boolean> {
    return this.#set[op](keys, costs)
  }

  callMember(member: string, call: BackendCall): Promise<BackendAnswer> {
    return (this.#members.get(member) as Users).call(call)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#members.values()].map((member) => member.close()))
  }
}

function open(policy: VectorPolicy, sharing: Sharing, clock: ManualClock): RedisLimiter {
  return new RedisLimiter({
    ...(policy as Omit<RedisLimiterOptions, 'client'>),
    ...sharing,
    clock,
    // What is not answered in good time is not to be answered otherwise: then `source` says so.
    timeoutMs: 20_000,
    onUnavailable: 'deny',
  })
}

let made = 0
const run = randomBytes(4).toString('hex')

function newPrefix(): string {
  return `c${run}-${made++}`
}

function runCases(clients: () => (Redis | Cluster)[], denyCache: DenyCache): void {
  runVectors((policy) => {
    const clock = new ManualClock()
    const prefix = newPrefix()
    const users = clients().map((client) => open(policy, { client, prefix, denyCache }, clock))
    const onlooker = open(policy, { client: clients()[0] as Redis, prefix, denyCache: false }, clock)
    return new Users(clock, users, onlooker)
  })
}

function runSets(client: () => Redis | Cluster, denyCache: DenyCache): void {
  runSetVectors((members) => {
    const clock = new ManualClock()
    const tag = newPrefix()
    const openMember = ({ name, policy }: VectorMember): [string, RedisLimiter, RedisLimiter] => {
      const sharing = { client: client(), prefix: `{${tag}}${name}` }
      const limiter = open(policy, { ...sharing, denyCache }, clock)
      return [name, limiter, open(policy, { ...sharing, denyCache: false }, clock)]
    }
    return new RedisSet(clock, members.map(openMember))
  })
}

const CACHED = { announce: false }

describe('on one server', () => {
  let server: RedisServer
  let clients: Redis[]

  beforeAll(async () => {
    server = await startRedis()
    clients = [new Redis(server.url), new Redis(server.url)]
  })
  afterAll(async () => {
    for (const client of clients) client.disconnect()
    await expectAllKeysHaveTtl(server)
    await server.stop()
  })

  describe('a limiter', () => {
    runCases(() => clients.slice(0, 1), false)
    runSets(() => clients[0] as Redis, false)
  })

  describe('a limiter that remembers denials', () => {
    runCases(() => clients.slice(0, 1), CACHED)
    runSets(() => clients[0] as Redis, CACHED)
  })

  describe('two limiters of two clients, by turns', () => {
    runCases(() => clients, false)
  })
})

describe('on a cluster', () => {
  let cluster: RedisCluster
  let client: Cluster

  beforeAll(async () => {
    cluster = await startCluster()
    client = new Cluster(cluster.addresses)
  })
  afterAll(async () => {
    client.disconnect()
    await expectAllKeysHaveTtl(cluster)
    await cluster.stop()
  })

  runCases(() => [client], false)
  runSets(() => client, false)
})
