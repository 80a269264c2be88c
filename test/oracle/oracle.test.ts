import { describe, expect, test } from 'vitest'
import { ClockModel } from './clock-model'
import { Oracle } from './oracle'
import { Rational } from './rational'

const perSecond = { algorithm: 'token-bucket', limit: 10, windowMs: 1000 } as const
const window = { algorithm: 'fixed-window', limit: 3, windowMs: 1000 } as const

describe('Rational', () => {
  test('keeps lowest terms and a positive denominator', () => {
    expect(String(Rational.of(6, -4))).toBe('-3/2')
    expect(() => Rational.of(1, 0)).toThrow(RangeError)
  })

  test('rounds down and up, below zero too', () => {
    expect([Rational.of(7, 2).floor(), Rational.of(7, 2).ceil()]).toEqual([3n, 4n])
    expect([Rational.of(-7, 2).floor(), Rational.of(-7, 2).ceil()]).toEqual([-4n, -3n])
    expect([Rational.of(-4, 2).floor(), Rational.of(-4, 2).ceil()]).toEqual([-2n, -2n])
  })
})

test('a step back of the clock is waited out', () => {
  const clock = new ClockModel(90)
  expect([100, 50, 60, 100, 110].map((ms) => clock.read(ms))).toEqual([
    100_000n,
    100_000n,
    100_000n,
    100_000n,
    110_000n,
  ])
})

test('after one of more than 10 s, time goes on from where it stands', () => {
  const clock = new ClockModel(90)
  expect([20_000, 9_000, 9_010, 9_005, 9_030].map((ms) => clock.read(ms))).toEqual([
    20_000_000n,
    20_000_000n,
    20_010_000n,
    20_010_000n,
    20_030_000n,
  ])
})

describe('token bucket by hand', () => {
  test('is full at first, then one token each 100 ms', () => {
    const oracle = new Oracle(perSecond)
    expect(oracle.consume(0, 'k', 10)).toMatchObject({
      allowed: true,
      remaining: { lo: 0n },
      resetAfterUs: { hi: 1_000_000n },
    })
    expect(oracle.consume(99.999, 'k', 1)).toMatchObject({
      allowed: false,
      reason: 'limited',
      retryAfterUs: { lo: 1n, hi: 1n },
    })
    expect(oracle.consume(100, 'k', 1).allowed).toBe(true)
    expect(oracle.consume(100, 'k', 11)).toMatchObject({ reason: 'too-costly', retryAfterUs: 'never' })
  })

  test('a third of a token rounds the retry up to the tick', () => {
    const oracle = new Oracle({ algorithm: 'token-bucket', limit: 3, windowMs: 1000, burst: 1 })
    oracle.consume(0, 'k', 1)
    expect(oracle.peek(0, 'k').retryAfterUs).toEqual({ lo: 333_334n, hi: 333_334n })
    expect(oracle.consume(333.333, 'k', 1).allowed).toBe(false)
    expect(oracle.consume(333.334, 'k', 1).allowed).toBe(true)
  })

  test('a tier keeps what was spent, and drains at the rate of the last admitted charge', () => {
    const oracle = new Oracle({ ...perSecond, tiers: { paid: { limit: 100 } } })
    oracle.consume(0, 'k', 10)
    expect(oracle.peek(0, 'k', 'paid')).toMatchObject({ limit: 100n, remaining: { lo: 90n, hi: 90n } })
    oracle.consume(0, 'k', 90, 'paid')
    expect(oracle.peek(500, 'k', 'paid').remaining).toEqual({ lo: 50n, hi: 50n })
    expect(oracle.peek(0, 'k').remaining).toEqual({ lo: 0n, hi: 0n })
  })

  test('refund leaves out what has refilled and never overfills; penalize never goes below empty', () => {
    const oracle = new Oracle(perSecond)
    oracle.consume(0, 'k', 5)
    expect(oracle.refund(200, 'k', 5, 200)).toEqual({ lo: 3n, hi: 3n })
    expect(oracle.refund(200, 'k', 5)).toEqual({ lo: 0n, hi: 0n })
    expect(oracle.penalize(200, 'k', 99)).toEqual({ lo: 10n, hi: 10n })
    expect(oracle.penalize(200, 'k', 99)).toEqual({ lo: 0n, hi: 0n })
  })

  test('a block denies to its end, the bucket refills meanwhile, and the rest is bounded', () => {
    const oracle = new Oracle(perSecond)
    oracle.consume(0, 'k', 10)
    oracle.block(0, 'k', 499.5)
    oracle.block(0, 'k', 10)
    expect(oracle.consume(100, 'k', 0)).toMatchObject({
      reason: 'blocked',
      retryAfterUs: { lo: 400_000n, hi: 400_000n },
    })
    const after = oracle.peek(500, 'k')
    expect(after.remaining).toEqual({ lo: 4n, hi: 5n })
    expect(after.resetAfterUs).toEqual({ lo: 500_000n, hi: 500_245n })
  })
})

describe('fixed window by hand', () => {
  test('opens at the first admitted charge and ends one window later', () => {
    const oracle = new Oracle(window)
    expect(oracle.peek(7, 'k').resetAfterUs).toEqual({ lo: 0n, hi: 0n })
    expect(oracle.consume(7, 'k', 3)).toMatchObject({ allowed: true, resetAfterUs: { lo: 1_000_000n } })
    expect(oracle.consume(1006.999, 'k', 1)).toMatchObject({ allowed: false, retryAfterUs: { lo: 1n } })
    expect(oracle.consume(1007, 'k', 1)).toMatchObject({ allowed: true, remaining: { lo: 2n } })
  })

  test('epoch windows begin at multiples of the window', () => {
    const oracle = new Oracle({ ...window, align: 'epoch' })
    expect(oracle.consume(999, 'k', 3)).toMatchObject({ allowed: true, resetAfterUs: { lo: 1000n } })
    expect(oracle.consume(1000, 'k', 3).allowed).toBe(true)
  })

  test('a refund of a charge older than the window is nothing', () => {
    const oracle = new Oracle(window)
    oracle.consume(0, 'k', 3)
    oracle.consume(1000, 'k', 2)
    expect(oracle.refund(1500, 'k', 3, 600)).toEqual({ lo: 0n, hi: 0n })
    expect(oracle.refund(1500, 'k', 3, 500)).toEqual({ lo: 2n, hi: 2n })
    expect(oracle.refund(2000, 'k', 3)).toEqual({ lo: 0n, hi: 0n })
  })

  test('a block that ends inside the window starts a full one with the count; a longer one starts fresh', () => {
    const oracle = new Oracle(window)
    oracle.consume(0, 'k', 2)
    oracle.block(100, 'k', 400)
    expect(oracle.peek(500, 'k')).toMatchObject({ remaining: { lo: 1n }, resetAfterUs: { lo: 1_000_000n } })
    oracle.block(600, 'k', 900)
    expect(oracle.peek(1500, 'k')).toMatchObject({ remaining: { lo: 3n }, resetAfterUs: { lo: 0n } })
  })
})

test('reset tells whether there was something to forget', () => {
  const oracle = new Oracle(perSecond)
  expect(oracle.reset(0, 'k')).toBe(false)
  oracle.consume(0, 'k', 1)
  expect(oracle.reset(0, 'k')).toBe(true)
  oracle.consume(0, 'k', 1)
  expect(oracle.reset(100, 'k')).toBe(false)
})
