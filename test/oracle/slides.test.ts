import { describe, expect, test } from 'vitest'
import { Oracle } from './oracle'

function exactly(value: bigint): { lo: bigint; hi: bigint } {
  return { lo: value, hi: value }
}

const sliding = { algorithm: 'sliding-window', limit: 10, windowMs: 1000 } as const
const log = { algorithm: 'sliding-log', limit: 3, windowMs: 1000 } as const
/** Sub-windows of 100 ms. */
const strict = { algorithm: 'strict-window', limit: 10, windowMs: 1200 } as const
const places = { algorithm: 'concurrency', limit: 2, holdMs: 1200 } as const

describe('sliding window by hand', () => {
  test('the window before counts by the share that is still within windowMs', () => {
    const oracle = new Oracle(sliding)
    oracle.consume(900, 'k', 8)
    expect(oracle.peek(1000, 'k').remaining).toEqual(exactly(2n))
    // 8 * 0.75 = 6, and 8 * 0.7499 is less: a token is left in full only from the next one on.
    expect(oracle.peek(1249.999, 'k').remaining).toEqual(exactly(3n))
    expect(oracle.peek(1250, 'k').remaining).toEqual(exactly(4n))
    expect(oracle.consume(1250, 'k', 4)).toMatchObject({ allowed: true, resetAfterUs: exactly(1_750_000n) })
    expect(oracle.consume(1250, 'k', 1)).toMatchObject({
      reason: 'limited',
      retryAfterUs: exactly(125_000n),
    })
  })

  test('a wait may reach into the next window', () => {
    const oracle = new Oracle(sliding)
    oracle.consume(0, 'k', 10)
    // In the next window 10 fade: 4 have room once 6 tenths are left.
    expect(oracle.consume(0, 'k', 4).retryAfterUs).toEqual(exactly(1_400_000n))
    expect(oracle.consume(1399.999, 'k', 4).allowed).toBe(false)
    expect(oracle.consume(1400, 'k', 4).allowed).toBe(true)
    expect(oracle.consume(3000, 'k', 10).allowed).toBe(true)
  })

  test('a third is rounded against the caller', () => {
    const oracle = new Oracle({ ...sliding, limit: 3 })
    oracle.consume(0, 'k', 3)
    expect(oracle.peek(1000, 'k').retryAfterUs).toEqual(exactly(333_334n))
    expect(oracle.peek(1333.333, 'k').allowed).toBe(false)
    expect(oracle.peek(1333.334, 'k').allowed).toBe(true)
  })

  test('refunds find the window of the charge', () => {
    const oracle = new Oracle(sliding)
    oracle.consume(900, 'k', 8)
    oracle.consume(1500, 'k', 3)
    expect(oracle.refund(1500, 'k', 9, 600)).toEqual(exactly(8n))
    expect(oracle.peek(1500, 'k').remaining).toEqual(exactly(7n))
    expect(oracle.refund(1500, 'k', 9, 1600)).toEqual(exactly(0n))
    expect(oracle.refund(1500, 'k', 1)).toEqual(exactly(1n))
  })

  test('penalize leaves nothing, and goes below only for a debt', () => {
    const oracle = new Oracle(sliding)
    oracle.consume(900, 'k', 8)
    expect(oracle.penalize(1500, 'k', 99)).toEqual(exactly(6n))
    const { reservation } = oracle.reserve(1500, 'l', 1, 10_000, undefined)
    expect(oracle.settle(1500, reservation, 21)).toEqual(exactly(1n))
    expect(oracle.peek(2000, 'l').retryAfterUs).toEqual(exactly(550_000n))
  })

  test('what counts at the end of a block counts from there on', () => {
    const oracle = new Oracle(sliding)
    oracle.consume(0, 'k', 10)
    oracle.block(500, 'k', 750)
    expect(oracle.peek(1250, 'k')).toMatchObject({
      remaining: exactly(2n),
      resetAfterUs: exactly(1_750_000n),
    })
    oracle.block(1250, 'k', 1750)
    expect(oracle.peek(3000, 'k').remaining).toEqual(exactly(10n))
  })

  test('above 2^19 the window before may count an 8192nd too much', () => {
    const oracle = new Oracle({ ...sliding, limit: 2 ** 20 })
    oracle.consume(0, 'k', 1_000_000)
    expect(oracle.peek(1000, 'k').remaining).toEqual({ lo: 48_454n, hi: 48_576n })
  })
})

describe('sliding log by hand', () => {
  test('each token counts for one window, at equal times too', () => {
    const oracle = new Oracle(log)
    oracle.consume(0, 'k', 2)
    oracle.consume(300, 'k', 1)
    expect(oracle.consume(300, 'k', 2)).toMatchObject({
      reason: 'limited',
      retryAfterUs: exactly(700_000n),
      resetAfterUs: exactly(1_000_000n),
    })
    expect(oracle.consume(300, 'k', 3).retryAfterUs).toEqual(exactly(1_000_000n))
    expect(oracle.consume(999.999, 'k', 1).allowed).toBe(false)
    expect(oracle.consume(1000, 'k', 2).allowed).toBe(true)
    expect(oracle.consume(1000, 'k', 1).retryAfterUs).toEqual(exactly(300_000n))
  })

  test('refunds take the newest that are old enough', () => {
    const oracle = new Oracle(log)
    oracle.consume(0, 'k', 1)
    oracle.consume(100, 'k', 1)
    oracle.consume(200, 'k', 1)
    expect(oracle.refund(250, 'k', 1, 100)).toEqual(exactly(1n))
    expect(oracle.peek(1000, 'k').remaining).toEqual(exactly(2n))
    expect(oracle.refund(1000, 'k', 5)).toEqual(exactly(1n))
    expect(oracle.refund(1000, 'k', 5)).toEqual(exactly(0n))
  })

  test('a penalty and a block leave the log as it ages', () => {
    const oracle = new Oracle(log)
    oracle.consume(0, 'k', 1)
    oracle.block(0, 'k', 500)
    expect(oracle.penalize(200, 'k', 5)).toEqual(exactly(2n))
    expect(oracle.peek(500, 'k')).toMatchObject({ allowed: false, retryAfterUs: exactly(500_000n) })
    expect(oracle.peek(1000, 'k').remaining).toEqual(exactly(1n))
    expect(oracle.reset(1200, 'k')).toBe(false)
    const { reservation } = oracle.reserve(1200, 'k', 1, 1000, undefined)
    expect(oracle.settle(1200, reservation, 9)).toEqual(exactly(6n))
  })
})

describe('strict window by hand', () => {
  test('a token counts in its sub-window and the twelve after it', () => {
    const oracle = new Oracle(strict)
    oracle.consume(150, 'k', 4)
    oracle.consume(250, 'k', 6)
    expect(oracle.consume(299.999, 'k', 1).retryAfterUs).toEqual(exactly(1_100_001n))
    expect(oracle.consume(299.999, 'k', 5).retryAfterUs).toEqual(exactly(1_200_001n))
    expect(oracle.consume(1399.999, 'k', 1).allowed).toBe(false)
    expect(oracle.consume(1400, 'k', 4).allowed).toBe(true)
    expect(oracle.peek(1400, 'k').resetAfterUs).toEqual(exactly(1_300_000n))
  })

  test('refunds find the sub-window of the charge', () => {
    const oracle = new Oracle(strict)
    oracle.consume(150, 'k', 4)
    oracle.consume(250, 'k', 6)
    expect(oracle.refund(1000, 'k', 9, 850)).toEqual(exactly(4n))
    expect(oracle.refund(1000, 'k', 9, 701)).toEqual(exactly(6n))
    expect(oracle.refund(1000, 'k', 9)).toEqual(exactly(0n))
  })

  test('a debt counts until it lapses', () => {
    const oracle = new Oracle(strict)
    const { reservation } = oracle.reserve(0, 'k', 5, 1000, 3)
    expect(oracle.settle(150, reservation, 20)).toEqual(exactly(7n))
    expect(oracle.peek(150, 'k').retryAfterUs).toEqual(exactly(1_150_000n))
  })

  test('a window that twelve does not divide rounds lapses up', () => {
    const oracle = new Oracle({ ...strict, windowMs: 1000 })
    oracle.consume(0, 'k', 10)
    expect(oracle.peek(0, 'k').retryAfterUs).toEqual(exactly(1_083_334n))
  })
})

describe('concurrency by hand', () => {
  test('a lease holds its place until it is released', () => {
    const oracle = new Oracle(places)
    const first = oracle.acquire(0, 'k', 1)
    const second = oracle.acquire(0, 'k', 1)
    const third = oracle.acquire(0, 'k', 1)
    expect(third.expected).toMatchObject({ allowed: false, limit: 2n, retryAfterUs: exactly(1_300_000n) })
    expect(oracle.release(10, third.lease)).toBe(false)
    expect(oracle.release(10, first.lease)).toBe(true)
    expect(oracle.peek(10, 'k').remaining).toEqual(exactly(1n))
    expect(oracle.release(1299.999, second.lease)).toBe(true)
  })

  test('a lease lapses at least holdMs later, and at most a twelfth more', () => {
    const oracle = new Oracle(places)
    const { lease } = oracle.acquire(99, 'k', 2)
    expect(oracle.peek(1299.999, 'k').remaining).toEqual(exactly(0n))
    expect(oracle.peek(1300, 'k').remaining).toEqual(exactly(2n))
    expect(oracle.release(1300, lease)).toBe(false)
  })

  test('leases of a key that was reset give nothing back', () => {
    const oracle = new Oracle(places)
    const { lease } = oracle.acquire(0, 'k', 1)
    oracle.reset(0, 'k')
    oracle.acquire(0, 'k', 2)
    expect(oracle.release(0, lease)).toBe(false)
    expect(oracle.peek(0, 'k').remaining).toEqual(exactly(0n))
  })
})
