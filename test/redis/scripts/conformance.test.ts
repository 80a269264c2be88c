import Redis from 'ioredis'
import { afterAll, beforeAll, describe } from 'vitest'
import type { VectorMember } from '../../conformance/format'
import {
  type BackendAnswer,
  type BackendCall,
  type BackendKey,
  type BackendSetCall,
  runSetVectors,
  runVectors,
  type VectorBackend,
  type VectorSetBackend,
} from '../../conformance/run-vectors'
import { type RedisServer, startRedis } from '../servers'
import { type Answer, decideTogether, type Estimate, ScriptLimiter, type Ticket } from './script-limiter'

let server: RedisServer
let redis: Redis

beforeAll(async () => {
  server = await startRedis()
  redis = new Redis(server.url)
})

afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

/** Distinct for distinct keys. */
function keyText(key: BackendKey): string {
  if (typeof key === 'number') return `n${key}`
  if (typeof key === 'string') return `s${Buffer.from(key, 'utf16le').toString('hex')}`
  return `b${Buffer.from(key).toString('hex')}`
}

class ScriptBackend implements VectorBackend {
  readonly #tickets = new Map<number, Ticket>()
  readonly #estimates = new Map<number, Estimate>()

  constructor(readonly limiter: ScriptLimiter) {}

  setTime(ms: number): void {
    this.limiter.setTime(ms)
  }

  async call(call: BackendCall): Promise<BackendAnswer> {
    const { op, args, tier } = call
    const key = keyText(call.key)
    const [first = 1, second = 0] = args
    const { limiter } = this
    switch (op) {
      case 'consume':
        return limiter.decide(`${first}`, key, tier)
      case 'consumePartial':
        return limiter.decide(`p ${first}`, key, tier)
      case 'allow':
        return (await limiter.decide(`a ${first}`, key, tier)).allowed
      case 'peek':
        return limiter.decide('k 1', key, tier)
      case 'refund':
        return limiter.amount(`r ${first} ${Math.round(second * 1000)}`, key, tier)
      case 'penalize':
        return limiter.amount(`n ${first} 0`, key, tier)
      case 'block':
        return limiter.amount(`b ${Math.round(first * 1000)}`, key, tier)
      case 'reset':
        return (await limiter.amount('x', key, tier)) === 1
      default:
        return this.#hold(call, key)
    }
  }

  async #hold({ op, args, tier, index, of = -1 }: BackendCall, key: string): Promise<BackendAnswer> {
    const [first = 1, second = 0, maxDebt] = args
    const { limiter } = this
    if (op === 'acquire') {
      const { answer, ticket } = await limiter.acquire(key, first, tier)
      this.#tickets.set(index, ticket)
      return answer
    }
    if (op === 'release') {
      const ticket = this.#tickets.get(of) as Ticket
      this.#tickets.set(of, { ...ticket, tokens: 0 })
      return limiter.release(ticket)
    }
    if (op === 'reserve') {
      const { answer, estimate } = await limiter.reserve(key, first, second, maxDebt, tier)
      this.#estimates.set(index, estimate)
      return answer
    }
    const estimate = this.#estimates.get(of) as Estimate
    const isOpen = estimate.isCharged
    this.#estimates.set(of, { ...estimate, isCharged: false })
    const actual = op === 'settle' ? first : 0
    return isOpen ? limiter.settle(estimate, actual) : op === 'settle' ? 0 : undefined
  }

  close(): void {}
}

class ScriptSet implements VectorSetBackend {
  readonly #members: Map<string, ScriptBackend>

  constructor(members: VectorMember[]) {
    const makes = ({ policy }: VectorMember): ScriptBackend =>
      new ScriptBackend(new ScriptLimiter(redis, policy))
    this.#members = new Map(members.map((member) => [member.name, makes(member)]))
  }

  setTime(ms: number): void {
    for (const { limiter } of this.#members.values()) limiter.setTime(ms)
  }

  async call({ op, keys, costs }: BackendSetCall): Promise<object | boolean> {
    const names = [...this.#members.keys()]
    const limiters = [...this.#members.values()].map(({ limiter }) => limiter)
    const letter = op === 'peek' ? 'k' : op === 'allow' ? 'a' : 'c'
    const answers = await decideTogether(limiters, letter, keys.map(keyText), costs)
    const refused = answers.filter(({ allowed }) => !allowed)
    if (op === 'allow') return refused.length === 0
    const last = (a: Answer, b: Answer): Answer => (b.retryAfterMs > a.retryAfterMs ? b : a)
    const least = (a: Answer, b: Answer): Answer => (b.remaining < a.remaining ? b : a)
    const decision = refused.length > 0 ? refused.reduce(last) : answers.reduce(least)
    const delayMs = refused.length > 0 ? 0 : Math.max(...answers.map(({ delayMs }) => delayMs))
    return {
      ...decision,
      delayMs,
      ...(refused.length > 0 ? { limitedBy: names[answers.indexOf(decision)] } : {}),
      decisions: Object.fromEntries(answers.map((answer, i) => [names[i], answer])),
    }
  }

  callMember(member: string, call: BackendCall): Promise<BackendAnswer> {
    return (this.#members.get(member) as ScriptBackend).call(call)
  }

  close(): void {}
}

describe('the scripts on a Redis server', () => {
  runVectors((policy) => new ScriptBackend(new ScriptLimiter(redis, policy)))
  runSetVectors((members) => new ScriptSet(members))
})

describe('the scripts, with several policies to a script call', () => {
  runVectors((policy) => new ScriptBackend(new ScriptLimiter(redis, policy, { isIndexed: true })))
})
