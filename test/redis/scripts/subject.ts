import { randomBytes } from 'node:crypto'
import Redis from 'ioredis'
import { afterAll, beforeAll } from 'vitest'
import type { Algorithm } from '../../../lib/policy/algorithms'
import { scriptOf } from '../../../lib/redis/scripts'
import { sharedRedis } from '../servers'
import { evalScript } from './script-limiter'

export const NOW = 1_790_000_000_000_000
export const SECOND = 1_000_000
export const HOUR = 3600 * SECOND

const prefix = `windows-${randomBytes(6).toString('hex')}`
let keyCount = 0

/** A client of the tests' server, for all tests of the file that calls this. */
export function useRedis(): () => Redis {
  let redis: Redis
  beforeAll(async () => {
    redis = new Redis((await sharedRedis()).url)
  })
  afterAll(() => redis.disconnect())
  return () => redis
}

export interface Told {
  outcome: number
  remaining: number
  retryUs: number
  resetUs: number
  amount: number
  /** Of an acquire its time and nonce; of a lease what was granted, for how long it is valid, and its origin. */
  more: [number, number, number]
}

/** One key. The clock is the server's, as far as the script can tell: it may be set back. */
export class Subject {
  nowUs = NOW
  readonly key = `${prefix}:{${keyCount++}}`

  constructor(
    readonly redis: Redis,
    readonly algorithm: Algorithm,
    readonly policy: string,
  ) {}

  async ask(item: string): Promise<Told> {
    const args = [`${this.nowUs}`, 1, this.policy, item]
    const reply = await evalScript(this.redis, scriptOf(this.algorithm), [this.key], args)
    const at = (i: number): number => (8 * i < reply.length ? reply.readDoubleLE(8 * i) : 0)
    return {
      outcome: at(0),
      remaining: at(1),
      retryUs: at(2),
      resetUs: at(3),
      amount: at(5),
      more: [at(6), at(7), at(8)],
    }
  }

  async isAdmitted(cost = 1): Promise<boolean> {
    return (await this.ask(`${cost}`)).outcome === 0
  }

  async left(): Promise<number> {
    return (await this.ask('k 1')).remaining
  }

  async amount(item: string): Promise<number> {
    return (await this.ask(item)).amount
  }

  /** What is stored, without the time of the last write. */
  async body(): Promise<string | undefined> {
    return (await this.redis.get(this.key))?.replace(/^\S+ /, '')
  }
}
