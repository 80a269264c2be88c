import { randomBytes } from 'node:crypto'
import Redis from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { ManualClock } from '../../lib/index'
import { RedisLimiter, type RedisLimiterOptions } from '../../lib/redis/index'
import { type RedisServer, startRedis } from './servers'
import { expectAllKeysHaveTtl } from './ttl'

/** Nothing here is about time running out. */
export const UNHURRIED_MS = 20_000

type Options = Partial<RedisLimiterOptions>

/** A server, a client, and limiters that are closed after each test. The last check: no key lives for ever. */
export class Scene {
  server!: RedisServer
  redis!: Redis
  clock!: ManualClock
  /** Of the test: no other one has it. */
  prefix = ''
  #opened: RedisLimiter[] = []

  async start(): Promise<void> {
    this.server = await startRedis()
    this.redis = this.connect()
    await this.redis.ping()
  }

  connect(): Redis {
    return new Redis(this.server.url)
  }

  begin(): void {
    this.prefix = `t${randomBytes(4).toString('hex')}`
    this.clock = new ManualClock(1_000_000)
  }

  /** On the clock of the test, without a connection to listen on. */
  open(options: Options = {}): RedisLimiter {
    return this.openReal({ clock: this.clock, ...options })
  }

  /** On the server's clock. */
  openReal(options: Options = {}): RedisLimiter {
    const limiter = new RedisLimiter({
      client: this.redis,
      prefix: this.prefix,
      limit: 10,
      windowMs: 1000,
      timeoutMs: UNHURRIED_MS,
      denyCache: { announce: false },
      ...options,
    })
    this.#opened.push(limiter)
    return limiter
  }

  /** The keys of the test in Redis, less that of its hosts. */
  async keys(): Promise<string[]> {
    const keys = await this.redis.keys(`${this.prefix}*`)
    return keys.filter((key) => !key.endsWith(':hosts')).sort()
  }

  async end(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((limiter) => limiter.close()))
  }

  async stop(): Promise<void> {
    this.redis.disconnect()
    await expectAllKeysHaveTtl(this.server)
    await this.server.stop()
  }
}

/** A scene for all tests of the file that calls this. */
export function useScene(): Scene {
  const scene = new Scene()
  beforeAll(() => scene.start())
  beforeEach(() => scene.begin())
  afterEach(() => scene.end())
  afterAll(() => scene.stop())
  return scene
}
