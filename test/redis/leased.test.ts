import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Algorithm } from '../../lib/index'
import type { RedisLimiter } from '../../lib/redis'
import { type Scene, UNHURRIED_MS, useScene } from './limiter-scene'
import { startProxy } from './proxy'
import { until } from './until'

const scene: Scene = useScene()

beforeEach(() => scene.begin())

const LARGE = { limit: 100_000, windowMs: 60_000, mode: 'leased' } as const

/** One that hears announcements already: what it has borrowed before that is forgotten then. */
async function heard(limiter: RedisLimiter): Promise<RedisLimiter> {
  await new Promise<void>((resolve) => {
    limiter.on('announcements', (isHeard) => isHeard && resolve())
  })
  return limiter
}

/** How many scripts the server has run. */
async function scriptsRun(): Promise<number> {
  const stats = await scene.redis.info('commandstats')
  const count = (name: string): number =>
    Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
  return count('evalsha') + count('eval')
}

/** One call after the other. @returns how many were admitted */
async function askEach(limiter: RedisLimiter, count: number, key = 'key'): Promise<number> {
  let admitted = 0
  for (let i = 0; i < count; i++) if (await limiter.allow(key)) admitted++
  return admitted
}

function leased(limiter: RedisLimiter): number {
  return limiter.stats().sources.lease.allowed
}

async function purseOf(limiter: RedisLimiter, key = 'key'): Promise<number> {
  const { source, remaining } = await limiter.peek(key)
  return source === 'lease' ? remaining : 0
}

/** What Redis has left, as a host sees it that has borrowed nothing. */
async function leftOf(options: object, key = 'key'): Promise<number> {
  const observer = scene.openReal({ ...options, mode: 'exact', denyCache: false })
  return (await observer.peek(key)).remaining
}

/** A server that does not answer, until it is let go on. */
async function whilePaused<T>(action: () => Promise<T>): Promise<T> {
  scene.server.pause()
  try {
    return await action()
  } finally {
    scene.server.resume()
  }
}

describe('who decides', () => {
  test('a hot key costs few commands', async () => {
    const limiter = await heard(scene.openReal({ limit: 1e9, windowMs: 1000, mode: 'leased' }))
    await askEach(limiter, 1000)
    const before = await scriptsRun()
    const sinceMs = performance.now()
    for (let i = 0; i < 100; i++) {
      expect(await askEach(limiter, 500)).toBe(500)
      await sleep(0)
    }
    const perThousand = ((await scriptsRun()) - before) / 50
    console.log(
      `hot key: ${perThousand} script calls per 1,000 decisions, in ${Math.round(performance.now() - sinceMs)} ms`,
    )
    // A loan lasts long enough that even a slow machine spends a good part of it.
    expect(perThousand).toBeLessThan(20)
  })

  test('many calls at once are served by one loan, and those that it does not reach for go together', async () => {
    const limiter = await heard(scene.openReal(LARGE))
    const ask = (): Promise<boolean[]> => Promise.all(Array.from({ length: 512 }, () => limiter.allow('key')))
    for (let i = 0; i < 5; i++) await ask()
    const [before, leasedBefore] = [await scriptsRun(), leased(limiter)]
    for (let i = 0; i < 4; i++) expect((await ask()).filter(Boolean)).toHaveLength(512)
    expect((await scriptsRun()) - before).toBeLessThanOrEqual(24)
    expect(leased(limiter) - leasedBefore).toBeGreaterThan(1024)
  })

  test('cold keys are decided exactly', async () => {
    const limiter = await heard(scene.openReal(LARGE))
    for (let i = 0; i < 300; i++) expect(await askEach(limiter, 3, `key ${i}`)).toBe(3)
    expect(leased(limiter)).toBe(0)
    for (let i = 0; i < 300; i++) expect(await purseOf(limiter, `key ${i}`)).toBe(0)
  })

  test.each<Algorithm>(['token-bucket', 'fixed-window', 'sliding-window', 'strict-window'])(
    'a %s that is nearly exhausted is decided exactly',
    async (algorithm) => {
      const limiter = await heard(scene.open({ ...LARGE, algorithm, limit: 1000, denyCache: false }))
      const other = scene.open({ ...LARGE, algorithm, limit: 1000, mode: 'exact', denyCache: false })
      expect((await other.consume('key', 990)).allowed).toBe(true)
      // What can be lent is at most half of what is left: of 10 tokens the last two are decided exactly.
      expect(await askEach(limiter, 50)).toBe(10)
      expect(await purseOf(limiter)).toBe(0)
      expect(limiter.stats().sources.exact.allowed).toBeGreaterThanOrEqual(4)
      expect(await askEach(other, 1)).toBe(0)
    },
  )

  test('tiers, costs above what the purse holds, and views of other policies are decided exactly', async () => {
    const limiter = await heard(scene.open({ ...LARGE, tiers: { pro: { limit: 200_000 } } }))
    await askEach(limiter, 10)
    const held = await purseOf(limiter)
    expect(held).toBeGreaterThan(0)
    expect((await limiter.tier('pro').consume('key')).source).toBe('exact')
    expect((await limiter.consume('key', held + 1)).source).toBe('exact')
  })
})

describe('what is not spent', () => {
  test.each<Algorithm>(['token-bucket', 'fixed-window', 'sliding-window', 'strict-window'])(
    'of a %s comes back',
    async (algorithm) => {
      const options = { ...LARGE, algorithm, lease: { leaseMs: 200 } }
      const limiter = await heard(scene.openReal(options))
      expect(await askEach(limiter, 20)).toBe(20)
      // Loans of a bucket that is nearly full count from two leases later on.
      const mostLate = algorithm === 'token-bucket' ? (100_000 / 60_000) * 400 + 1 : 0
      await until(async () => {
        if ((await purseOf(limiter)) > 0) return false
        const left = await leftOf(options)
        return left <= 99_981 + mostLate && left >= 99_980 - mostLate
      }, 'what was borrowed is back')
    },
  )

  test.each<Algorithm>(['fixed-window', 'sliding-window', 'strict-window'])(
    'of a %s comes back only into its own window',
    async (algorithm) => {
      const limiter = await heard(scene.open({ ...LARGE, algorithm }))
      const other = scene.open({ ...LARGE, algorithm, mode: 'exact' })
      expect(await askEach(limiter, 10)).toBe(10)
      expect(await purseOf(limiter)).toBeGreaterThan(0)
      // All of the first window but what lies in the purse counts as before, in the next one too.
      scene.clock.advance(60_000)
      await other.consume('key', 1000)
      const before = (await other.peek('key')).remaining
      await limiter.close()
      expect((await other.peek('key')).remaining).toBe(before)
    },
  )

  test('comes back at the end', async () => {
    const options = { ...LARGE, algorithm: 'fixed-window' as const }
    const limiter = await heard(scene.openReal(options))
    expect(await askEach(limiter, 20)).toBe(20)
    expect(await purseOf(limiter)).toBeGreaterThan(0)
    await limiter.close()
    expect(await leftOf(options)).toBe(99_980)
  })

  test('comes back at the end even if the loan was under way', async () => {
    const options = { ...LARGE, algorithm: 'fixed-window' as const }
    const limiter = await heard(scene.openReal(options))
    await askEach(limiter, 3)
    const answers = Promise.all(Array.from({ length: 10 }, () => limiter.allow('key')))
    await limiter.close()
    expect((await answers).filter(Boolean)).toHaveLength(10)
    await until(async () => (await leftOf(options)) === 100_000 - 13, 'all is back')
  })
})

describe('a reset or block elsewhere', () => {
  test.each(['reset', 'block'] as const)('ends what was borrowed: %s', async (how) => {
    const announced = { denyCache: { announce: true } }
    const limiter = await heard(scene.openReal({ ...LARGE, ...announced, lease: { leaseMs: 10_000 } }))
    const other = scene.openReal({ ...LARGE, ...announced, mode: 'exact' })
    expect(await askEach(limiter, 20)).toBe(20)
    expect(await purseOf(limiter)).toBeGreaterThan(0)
    if (how === 'reset') await other.reset('key')
    else await other.block('key', 60_000)
    await until(async () => (await limiter.peek('key')).source !== 'lease', 'the purse is empty')
    const decision = await limiter.consume('key')
    expect(decision).toMatchObject(
      how === 'reset' ? { allowed: true, source: 'exact' } : { allowed: false, reason: 'blocked' },
    )
    if (how === 'reset') expect(decision.remaining).toBe(99_999)
  })

  test('by the host itself, too', async () => {
    const limiter = await heard(scene.open(LARGE))
    await askEach(limiter, 20)
    await limiter.block('key', 1000)
    expect(await limiter.allow('key')).toBe(false)
    await limiter.reset('key')
    expect(await purseOf(limiter)).toBe(0)
    expect((await limiter.consume('key')).remaining).toBe(99_999)
  })
})

describe('Redis is away', () => {
  test('what is borrowed is spent; then onUnavailable decides', async () => {
    const options = { onUnavailable: 'deny', timeoutMs: 60, lease: { leaseMs: 5000 } } as const
    const limiter = await heard(scene.openReal({ ...LARGE, ...options }))
    await askEach(limiter, 20)
    const held = await purseOf(limiter)
    expect(held).toBeGreaterThan(10)
    await whilePaused(async () => {
      const decisions = await Promise.all(Array.from({ length: held + 10 }, () => limiter.consume('key')))
      const by = (source: string): number => decisions.filter((decision) => decision.source === source).length
      expect([by('lease'), by('closed')]).toEqual([held, 10])
    })
  })

  test('who waits for a loan that does not come is answered in time', async () => {
    const limiter = await heard(scene.openReal({ ...LARGE, onUnavailable: 'deny', timeoutMs: 100 }))
    await askEach(limiter, 3)
    await whilePaused(async () => {
      const sinceMs = performance.now()
      const answers = await Promise.all(Array.from({ length: 20 }, () => limiter.allow('key')))
      expect(answers.filter(Boolean)).toEqual([])
      expect(performance.now() - sinceMs).toBeLessThan(1000)
    })
  })

  test('loans that come too late are not spent', async () => {
    const proxy = await startProxy(scene.server.port)
    const redis = scene.connect()
    const slow = redis.duplicate({ port: proxy.port })
    try {
      const limiter = await heard(
        scene.openReal({
          ...LARGE,
          client: slow,
          lease: { leaseMs: 50 },
          timeoutMs: UNHURRIED_MS,
        }),
      )
      await limiter.allow('other')
      proxy.delay(80)
      const rounds: number[] = []
      for (let i = 0; i < 4; i++) {
        const answers = await Promise.all(Array.from({ length: 20 }, () => limiter.allow('key')))
        rounds.push(answers.filter(Boolean).length)
      }
      expect(rounds).toEqual([20, 20, 20, 20])
      expect(leased(limiter)).toBe(0)
      proxy.pass()
      await limiter.close()
    } finally {
      slow.disconnect()
      redis.disconnect()
      await proxy.stop()
    }
  })
})

test('several limiter objects and all that is admitted: exactly the limit', async () => {
  const options = { ...LARGE, algorithm: 'fixed-window', limit: 3000, denyCache: false } as const
  const limiters = await Promise.all([1, 2, 3].map(() => heard(scene.open(options))))
  let total = 0
  for (let isLeft = true; isLeft; ) {
    const admitted = await Promise.all(limiters.map((limiter) => askEach(limiter, 37)))
    const sum = admitted.reduce((a, b) => a + b)
    total += sum
    isLeft = sum > 0
  }
  expect(total).toBe(3000)
  expect(limiters.every((limiter) => leased(limiter) > 100)).toBe(true)
})
