import { afterEach, describe, expect, test, vi } from 'vitest'
import { Limiter, type LimiterOptions } from '../../lib/index'
import { expectComplaint } from './coded'

const good = { limit: 10, windowMs: 1000, maxKeys: 100 }

const opened: Limiter[] = []

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
})

function open(options: unknown): Limiter {
  const limiter = new Limiter(options as LimiterOptions)
  opened.push(limiter)
  return limiter
}

describe('objects with a life of their own', () => {
  test('a getter is read once, and what it says then is checked', () => {
    const limit = vi.fn().mockReturnValueOnce(5).mockReturnValue(-1)
    const options = Object.defineProperty({ windowMs: 1000, maxKeys: 100 }, 'limit', {
      get: limit,
      enumerable: true,
    })
    expect(open(options).peek('k').limit).toBe(5)
    expect(limit).toHaveBeenCalledTimes(1)
  })

  test('a getter that throws is let through', () => {
    const broken = new Error('no limit today')
    const options = {
      ...good,
      get burst(): number {
        throw broken
      },
    }
    expect(() => open(options)).toThrow(broken)
  })

  test('options are copied: changing them later changes nothing', () => {
    const options = { ...good, tiers: { paid: { limit: 20 } } }
    const limiter = open(options)
    options.limit = 1
    options.tiers.paid.limit = 1
    expect(limiter.peek('k').limit).toBe(10)
    expect(limiter.tier('paid').peek('k').limit).toBe(20)
    expect(limiter.with({ windowMs: 500 }).peek('k').limit).toBe(10)
  })

  test('frozen ones and ones without a prototype are fine', () => {
    expect(open(Object.freeze({ ...good })).peek('k').limit).toBe(10)
    expect(open(Object.assign(Object.create(null), good)).peek('k').limit).toBe(10)
  })

  test('what Object.prototype says is not taken for an option', () => {
    const polluted = Object.prototype as Record<string, unknown>
    const inherited = {
      limit: 1,
      burst: 3,
      windowMs: 5,
      maxKeys: 1,
      align: 'epoch',
      tiers: {},
      algorithm: 'fixed-window',
      cost: 7,
    }
    try {
      for (const [name, value] of Object.entries(inherited)) {
        Object.defineProperty(polluted, name, { value, configurable: true, writable: true })
      }
      expectComplaint(() => open({ windowMs: 1000 }), {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_TYPE',
        says: ['limit'],
      })
      const bucket = open({
        limit: 10,
        windowMs: 1000,
        tiers: { paid: { limit: 20 }, slow: { windowMs: 2000 } },
      })
      expect(bucket.consume('k')).toMatchObject({ limit: 10, remaining: 9 })
      expect(bucket.tier('paid').peek('k').limit).toBe(20)
      expect(bucket.tier('slow').peek('k').limit).toBe(10)
      expect(bucket.with({ limit: 30 }).peek('k').limit).toBe(30)
      expect(bucket.consumeMany(['k'], undefined, {}).remaining[0]).toBe(8)
      const windows = open({
        algorithm: 'fixed-window',
        limit: 10,
        windowMs: 1000,
        tiers: { paid: { limit: 20 } },
      })
      expect(windows.tier('paid').peek('k').limit).toBe(20)
    } finally {
      for (const name of Object.keys(inherited)) delete polluted[name]
    }
  })
})
