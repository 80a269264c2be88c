import { describe, expect, test } from 'vitest'
import { Oracle } from './oracle'
import { SetOracle } from './set-oracle'

function exactly(value: bigint): { lo: bigint; hi: bigint } {
  return { lo: value, hi: value }
}

const bucket = { algorithm: 'token-bucket', limit: 10, windowMs: 1000 } as const
const window = { algorithm: 'fixed-window', limit: 3, windowMs: 1000 } as const
const leaky = { algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 2 } as const

describe('leaky bucket by hand', () => {
  test('calls leave one after the other, and the queue bounds how far ahead', () => {
    const oracle = new Oracle(leaky)
    const delays = [0, 0, 0].map((atMs) => oracle.consume(atMs, 'k', 1).delayUs)
    expect(delays).toEqual([exactly(0n), exactly(100_000n), exactly(200_000n)])
    expect(oracle.consume(0, 'k', 1)).toMatchObject({
      allowed: false,
      limit: 3n,
      delayUs: exactly(0n),
      retryAfterUs: exactly(100_000n),
    })
    expect(oracle.consume(150, 'k', 1)).toMatchObject({ allowed: true, delayUs: exactly(150_000n) })
  })

  test('allow does not wait, and nothing is given back', () => {
    const oracle = new Oracle(leaky)
    expect(oracle.consume(0, 'k', 1, undefined, false, true).allowed).toBe(true)
    expect(oracle.consume(99.999, 'k', 1, undefined, false, true).allowed).toBe(false)
    expect(oracle.consume(100, 'k', 1, undefined, false, true).allowed).toBe(true)
    expect(oracle.refund(100, 'k', 1)).toEqual(exactly(0n))
  })
})

describe('what a new key begins with', () => {
  test('a bucket fills from its first charge on', () => {
    const oracle = new Oracle({ ...bucket, initial: 2, rememberMs: 500 })
    expect(oracle.peek(0, 'k').remaining).toEqual(exactly(2n))
    expect(oracle.peek(5000, 'k').remaining).toEqual(exactly(2n))
    expect(oracle.consume(5000, 'k', 3)).toMatchObject({ reason: 'limited', retryAfterUs: exactly(100_000n) })
    expect(oracle.consume(5100, 'k', 3).allowed).toBe(true)
    expect(oracle.peek(6100, 'k').remaining).toEqual(exactly(10n))
    expect(oracle.peek(6599.999, 'k').remaining).toEqual(exactly(10n))
    expect(oracle.peek(6600, 'k').remaining).toEqual(exactly(2n))
  })

  test('a block makes a bucket known', () => {
    const oracle = new Oracle({ ...bucket, initial: 2 })
    oracle.block(0, 'k', 300)
    expect(oracle.peek(300, 'k').remaining).toEqual({ lo: 4n, hi: 5n })
  })

  test('a window begins with its first limit once', () => {
    const oracle = new Oracle({ ...window, initial: 1, rememberMs: 500 })
    expect(oracle.peek(0, 'k').remaining).toEqual(exactly(1n))
    expect(oracle.consume(0, 'k', 4).reason).toBe('too-costly')
    expect(oracle.consume(100, 'k', 2)).toMatchObject({
      reason: 'limited',
      retryAfterUs: exactly(1_000_000n),
    })
    expect(oracle.consume(1100, 'k', 3).allowed).toBe(true)
    expect(oracle.peek(2599.999, 'k').remaining).toEqual(exactly(3n))
    expect(oracle.peek(2600, 'k').remaining).toEqual(exactly(1n))
  })

  test('a first window may be greater', () => {
    const oracle = new Oracle({ ...window, initial: 5 })
    expect(oracle.consume(0, 'k', 3).remaining).toEqual(exactly(2n))
    expect(oracle.consume(0, 'k', 4).reason).toBe('too-costly')
    expect(oracle.consume(0, 'k', 2).allowed).toBe(true)
    expect(oracle.consume(1000, 'k', 3).remaining).toEqual(exactly(0n))
  })
})

describe('evenly', () => {
  test('a bucket: calls leave at the rate', () => {
    const oracle = new Oracle({ ...bucket, evenly: true })
    expect(oracle.consume(0, 'k', 3).delayUs).toEqual(exactly(0n))
    expect(oracle.consume(50, 'k', 1).delayUs).toEqual(exactly(250_000n))
    expect(oracle.consume(50, 'k', 9)).toMatchObject({ allowed: false, delayUs: exactly(0n) })
  })

  test('a window: the i-th token leaves at its share of the window', () => {
    const oracle = new Oracle({ ...window, evenly: true })
    expect(oracle.consume(0, 'k', 1).delayUs).toEqual(exactly(0n))
    expect(oracle.consume(100, 'k', 1).delayUs).toEqual(exactly(233_334n))
    expect(oracle.consume(900, 'k', 1).delayUs).toEqual(exactly(0n))
  })
})

describe('operations', () => {
  test('partial consumption takes what there is, and is refused only if that is nothing', () => {
    const oracle = new Oracle(bucket)
    oracle.consume(0, 'k', 7)
    expect(oracle.consumePartial(0, 'k', 2)).toMatchObject({ allowed: true, consumed: 2n })
    expect(oracle.consumePartial(0, 'k', 99)).toMatchObject({ allowed: true, consumed: 1n })
    expect(oracle.consumePartial(0, 'k', 99)).toMatchObject({
      reason: 'limited',
      consumed: 0n,
      retryAfterUs: exactly(100_000n),
    })
    expect(oracle.consumePartial(0, 'k', 0)).toMatchObject({ allowed: true, consumed: 0n })
  })

  test('settling gives back what was not needed, and takes what was, down to the debt', () => {
    const oracle = new Oracle(bucket)
    const low = oracle.reserve(0, 'k', 6, 1000, undefined).reservation
    const high = oracle.reserve(0, 'k', 2, 1000, 3).reservation
    expect(oracle.settle(200, low, 1)).toEqual(exactly(0n))
    // 8 spent, 2 refilled, and of the 5 that go back the same 2 are left out.
    expect(oracle.peek(200, 'k').remaining).toEqual(exactly(7n))
    expect(oracle.settle(200, high, 20)).toEqual(exactly(8n))
    expect(oracle.peek(200, 'k').retryAfterUs).toEqual(exactly(400_000n))
  })

  test('after ttlMs the estimate stands', () => {
    const oracle = new Oracle(window)
    const { reservation } = oracle.reserve(0, 'k', 3, 500, 0)
    oracle.settle(500.001, reservation, 0)
    expect(oracle.peek(500.001, 'k').remaining).toEqual(exactly(0n))
  })

  test('offences block for longer and longer, and are forgotten', () => {
    const oracle = new Oracle({ ...window, escalate: { blockMs: [2000, 5000], forgetMs: 10_000 } })
    oracle.consume(0, 'k', 3)
    expect(oracle.consume(0.5, 'k', 1)).toMatchObject({
      reason: 'blocked',
      retryAfterUs: exactly(2_000_500n),
    })
    expect(oracle.consume(2001, 'k', 3).allowed).toBe(true)
    expect(oracle.consume(2001, 'k', 1).retryAfterUs).toEqual(exactly(5_000_000n))
    oracle.consume(7001, 'k', 3)
    expect(oracle.consume(7001, 'k', 1).retryAfterUs).toEqual(exactly(5_000_000n))
    oracle.consume(22_001, 'k', 3)
    expect(oracle.consume(22_001, 'k', 1).retryAfterUs).toEqual(exactly(2_000_000n))
    expect(oracle.reset(22_001, 'k')).toBe(true)
    oracle.consume(22_001, 'k', 3)
    expect(oracle.consume(22_001, 'k', 1).retryAfterUs).toEqual(exactly(2_000_000n))
  })
})

describe('a set by hand', () => {
  const members = [
    { name: 'second', settings: window },
    { name: 'minute', settings: { ...bucket, limit: 5, windowMs: 60_000 } },
  ]

  test('spends in all or in none, and says who refused', () => {
    const set = new SetOracle(members)
    expect(set.consume(0, ['k', 'k'], [2, 2])).toMatchObject({ allowed: true, tightest: 'second' })
    const refused = set.consume(0, ['k', 'k'], [2, 2])
    expect(refused).toMatchObject({ allowed: false, limitedBy: 'second' })
    expect(refused.decisions['minute']).toMatchObject({ allowed: true, remaining: exactly(3n), consumed: 0n })
    expect(set.consume(1000, ['k', 'k'], [1, 4])).toMatchObject({ limitedBy: 'minute' })
    expect(set.peek(1000, ['k', 'k'], [1, 1]).decisions['second']?.remaining).toEqual(exactly(3n))
  })

  test('of several that refuse the one with the longest wait answers', () => {
    const set = new SetOracle(members)
    set.consume(0, ['k', 'l'], [3, 5])
    const refused = set.consume(0, ['k', 'l'], [1, 1])
    expect(refused).toMatchObject({ limitedBy: 'minute' })
    expect(refused.decisions['second']).toMatchObject({ reason: 'limited' })
  })
})
