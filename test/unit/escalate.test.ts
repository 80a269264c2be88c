import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, kept, open, policyOf, tenOf } from './every-algorithm'
import { freshName, removeRegions } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  closeAll()
  removeRegions()
})

const escalate = { blockMs: [100, 300, 5000], forgetMs: 60_000 }

/** A bucket that gives back one in 10 s, so that nothing but blocks changes within a test. */
function make(more: Partial<LimiterOptions> = {}): Limiter {
  return open({ limit: 10, windowMs: 100_000, maxKeys: 100, clock, escalate, ...more })
}

/** Refused, and for how long. */
function offence(limiter: Pick<Limiter, 'consume'>, key = 'k', cost = 10): number {
  const { allowed, reason, retryAfterMs, consumed } = limiter.consume(key, cost)
  expect({ allowed, reason, consumed }).toEqual({ allowed: false, reason: 'blocked', consumed: 0 })
  return retryAfterMs
}

/** When the block of that key ends, found by asking: a cost of 0 is refused by nothing else. */
function blockedMs(limiter: Pick<Limiter, 'consume'>, key = 'k'): number {
  const { reason, retryAfterMs } = limiter.consume(key, 0)
  return reason === 'blocked' ? retryAfterMs : 0
}

const PUNISHING = ALGORITHMS.filter((name) => name !== 'leaky-bucket' && name !== 'concurrency')

describe.each(PUNISHING)('%s', (algorithm) => {
  test('who is refused is blocked; who is refused again, for longer', () => {
    const limiter = open(tenOf(algorithm, { clock, escalate: { blockMs: [100, 200], forgetMs: 60_000 } }))
    limiter.consume('k', 10)
    // A window that is still open at the block's end begins anew there.
    const retryAfterMs = algorithm === 'fixed-window' ? 1100 : AFTER_TEN[algorithm].retryAfterMs
    expect(limiter.consume('k')).toMatchObject({ reason: 'blocked', consumed: 0, remaining: 0, retryAfterMs })
    expect(blockedMs(limiter)).toBe(100)
    clock.set(retryAfterMs)
    expect(limiter.consume('k')).toMatchObject({ allowed: true })
    expect(limiter.consume('k', 10).reason).toBe('blocked')
    expect(blockedMs(limiter)).toBeCloseTo(Math.ceil(retryAfterMs + 200) - retryAfterMs, 9)
  })
})

test('step by step, the last one again and again', () => {
  const limiter = make()
  limiter.consume('k', 10)
  for (const blockMs of [100, 300, 5000, 5000, 5000]) {
    offence(limiter, 'k', 5)
    expect(blockedMs(limiter)).toBe(blockMs)
    clock.advance(blockMs)
    expect(blockedMs(limiter)).toBe(0)
  }
})

test('calls during a block are no offence', () => {
  const limiter = make()
  limiter.consume('k', 10)
  for (let i = 0; i < 50; i++) {
    offence(limiter, 'k', 1)
    expect(limiter.allow('k')).toBe(false)
    clock.advance(1)
  }
  expect(blockedMs(limiter)).toBe(50)
  clock.advance(50)
  offence(limiter)
  expect(blockedMs(limiter)).toBe(300)
})

test('what asks, what can never fit and what the caller blocks is no offence', () => {
  const limiter = make()
  limiter.consume('k', 10)
  limiter.peek('k')
  limiter.consume('k', 0)
  expect(limiter.consume('k', 11)).toMatchObject({ reason: 'too-costly' })
  expect(limiter.allow('k', 11)).toBe(false)
  expect(limiter.penalize('k', 5)).toBe(0)
  expect(blockedMs(limiter)).toBe(0)
  limiter.block('k', 7)
  expect(limiter.allow('k')).toBe(false)
  clock.advance(7)
  offence(limiter)
  expect(blockedMs(limiter)).toBe(100)
})

test.each<[string, (limiter: Limiter) => boolean]>([
  ['allow', (limiter) => limiter.allow('k')],
  ['consume', (limiter) => limiter.consume('k').allowed],
  ['consumeMany', (limiter) => limiter.consumeMany(['k']).allowedCount === 1],
  ['consumeMany of numbers', (limiter) => limiter.consumeMany([5]).allowedCount === 1],
  ['consumeMany of both', (limiter) => limiter.consumeMany(['k', 5]).allowedCount > 0],
  ['partial', (limiter) => limiter.consume('k', 3, { partial: true }).allowed],
  ['reserve', (limiter) => limiter.reserve('k', 3, 1000).allowed],
])('%s is punished alike', (_, call) => {
  const limiter = make()
  for (const key of ['k', 5]) limiter.consume(key, 10)
  expect(call(limiter)).toBe(false)
  const blocked = ['k', 5].map((key) => limiter.peek(key).reason).filter((reason) => reason === 'blocked')
  expect(blocked).not.toEqual([])
  clock.advance(100)
  expect(blockedMs(limiter)).toBe(0)
})

test('a batch that runs out blocks from there on', () => {
  const limiter = make()
  const { allowed, retryAfterMs } = limiter.consumeMany(Array(12).fill('k'))
  expect([...allowed].map(Boolean)).toEqual([...Array(10).fill(true), false, false])
  // 9.99 tokens will be missing at its end, which a block keeps to the 256th above: 2558 of them.
  expect(retryAfterMs[10]).toBe(100 + (2558 / 256 - 9) * 10_000)
  expect(blockedMs(limiter)).toBe(100)
})

test('one key’s offences are not another’s', () => {
  const limiter = make()
  for (const key of ['a', 'b', 7, new Uint8Array([7])]) {
    limiter.consume(key, 10)
    expect(limiter.allow(key)).toBe(false)
    expect(limiter.consume(key, 0).retryAfterMs).toBe(100)
  }
})

test('forgotten so long after the end of the last block, not earlier', () => {
  for (const [afterMs, blockMs] of [
    [59_999, 300],
    [60_000, 100],
  ] as const) {
    const limiter = make({ windowMs: 100_000_000 })
    limiter.consume('k', 10)
    offence(limiter)
    clock.advance(100 + afterMs)
    offence(limiter)
    expect(blockedMs(limiter)).toBe(blockMs)
  }
})

test('each offence begins the time anew', () => {
  const limiter = make({ windowMs: 100_000_000 })
  limiter.consume('k', 10)
  for (const blockMs of [100, 300, 5000, 5000]) {
    offence(limiter)
    expect(blockedMs(limiter)).toBe(blockMs)
    clock.advance(blockMs + 59_999)
  }
})

test('reset forgets the offences too', () => {
  const limiter = make()
  limiter.consume('k', 10)
  offence(limiter)
  clock.advance(100)
  offence(limiter)
  expect(limiter.reset('k')).toBe(true)
  expect(limiter.consume('k', 10).allowed).toBe(true)
  offence(limiter)
  expect(blockedMs(limiter)).toBe(100)
})

test('a tier is refused by its own limit, and the key is blocked for all', () => {
  const limiter = make({ tiers: { paid: policyOf('token-bucket', 20) } })
  limiter.consume('k', 10)
  expect(limiter.tier('paid').consume('k', 5).allowed).toBe(true)
  offence(limiter.tier('paid'))
  expect(blockedMs(limiter)).toBe(100)
  clock.advance(100)
  offence(limiter)
  expect(blockedMs(limiter.tier('paid'))).toBe(300)
})

test('a user who attaches, and a dump that is restored, know the offences', () => {
  const limiter = make()
  limiter.consume('k', 10)
  offence(limiter)
  clock.advance(100)
  const other = kept(Limiter.attach(limiter.handle(), { clock }))
  offence(other)
  expect(blockedMs(limiter)).toBe(300)
  clock.advance(300)
  const heir = kept(Limiter.restore(limiter.dump(), { clock }))
  offence(heir)
  expect(blockedMs(heir)).toBe(5000)
})

test('without it nobody is blocked', () => {
  const limiter = make({ escalate: undefined as never })
  limiter.consume('k', 10)
  expect(limiter.consume('k')).toMatchObject({ reason: 'limited', retryAfterMs: 10_000 })
})

describe('in a set', () => {
  test('who refuses punishes, who would have admitted does not', () => {
    const [strict, loose] = [make(), make({ limit: 100 })]
    const set = new LimitSet([
      { name: 'strict', limiter: strict },
      { name: 'loose', limiter: loose },
    ])
    expect(set.consume('k', 10).allowed).toBe(true)
    const refused = set.consume('k')
    expect(refused).toMatchObject({ allowed: false, limitedBy: 'strict', reason: 'blocked' })
    expect(refused.decisions['loose']).toMatchObject({ allowed: true, consumed: 0 })
    expect([blockedMs(strict), blockedMs(loose)]).toEqual([100, 0])
    expect(loose.peek('k').remaining).toBe(90)
    clock.advance(100)
    expect(set.allow('k')).toBe(false)
    expect([blockedMs(strict), blockedMs(loose)]).toEqual([300, 0])
    expect(set.peek('k').reason).toBe('blocked')
    clock.advance(300)
    expect(set.peek('k').reason).toBe('limited')
    expect(blockedMs(strict)).toBe(0)
  })
})

describe('shared', () => {
  const shared = (name: string, more: Partial<LimiterOptions> = {}) => make({ shared: name, ...more })

  test('one’s offence is that of all', () => {
    const name = freshName()
    const [first, second] = [shared(name), shared(name)]
    first.consume('k', 10)
    offence(second)
    expect(blockedMs(first)).toBe(100)
    clock.advance(100)
    offence(first)
    expect(blockedMs(second)).toBe(300)
  })

  test.each<[Partial<LimiterOptions>, string]>([
    [{ escalate: undefined as never }, 'not none'],
    [{ escalate: { ...escalate, forgetMs: 1 } }, 'not 100, 300, 5000 ms, forgotten after 1 ms'],
    [{ escalate: { ...escalate, blockMs: [100] } }, 'not 100 ms, forgotten after 60000 ms'],
  ])('another one is refused: %o', (more, says) => {
    const name = freshName()
    shared(name)
    expectComplaint(() => shared(name, more), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: [`escalate is 100, 300, 5000 ms, forgotten after 60000 ms, ${says}`],
    })
    const changing = { shared: { name, changePolicy: true } }
    expectComplaint(() => make({ ...more, ...changing }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
    })
  })
})

test('who has offended and is not blocked any more keeps nobody out', () => {
  const forever = { blockMs: [1000], forgetMs: 86_400_000 }
  const limiter = make({ limit: 1, windowMs: 1000, maxKeys: 1000, escalate: forever })
  for (let i = 0; i < 10_000; i++) {
    const key = `${i % 5000}`
    limiter.allow(key)
    limiter.allow(key)
    if (i % 1000 === 999) clock.advance(2000)
  }
  for (let i = 0; i < 500; i++) expect(limiter.allow(`newcomer ${i}`)).toBe(true)
  expect(limiter.stats().evictedLive).toBeGreaterThan(0)
})
