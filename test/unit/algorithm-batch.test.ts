import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BatchResult, type Key, Limiter, ManualClock } from '../../lib/index'
import { ALGORITHMS, closeAll, kept, open, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

/** A sequence that is the same at every run: whole numbers below `below`. */
function dice(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const KINDS: [string, (i: number) => Key][] = [
  ['strings', (i) => `key-${i}`],
  ['integers', (i) => i],
  ['bytes', (i) => new Uint8Array([i, 7])],
  ['all kinds', (i) => (i % 3 === 0 ? i : i % 3 === 1 ? `key-${i}` : new Uint8Array([i]))],
]

describe.each(ALGORITHMS)('%s', (algorithm) => {
  test.each(KINDS)('a batch of %s is as many single calls', (_, keyOf) => {
    const evenly = algorithm === 'token-bucket' || algorithm === 'fixed-window' ? { evenly: true } : {}
    const [batch, single] = [1, 2].map(() => open(tenOf(algorithm, { clock, ...evenly }))) as [
      Limiter,
      Limiter,
    ]
    const random = dice(7)
    const out = new BatchResult()
    for (let round = 0; round < 60; round++) {
      clock.advance(random(400))
      const keys = Array.from({ length: random(50) }, () => keyOf(random(12)))
      const cost = keys.map(() => random(5))
      const blocked = keyOf(random(12))
      if (round % 9 === 3) for (const limiter of [batch, single]) limiter.block(blocked, 200)
      const answers = keys.map((key, i) => single.consume(key, cost[i]))
      batch.consumeMany(keys, out, { cost })
      expect(out.length).toBe(keys.length)
      expect(out.allowedCount).toBe(answers.filter(({ allowed }) => allowed).length)
      for (const [i, { allowed, remaining, retryAfterMs, delayMs }] of answers.entries()) {
        expect(out.allowed[i]).toBe(allowed ? 1 : 0)
        expect([out.remaining[i], out.retryAfterMs[i], out.delayMs[i]]).toEqual([
          remaining,
          retryAfterMs,
          delayMs,
        ])
      }
    }
    const { allowed, denied, keys } = single.stats()
    expect(batch.stats()).toMatchObject({ allowed, denied, keys })
  })

  test('with another user attached it is the same', () => {
    const limiter = open(tenOf(algorithm, { clock }))
    const other = kept(Limiter.attach(limiter.handle(), { clock }))
    const { allowed } = limiter.consumeMany(Array(8).fill('k'))
    expect([...allowed]).toEqual(Array(8).fill(1))
    expect(other.consumeMany(Array(5).fill('k')).allowedCount).toBe(2)
    expect(limiter.stats()).toMatchObject({ allowed: 10, denied: 3 })
  })

  test('a large one is decided in order to its end', () => {
    const limiter = open(tenOf(algorithm, { clock, maxKeys: 3000 }))
    const keys = Array.from({ length: 5000 }, (_, i) => `key-${i % 2500}`)
    const { allowedCount, remaining, retryAfterMs } = limiter.consumeMany(keys, undefined, { cost: 10 })
    expect(allowedCount).toBe(2500)
    expect([remaining[2499], remaining[2500], retryAfterMs[2499]]).toEqual([0, 0, 0])
    expect(retryAfterMs[4999]).toBe(limiter.consume('key-0', 10).retryAfterMs)
  })

  test('a result can be reused for every algorithm', () => {
    const out = new BatchResult()
    for (const name of ALGORITHMS) {
      const count = 1 + ALGORITHMS.indexOf(name)
      expect(open(tenOf(name, { clock })).consumeMany(Array(count).fill('k'), out)).toBe(out)
      expect([out.length, out.allowedCount]).toEqual([count, count])
    }
  })
})

describe('stats', () => {
  const escalate = { blockMs: [100], forgetMs: 1000 }

  test('offences take a place of their own, until they are forgotten', () => {
    const limiter = open(tenOf('fixed-window', { clock, escalate }))
    limiter.consume('k', 10)
    expect(limiter.stats()).toMatchObject({ keys: 1, allowed: 1, denied: 0 })
    limiter.allow('k')
    limiter.allow('k')
    expect(limiter.stats()).toMatchObject({ keys: 2, allowed: 1, denied: 2 })
    expect(limiter.reset('k')).toBe(true)
    expect(limiter.stats()).toMatchObject({ keys: 0, evictedLive: 0, refusedFull: 0 })
  })

  test('as many offenders as maxKeys: all are blocked, none is let go', () => {
    const limiter = open({ limit: 1, windowMs: 1e9, maxKeys: 1000, clock, escalate })
    for (let i = 0; i < 700; i++) limiter.consumeMany([i, i])
    for (let i = 0; i < 700; i++) expect(limiter.allow(i)).toBe(false)
    const { keys, capacity } = limiter.stats()
    expect(keys).toBeLessThanOrEqual(capacity)
    expect(limiter.stats()).toMatchObject({ allowed: 700, denied: 1400 })
  })

  test('what a call is counted as', () => {
    const limiter = open(tenOf('concurrency', { clock }))
    const lease = limiter.acquire('k', 10)
    limiter.acquire('k')
    limiter.peek('k')
    lease.release()
    expect(limiter.stats()).toMatchObject({ allowed: 1, denied: 1 })
    const bucket = open(tenOf('token-bucket', { clock }))
    bucket.reserve('k', 5, 1000).settle(7)
    bucket.consume('k', 50, { partial: true })
    expect(bucket.stats()).toMatchObject({ allowed: 2, denied: 0 })
  })
})
