import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { closeAll, open } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

const range = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const

/** Ten in a second; a new key has three. */
function make(more: Partial<LimiterOptions> = {}): Limiter {
  return open({ limit: 10, windowMs: 1000, initial: 3, rememberMs: 5000, maxKeys: 100, clock, ...more })
}

describe('options', () => {
  test.each(['token-bucket', 'fixed-window'] as const)('%s', (algorithm) => {
    const of = (more: object) => () => make({ algorithm, ...more })
    for (const value of [0, -1, 1.5, Number.NaN])
      expectComplaint(of({ initial: value }), { ...range, says: ['initial must be an integer from 1'] })
    for (const value of ['3', null, true]) {
      const complaint = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE', says: ['initial'] } as const
      expectComplaint(of({ initial: value }), complaint)
    }
    for (const value of [0, -1, Number.NaN, 5e12])
      expectComplaint(of({ rememberMs: value }), {
        ...range,
        says: ['rememberMs must be a number from 0.001'],
      })
    expectComplaint(of({ initial: undefined }), { ...range, says: ['rememberMs is nothing without initial'] })
    expectComplaint(of({ evenly: true }), { ...range, says: ['evenly does not go with initial'] })
    expectComplaint(() => make({ algorithm, tiers: { paid: { initial: 0 } } }), {
      ...range,
      says: ['tiers.paid.initial'],
    })
  })

  test('a bucket cannot begin with more than it holds', () => {
    expectComplaint(() => make({ initial: 11 }), { ...range, says: ['initial', 'from 1 to 10', 'got 11'] })
    expectComplaint(() => make({ burst: 2 }), { ...range, says: ['initial', 'from 1 to 2', 'got 3'] })
    expect(make({ initial: 10 }).consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('a window can begin with more, as far as its length allows', () => {
    const windows = { algorithm: 'fixed-window', windowMs: 0.05 } as const
    expect(make({ ...windows, initial: 50_000 }).peek('k').remaining).toBe(50_000)
    expectComplaint(() => make({ ...windows, initial: 50_001 }), {
      ...range,
      says: ['initial must be at most 50000', 'one per nanosecond'],
    })
  })

  test('policy tells them; rememberMs is a window unless told otherwise', () => {
    expect(make().policy).toMatchObject({ initial: 3, rememberMs: 5000 })
    expect(make({ rememberMs: undefined as never }).policy).toMatchObject({ initial: 3, rememberMs: 1000 })
    const limiter = make()
    limiter.setPolicy({ initial: 4 })
    expect(limiter.policy).toMatchObject({ limit: 10, initial: 4, rememberMs: 5000 })
    expect(limiter.peek('k').remaining).toBe(4)
  })
})

describe('token bucket', () => {
  test('a new key has that much, and refills from there', () => {
    const limiter = make()
    expect(limiter.peek('k')).toMatchObject({ limit: 10, remaining: 3 })
    expect(limiter.consume('k', 3)).toMatchObject({
      allowed: true,
      limit: 10,
      remaining: 0,
      resetAfterMs: 1000,
    })
    expect(limiter.consume('k')).toMatchObject({ allowed: false, retryAfterMs: 100 })
    clock.set(700)
    expect(limiter.peek('k').remaining).toBe(7)
    clock.set(1000)
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('what it is refused is promised for when it is so', () => {
    const limiter = make()
    expect(limiter.consume('k', 8)).toMatchObject({ allowed: false, reason: 'limited', retryAfterMs: 500 })
    expect(limiter.stats().keys).toBe(1)
    clock.set(499.999)
    expect(limiter.allow('k', 8)).toBe(false)
    clock.set(500)
    expect(limiter.consume('k', 8)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('looking at a key does not make it known', () => {
    const limiter = make()
    limiter.peek('k')
    limiter.consume('k', 0)
    limiter.consume('k', 11)
    expect(limiter.stats().keys).toBe(0)
    clock.set(10_000)
    expect(limiter.peek('k').remaining).toBe(3)
  })

  test('a key is known for rememberMs after it is full, then it is new again', () => {
    for (const [afterMs, has] of [
      [1000, 10],
      [5999.999, 10],
      [6000, 3],
    ] as const) {
      clock.set(0)
      const limiter = make()
      limiter.consume('k', 3)
      clock.set(afterMs)
      expect(limiter.consume('k', 4).allowed).toBe(has === 10)
      expect(limiter.peek('k').remaining).toBe(has === 10 ? 6 : 3)
    }
  })

  test('a refund gives back what was spent, not what a new key lacks', () => {
    const limiter = make()
    limiter.consume('k', 2)
    expect(limiter.refund('k', 2)).toBe(2)
    expect(limiter.peek('k').remaining).toBe(3)
  })
})

describe('fixed window', () => {
  const windows = { algorithm: 'fixed-window' } as const

  test('a new key’s first window has that much', () => {
    const limiter = make(windows)
    expect(limiter.consume('k', 3)).toMatchObject({ allowed: true, limit: 10, remaining: 0 })
    expect(limiter.consume('k')).toMatchObject({ allowed: false, reason: 'limited', retryAfterMs: 1000 })
    clock.set(1000)
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('it may be more than the limit; no single call may be', () => {
    const limiter = make({ ...windows, initial: 25 })
    expect(limiter.consume('k', 11)).toMatchObject({ allowed: false, reason: 'too-costly' })
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, limit: 10, remaining: 15 })
    expect(limiter.consume('k', 10).remaining).toBe(5)
    expect(limiter.consume('k', 6)).toMatchObject({ allowed: false, reason: 'limited', retryAfterMs: 1000 })
    clock.set(1000)
    expect(limiter.peek('k').remaining).toBe(10)
  })

  test('a refusal opens the window, so that its end is as promised', () => {
    const limiter = make(windows)
    expect(limiter.consume('k', 4)).toMatchObject({ allowed: false, reason: 'limited', retryAfterMs: 1000 })
    clock.set(999.999)
    expect(limiter.allow('k', 4)).toBe(false)
    expect(limiter.allow('k', 3)).toBe(true)
    clock.set(1000)
    expect(limiter.allow('k', 4)).toBe(true)
  })

  test('known until rememberMs after the end of its last window', () => {
    for (const [afterMs, has] of [
      [1000, 10],
      [5999.999, 10],
      [6000, 3],
    ] as const) {
      clock.set(0)
      const limiter = make(windows)
      limiter.consume('k')
      clock.set(afterMs)
      expect(limiter.peek('k').remaining).toBe(has)
      expect(limiter.consume('k', 4).allowed).toBe(has === 10)
    }
  })

  test('who is blocked is known', () => {
    const limiter = make(windows)
    limiter.block('k', 500)
    clock.set(500)
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('reset makes a key new', () => {
    const limiter = make(windows)
    limiter.consume('k', 3)
    clock.set(1000)
    limiter.consume('k', 10)
    limiter.reset('k')
    expect(limiter.peek('k').remaining).toBe(3)
  })
})

test('a tier may have an initial of its own; another of none', () => {
  const limiter = open({
    limit: 10,
    windowMs: 1000,
    maxKeys: 100,
    clock,
    tiers: { trial: { initial: 2, rememberMs: 60_000 } },
  })
  expect(limiter.tier('trial').peek('k').remaining).toBe(2)
  expect(limiter.peek('k').remaining).toBe(10)
  expect(limiter.tier('trial').consume('k', 2).remaining).toBe(0)
  expect(limiter.tier('trial').allow('k')).toBe(false)
})
