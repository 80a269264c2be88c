import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

let clock: ManualClock
const opened: Limiter[] = []

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
})

function open(options: Partial<LimiterOptions>): Limiter {
  const limiter = new Limiter({ limit: 10, windowMs: 1000, maxKeys: 1000, clock, ...options })
  opened.push(limiter)
  return limiter
}

describe('token bucket', () => {
  test('a user who moves up keeps what was spent', () => {
    const limiter = open({ tiers: { paid: { limit: 100 } } })
    limiter.consume('k', 10)
    expect(limiter.tier('paid').consume('k', 0)).toMatchObject({ limit: 100, remaining: 90 })
    expect(limiter.tier('paid').consume('k', 91).reason).toBe('limited')
    expect(limiter.tier('paid').consume('k', 90)).toMatchObject({ allowed: true, remaining: 0 })
  })

  test('a user who moves down keeps what was spent, and owes it', () => {
    const limiter = open({ tiers: { paid: { limit: 100 } } })
    limiter.tier('paid').consume('k', 50)
    expect(limiter.consume('k')).toMatchObject({ allowed: false, limit: 10, remaining: 0, retryAfterMs: 410 })
    clock.set(409.999)
    expect(limiter.allow('k')).toBe(false)
    clock.set(410)
    expect(limiter.allow('k')).toBe(true)
  })

  test('going back and forth mints nothing while time stands still', () => {
    const limiter = open({
      tiers: { b: { limit: 7, windowMs: 3 }, c: { limit: 1000, burst: 13, windowMs: 17 } },
    })
    const views = [limiter, limiter.tier('b'), limiter.tier('c')]
    let admitted = 0
    for (let i = 0; i < 3000; i++) {
      if (views[i % 3]?.allow('k')) admitted++
    }
    expect(admitted).toBe(13)
  })

  test('raising the limit does not fill the bucket', () => {
    const limiter = open({})
    limiter.consume('k', 10)
    expect(limiter.with({ limit: 10, burst: 11 }).peek('k')).toMatchObject({ limit: 11, remaining: 1 })
    expect(limiter.with({ limit: 1e9, burst: 10 }).peek('k')).toMatchObject({
      remaining: 0,
      allowed: false,
      retryAfterMs: 100,
    })
  })

  test('the last admitted charge says how fast it refills; a refused one says nothing', () => {
    const limiter = open({ tiers: { slow: { limit: 1, burst: 10, windowMs: 1000 } } })
    limiter.consume('k', 10)
    expect(limiter.tier('slow').allow('k')).toBe(false)
    clock.set(500)
    expect(limiter.peek('k').remaining).toBe(5)
    expect(limiter.tier('slow').consume('k', 5)).toMatchObject({ allowed: true, resetAfterMs: 10_000 })
    clock.set(1500)
    expect(limiter.peek('k').remaining).toBe(1)
  })

  test('blocks, refunds, penalties and reset hold for the key, whatever the tier', () => {
    const limiter = open({ tiers: { paid: { limit: 100 } } })
    const paid = limiter.tier('paid')
    paid.block('k', 100)
    expect(limiter.peek('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 100 })
    expect(limiter.reset('k')).toBe(true)
    expect(paid.penalize('k', 50)).toBe(50)
    expect(limiter.peek('k')).toMatchObject({ allowed: false, remaining: 0 })
    expect(limiter.penalize('k', 5)).toBe(0)
    expect(limiter.refund('k', 45)).toBe(45)
    expect(limiter.peek('k').remaining).toBe(5)
    expect(paid.reset('k')).toBe(true)
    expect(limiter.peek('k').remaining).toBe(10)
  })

  test('after a block each tier still sees the same spent tokens', () => {
    const limiter = open({ tiers: { slow: { limit: 1, burst: 20, windowMs: 1000 } } })
    const slow = limiter.tier('slow')
    slow.consume('k', 10)
    limiter.block('k', 1)
    clock.set(1001)
    expect(slow.peek('k').remaining).toBe(11)
    expect(limiter.peek('k').remaining).toBe(1)
    expect(slow.penalize('k', 11)).toBe(11)
  })
})

test('a bucket that has refilled comes out of a block full, whichever tier charged and whichever blocked', () => {
  const tiers = { fast: { limit: 1_000_000, windowMs: 1 }, slow: { limit: 1, windowMs: 10_000 } }
  for (const charging of ['fast', 'slow']) {
    for (const blocking of ['fast', 'slow']) {
      const limiter = open({ tiers })
      limiter.tier(charging).consume('k', 1)
      clock.advance(3_600_000)
      limiter.tier(blocking).block('k', 10)
      clock.advance(10)
      expect(limiter.peek('k'), `${charging}, then ${blocking}`).toMatchObject({
        remaining: 10,
        resetAfterMs: 0,
      })
    }
  }
})

describe('fixed window', () => {
  test('tiers share the window and the count', () => {
    const limiter = open({ algorithm: 'fixed-window', tiers: { paid: { limit: 100 } } })
    limiter.consume('k', 10)
    clock.set(400)
    expect(limiter.tier('paid').consume('k', 90)).toMatchObject({
      allowed: true,
      remaining: 0,
      resetAfterMs: 600,
    })
    expect(limiter.consume('k')).toMatchObject({ allowed: false, remaining: 0, retryAfterMs: 600 })
    expect(limiter.refund('k', 95)).toBe(95)
    expect(limiter.peek('k').remaining).toBe(5)
  })

  test('a tier may not have a window of its own', () => {
    const code = 'ERR_SLUICE_OPTION_RANGE'
    expectComplaint(() => open({ algorithm: 'fixed-window', tiers: { paid: { windowMs: 500 } } }), {
      type: 'RangeError',
      code,
      says: ['tiers.paid.windowMs', '1000', '500'],
    })
    const limiter = open({ algorithm: 'fixed-window', tiers: { paid: { limit: 5, windowMs: 1000 } } })
    expect(limiter.tier('paid').peek('k').limit).toBe(5)
    expectComplaint(() => limiter.with({ windowMs: 500 }), {
      type: 'RangeError',
      code,
      says: ['windowMs', '500'],
    })
  })

  test('with takes limits up to what the table can count, and says how far that is', () => {
    const limiter = open({ algorithm: 'fixed-window' })
    expect(limiter.with({ limit: 65_535 }).consume('k', 65_535).allowed).toBe(true)
    for (const limit of [65_536, 999_999_999])
      expectComplaint(() => limiter.with({ limit }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_OPTION_RANGE',
        says: ['with.limit', `got ${limit}`, /at most 65535 in this table/],
      })
    const wide = open({ algorithm: 'fixed-window', tiers: { wide: { limit: 999_999_999 } } })
    expect(wide.with({ limit: 999_999_998 }).consume('k', 999_999_998).allowed).toBe(true)
  })
})

describe('what a variant leaves out is the limiter’s own', () => {
  test.each([
    [{ limit: 50 }, 50, 20],
    [{ burst: 5 }, 5, 100],
    [{ windowMs: 2000 }, 30, 200],
    [{ limit: 50, burst: 60 }, 60, 20],
    [{}, 30, 100],
    [{ limit: undefined, burst: undefined, windowMs: undefined }, 30, 100],
  ])('%o', (variant, capacity, msPerToken) => {
    const limiter = open({ burst: 30, tiers: { other: variant as object } })
    for (const view of [limiter.tier('other'), limiter.with(variant as object)]) {
      expect(view.consume('k', 1)).toMatchObject({
        limit: capacity,
        remaining: capacity - 1,
        resetAfterMs: msPerToken,
      })
      limiter.reset('k')
    }
  })

  test('with gives the same view for the same numbers', () => {
    const limiter = open({})
    expect(limiter.with({ limit: 5 })).toBe(limiter.with({ limit: 5, windowMs: 1000 }))
    expect(limiter.with({ limit: 5 })).not.toBe(limiter.with({ limit: 6 }))
  })

  test('a thousand policies at once; beyond what the table holds is a coded error, and the rest works on', () => {
    const limiter = open({})
    for (let limit = 1; limit <= 1000; limit++) expect(limiter.with({ limit }).peek('k').limit).toBe(limit)
    const tooMany = (): void => {
      for (let limit = 1001; limit <= 3000; limit++) limiter.with({ limit })
    }
    expectComplaint(tooMany, { type: 'RangeError', code: 'ERR_SLUICE_POLICY' })
    expect(limiter.with({ limit: 1000 }).consume('k', 1000).allowed).toBe(true)
    expect(limiter.consume('k').allowed).toBe(false)
  })
})

describe('names', () => {
  test('an unknown tier is named, with the nearest one', () => {
    const limiter = open({ tiers: { free: {}, paid: {}, enterprise: {} } })
    const code = 'ERR_SLUICE_TIER_UNKNOWN'
    expectComplaint(() => limiter.tier('piad'), { type: 'RangeError', code, says: ['piad', "'paid'"] })
    expectComplaint(() => limiter.tier('Enterprize'), { type: 'RangeError', code, says: ["'enterprise'"] })
    expectComplaint(() => limiter.tier('toString'), { type: 'RangeError', code, says: ['toString'] })
    expectComplaint(() => limiter.tier(undefined as unknown as string), {
      type: 'RangeError',
      code,
      says: ['undefined'],
    })
    expectComplaint(() => limiter.tier(Symbol('x') as unknown as string), { type: 'RangeError', code })
    expectComplaint(() => open({}).tier('paid'), { type: 'RangeError', code, says: ['no tiers'] })
  })

  test('any name will do, those of Object.prototype too', () => {
    const tiers = JSON.parse('{"__proto__": {"limit": 3}, "constructor": {"limit": 4}, "": {"limit": 5}}')
    const limiter = open({ tiers })
    for (const [name, limit] of [
      ['__proto__', 3],
      ['constructor', 4],
      ['', 5],
    ] as const) {
      expect(limiter.tier(name).peek('k').limit).toBe(limit)
    }
  })
})
