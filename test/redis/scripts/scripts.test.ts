import Redis from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ALGORITHMS } from '../../../lib/policy/algorithms'
import { REPLY_BYTES, readReply, scriptOf } from '../../../lib/redis/scripts'
import type { OracleSettings } from '../../oracle/settings'
import { type RedisServer, startRedis } from '../servers'
import { decideTogether, evalScript, ScriptLimiter } from './script-limiter'

const NOW_US = 1_790_000_000_000_000
const BUCKET: OracleSettings = { algorithm: 'token-bucket', limit: 10, windowMs: 1000 }

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

function settingsOf(algorithm: OracleSettings['algorithm']): OracleSettings {
  if (algorithm === 'concurrency') return { algorithm, limit: 10, holdMs: 1000 }
  if (algorithm === 'leaky-bucket') return { algorithm, limit: 10, windowMs: 1000, queue: 9 }
  return { algorithm, limit: 10, windowMs: 1000 }
}

function textOf(algorithm: OracleSettings['algorithm']): string {
  return new ScriptLimiter(redis, settingsOf(algorithm)).policyOf().text
}

function limiterAt(us: number, settings = BUCKET): ScriptLimiter {
  const limiter = new ScriptLimiter(redis, settings, { startMs: us / 1000 })
  limiter.setTime(us / 1000)
  return limiter
}

/** Calls by the server's clock. */
async function callNow(
  algorithm: OracleSettings['algorithm'],
  key: string,
  items: string[],
): Promise<Buffer> {
  const keys = items.map(() => key)
  return evalScript(redis, scriptOf(algorithm), keys, ['', 1, textOf(algorithm), ...items])
}

describe('what is written', () => {
  test('a bucket can be read with redis-cli', async () => {
    const limiter = limiterAt(NOW_US)
    await limiter.decide('3', 'k')
    expect(await redis.get(limiter.keyOf('k'))).toBe('1790000000000000 1790000000300000 0 64 6400000')
    await limiter.amount('b 5000000', 'k')
    expect(await redis.get(limiter.keyOf('k'))).toBe('1790000000000000 - b1790000005000000')
  })

  test.each(ALGORITHMS)('%s: every key lives no longer than it matters', async (algorithm) => {
    const key = `ttl-${algorithm}`
    const { remaining } = readReply(await callNow(algorithm, key, ['3']), 0)
    expect(remaining).toBe(7)
    const ttlMs = await redis.pttl(key)
    expect(ttlMs).toBeGreaterThan(100)
    expect(ttlMs).toBeLessThanOrEqual(2001)
    await callNow(algorithm, key, ['b 60000000'])
    expect(await redis.pttl(key)).toBeGreaterThan(59_000)
    expect(readReply(await callNow(algorithm, key, ['x']), 0).amount).toBe(1)
    expect(await redis.exists(key)).toBe(0)
  })

  test.each(ALGORITHMS)(
    '%s: a refused call, a peek and a call of cost 0 write nothing',
    async (algorithm) => {
      const limiter = limiterAt(NOW_US, settingsOf(algorithm))
      for (const item of ['11', 'k 1', '0', 'a 0', 'p 0', 'w 11 0']) await limiter.decide(item, 'none')
      expect(await redis.exists(limiter.keyOf('none'))).toBe(0)
      await limiter.decide(`p ${2 ** 40}`, 'k')
      const before = await redis.get(limiter.keyOf('k'))
      limiter.setTime(NOW_US / 1000 + 0.001)
      for (const item of ['8', 'a 8', 'k 8', 'w 8 0']) await limiter.decide(item, 'k')
      expect(await redis.get(limiter.keyOf('k'))).toBe(before)
    },
  )
})

describe('many items of one script call', () => {
  test.each(ALGORITHMS)('%s: are done in order, also for one key', async (algorithm) => {
    const reply = await callNow(algorithm, `many-${algorithm}`, ['4', '4', '4', '2', 'x', '10'])
    const outcomes = [0, 1, 2, 3, 5].map((i) => readReply(reply, i * REPLY_BYTES).outcome)
    expect(outcomes).toEqual([0, 0, 1, 0, 0])
    expect(reply.length).toBe(6 * REPLY_BYTES)
  })

  test.each(ALGORITHMS)('%s: a key that holds something else fails alone', async (algorithm) => {
    const foreign = {
      hello: 'hello',
      empty: '',
      words: '1790000000000000 what is this',
      long: `${'9'.repeat(400)} 1 2 3 4`,
      parts: '1790000000000000 1790000000300000 99 0 0',
      huge: `1790000000000000 ${'9'.repeat(300)} ${'9'.repeat(300)} 64 6400000`,
      block: '1790000000000000 - bad',
      bytes: Buffer.from([0, 255, 10, 32, 49]),
    }
    const keys = Object.keys(foreign).map((name) => `foreign-${algorithm}-${name}`)
    for (const [i, value] of Object.values(foreign).entries()) await redis.set(keys[i] as string, value)
    const list = `foreign-${algorithm}-list`
    await redis.del(list)
    await redis.rpush(list, 'x')
    const all = [...keys, list, `foreign-${algorithm}-none`]
    await redis.del(all.at(-1) as string)
    for (const item of ['1', 'k 1', 'x', 'b 1000', 'r 1 0', 'n 1 0']) {
      const args = ['', 1, textOf(algorithm), ...all.map(() => item)]
      const reply = await evalScript(redis, scriptOf(algorithm), all, args)
      const outcomes = all.map((_, i) => readReply(reply, i * REPLY_BYTES).outcome)
      expect(outcomes, item).toEqual([...all.slice(1).map(() => 6), 0])
      await redis.del(all.at(-1) as string)
    }
    expect(await redis.get(keys[0] as string)).toBe('hello')
    expect(await redis.llen(list)).toBe(1)
  })
})

describe('the clock of the server is set back', () => {
  test.each(ALGORITHMS)('%s: a short step is waited out, a long one moves all times', async (algorithm) => {
    const limiter = limiterAt(NOW_US, settingsOf(algorithm))
    await limiter.decide(`p ${2 ** 40}`, 'k')
    const { remaining, resetAfterMs } = await limiter.decide('k 1', 'k')
    const at = async (us: number, item: string) => {
      const other = limiterAt(us, limiter.settings)
      const key = limiter.keyOf('k')
      const reply = await evalScript(
        redis,
        scriptOf(algorithm),
        [key],
        [other.now, 1, limiter.policyOf().text, item],
      )
      return readReply(reply, 0)
    }
    expect(await at(NOW_US - 9_000_000, 'k 1')).toMatchObject({ remaining, resetAfterMs })
    const hourAgo = NOW_US - 3_600_000_000
    expect((await at(hourAgo, '11')).outcome).toBe(2)
    const moved = await at(hourAgo, 'k 1')
    expect(moved.remaining).toBeLessThanOrEqual(remaining + 1)
    expect(moved.resetAfterMs).toBeLessThanOrEqual(resetAfterMs + 1000)
    const later = await at(hourAgo + 3_000_000, '10')
    expect(later.outcome).toBe(0)
  })

  test('a block moves too', async () => {
    const limiter = limiterAt(NOW_US)
    await limiter.amount('b 5000000', 'k')
    const before = limiterAt(NOW_US - 3_600_000_000)
    const ask = async (us: number) => {
      before.setTime(us / 1000)
      const args = [before.now, 1, limiter.policyOf().text, '1']
      return readReply(await evalScript(redis, scriptOf('token-bucket'), [limiter.keyOf('k')], args), 0)
    }
    expect(await ask(NOW_US - 3_600_000_000)).toMatchObject({ outcome: 3, retryAfterMs: 5000 })
    expect(await ask(NOW_US - 3_600_000_000 + 5_000_000)).toMatchObject({ outcome: 0 })
  })
})

describe('who waits', () => {
  const queue: OracleSettings = { algorithm: 'leaky-bucket', limit: 10, windowMs: 1000 }

  test('is admitted only if the delay is not too long', async () => {
    const limiter = limiterAt(NOW_US, queue)
    await limiter.decide('3', 'k')
    expect(await limiter.decide('w 1 299999', 'k')).toMatchObject({ reason: 'limited', retryAfterMs: 300 })
    expect(await limiter.decide('w 1 300000', 'k')).toMatchObject({
      allowed: true,
      delayMs: 300,
      consumed: 1,
    })
  })

  test('commits no offence', async () => {
    const escalate = { blockMs: [1000], forgetMs: 1000 }
    const limiter = limiterAt(NOW_US, { ...BUCKET, escalate })
    await limiter.decide('10', 'k')
    expect(await limiter.decide('w 1 0', 'k')).toMatchObject({ reason: 'limited', retryAfterMs: 100 })
    expect(await limiter.decide('1', 'k')).toMatchObject({ reason: 'blocked', retryAfterMs: 1000 })
  })

  test('and for a set', async () => {
    const members = [limiterAt(NOW_US, queue), limiterAt(NOW_US)]
    const ask = (op: string) => decideTogether(members, op, ['k', 'k'], [2, 1])
    expect(await ask('c')).toMatchObject([{ allowed: true, delayMs: 0 }, { remaining: 9 }])
    expect(await ask('w 199999')).toMatchObject([
      { reason: 'limited', retryAfterMs: 200 },
      { allowed: true, remaining: 9, consumed: 0 },
    ])
    expect(await ask('w 200000')).toMatchObject([
      { allowed: true, delayMs: 200 },
      { remaining: 8, consumed: 1 },
    ])
  })
})

describe('leases', () => {
  test('are given back only while their origin lasts', async () => {
    const limiter = limiterAt(NOW_US, { algorithm: 'token-bucket', limit: 1000, windowMs: 1000 })
    const borrow = async () => (await limiter.decideLong('l 0 50 0 100000 1 0', 'k')).more
    const [granted, validUs, origin] = await borrow()
    expect([granted, validUs]).toEqual([50, 100_000])
    expect(await limiter.amount(`u 20 ${origin}`, 'k')).toBe(20)
    limiter.setTime(NOW_US / 1000 + 50)
    const [, , next] = await borrow()
    expect(next).not.toBe(origin)
    expect(await limiter.amount(`u 30 ${origin}`, 'k')).toBe(0)
    expect(await limiter.amount(`u 60 ${next}`, 'k')).toBe(50)
    expect(await limiter.amount(`u 1 ${next}`, 'k')).toBe(0)
  })

  test('are as small as what is left, and none of less than two tokens', async () => {
    const limiter = limiterAt(NOW_US, { algorithm: 'fixed-window', limit: 100, windowMs: 1000 })
    const borrow = async () => (await limiter.decideLong('l 1 1000 0 100000 3 0', 'k')).more[0]
    const grants: number[] = []
    for (let i = 0; i < 20; i++) grants.push(await borrow())
    expect(grants.slice(0, 3)).toEqual([16, 13, 11])
    expect(grants.at(-1)).toBe(0)
    expect(grants).not.toContain(1)
  })
})
