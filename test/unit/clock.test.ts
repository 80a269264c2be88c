import { afterEach, describe, expect, test, vi } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

const DAY_MS = 86_400_000
const YEAR_MS = 365 * DAY_MS
const perSecond = { limit: 10, windowMs: 1000, maxKeys: 100 }

function withClock(
  clock: NonNullable<LimiterOptions['clock']>,
  options: LimiterOptions = perSecond,
): Limiter {
  return new Limiter({ ...options, clock })
}

describe('ManualClock', () => {
  test('starts at 0 or where it is told, and moves only when told', () => {
    const clock = new ManualClock()
    expect(clock.now()).toBe(0)
    expect(new ManualClock(1234.5).now()).toBe(1234.5)
    clock.advance(1.5)
    clock.advance(0)
    expect(clock.now()).toBe(1.5)
    clock.set(-7)
    expect(clock.now()).toBe(-7)
  })

  test('drives several limiters', () => {
    const clock = new ManualClock()
    const limiters = [withClock(clock), withClock(clock, { ...perSecond, algorithm: 'fixed-window' })]
    for (const limiter of limiters) expect(limiter.allow('k', 10)).toBe(true)
    clock.advance(1000)
    for (const limiter of limiters) expect(limiter.allow('k', 10)).toBe(true)
  })

  test('is read to the nearest microsecond', () => {
    const clock = new ManualClock()
    const limiter = withClock(clock, { limit: 1, windowMs: 1, maxKeys: 100 })
    limiter.allow('k')
    clock.set(0.9994)
    expect(limiter.peek('k')).toMatchObject({ allowed: false, retryAfterMs: 0.001 })
    clock.set(0.9996)
    expect(limiter.allow('k')).toBe(true)
  })
})

describe('a clock function', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  test('() => Date.now() obeys fake timers', () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const limiter = withClock(() => Date.now())
    expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, resetAfterMs: 1000 })
    vi.advanceTimersByTime(99)
    expect(limiter.consume('k')).toMatchObject({ allowed: false, retryAfterMs: 1 })
    vi.advanceTimersByTime(1)
    expect(limiter.allow('k')).toBe(true)
    vi.setSystemTime(1_700_000_060_000)
    expect(limiter.peek('k').remaining).toBe(10)
  })

  test('is read once for a call, and once for a batch', () => {
    const clock = vi.fn(() => 5)
    const limiter = withClock(clock)
    const calls: (() => unknown)[] = [
      () => limiter.allow('k'),
      () => limiter.consume('k'),
      () => limiter.peek('k'),
      () => limiter.refund('k', 1),
      () => limiter.penalize('k', 1),
      () => limiter.block('k', 1),
      () => limiter.reset('k'),
      () => limiter.consumeMany(['k', 5, 'l', Uint8Array.of(1)]),
      () => limiter.with({ limit: 5 }).allow('k'),
    ]
    for (const call of calls) {
      clock.mockClear()
      call()
      expect(clock, String(call)).toHaveBeenCalledTimes(1)
    }
  })

  test('is called without this or arguments', () => {
    const seen: unknown[] = []
    const limiter = withClock(function (this: unknown, ...args: unknown[]) {
      seen.push(this, args.length)
      return 0
    })
    limiter.allow('k')
    expect(seen).toEqual([undefined, 0, undefined, 0])
  })

  const notTimes: [string, unknown][] = [
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['undefined', undefined],
    ['a string', '5'],
    ['a bigint', 5n],
    ['a Date', new Date(5)],
    ['10^13', 1e13],
  ]

  test.each(notTimes)('that returns %s is a coded error, and nothing is charged', (_, value) => {
    let reading: unknown = 0
    const limiter = withClock(() => reading as number)
    limiter.allow('k')
    reading = value
    const calls: (() => unknown)[] = [
      () => limiter.allow('k'),
      () => limiter.consume('k', 5),
      () => limiter.peek('k'),
      () => limiter.penalize('k', 5),
      () => limiter.refund('k', 1),
      () => limiter.block('k', 1000),
      () => limiter.reset('k'),
      () => limiter.consumeMany(['k', 'l']),
      () => limiter.consumeMany([1, 2]),
      () => limiter.consumeMany(['k', 2, Uint8Array.of(1)]),
    ]
    for (const call of calls)
      expectComplaint(call, {
        type: 'RangeError',
        code: 'ERR_SLUICE_CLOCK',
        says: [/clock/, /ms|milliseconds/],
      })
    reading = 0
    expect(limiter.peek('k')).toMatchObject({ allowed: true, remaining: 9 })
    expect(limiter.stats()).toMatchObject({ keys: 1, allowed: 1, denied: 0 })
  })

  test('whose error is let through, and nothing is charged', () => {
    const broken = new Error('no time today')
    let fails = false
    const limiter = withClock(() => {
      if (fails) throw broken
      return 0
    })
    limiter.allow('k')
    fails = true
    for (const call of [
      () => limiter.allow('k'),
      () => limiter.consume('k'),
      () => limiter.consumeMany(['k', 'l']),
    ]) {
      expect(call).toThrow(broken)
    }
    fails = false
    expect(limiter.peek('k').remaining).toBe(9)
    expect(limiter.stats().keys).toBe(1)
  })

  test('that is broken from the start cannot make a limiter that charges', () => {
    const broken = new Error('no time today')
    expect(() =>
      withClock(() => {
        throw broken
      }),
    ).toThrow(broken)
  })

  test('may charge another limiter while it is read', () => {
    const inner = withClock(new ManualClock())
    const outer = withClock(() => (inner.allow('k') ? 0 : 0))
    expect(outer.consume('k', 3).remaining).toBe(7)
    expect(inner.peek('k').remaining).toBe(8)
  })
})

describe('a clock that jitters', () => {
  test.each([0.001, 1, 10_000])('by %d ms is waited out, and gains nothing', (stepMs) => {
    for (const algorithm of ['token-bucket', 'fixed-window'] as const) {
      const clock = new ManualClock()
      const limiter = withClock(clock, { limit: 10, windowMs: 20_000, algorithm })
      let admitted = 0
      for (let i = 0; i < 1000; i++) {
        clock.set(i % 2 === 0 ? stepMs : 0)
        if (limiter.allow('k')) admitted++
      }
      expect(admitted).toBeLessThanOrEqual(algorithm === 'token-bucket' ? 10 + stepMs / 2000 : 10)
      clock.set(stepMs + 20_000)
      expect(limiter.allow('k', 10)).toBe(true)
    }
  })
})

describe('a clock that runs 146 years ahead', () => {
  test('is refused, and nothing is lost when it comes back', () => {
    const clock = new ManualClock()
    const limiter = withClock(clock)
    limiter.consume('k', 9)
    clock.set(4.7e12)
    expect(() => limiter.consume('k')).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOCK' }))
    clock.set(0)
    expect(limiter.peek('k').remaining).toBe(1)
    clock.set(1000)
    expect(limiter.peek('k').remaining).toBe(10)
  })

  test('a limiter is not made on a clock that gives no time', () => {
    for (const clock of [new ManualClock(Number.NaN), () => Number.NaN, () => '5' as unknown as number]) {
      expect(() => withClock(clock)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOCK' }))
    }
  })
})

describe('a clock that steps back', () => {
  test.each([
    ['11 s', 11_000],
    ['8 h', 8 * 3_600_000],
    ['100 years', 100 * YEAR_MS],
  ])('by %s lets time stand still for that moment and no longer', (_, stepMs) => {
    for (const algorithm of ['token-bucket', 'fixed-window'] as const) {
      const clock = new ManualClock(200 * YEAR_MS)
      const limiter = withClock(clock, { ...perSecond, algorithm })
      limiter.consume('k', 10)
      clock.advance(-stepMs)
      expect(limiter.consume('k')).toMatchObject({ allowed: false, resetAfterMs: 1000 })
      clock.advance(1000)
      expect(limiter.consume('k', 10)).toMatchObject({ allowed: true, remaining: 0 })
    }
  })

  test('before the first call does no harm', () => {
    const clock = new ManualClock(1_000_000)
    const limiter = withClock(clock)
    clock.set(0)
    expect(limiter.consume('k', 10).allowed).toBe(true)
    clock.advance(100)
    expect(limiter.consume('k')).toMatchObject({ allowed: true, resetAfterMs: 1000 })
    limiter.block('l', 100)
    expect(limiter.peek('l')).toMatchObject({ reason: 'blocked', retryAfterMs: 100 })
  })

  test('again and again mints nothing', () => {
    const clock = new ManualClock(1_000_000)
    const limiter = withClock(clock)
    let admitted = 0
    for (let i = 0; i < 1000; i++) {
      clock.advance(-11_000)
      if (limiter.allow('k')) admitted++
    }
    expect(admitted).toBe(10)
  })
})

test('epoch windows follow the clock, wherever it stood when the limiter was made', () => {
  for (const startMs of [0, 1, 999.999, 1_700_000_000_123.456, -1, -1_700_000_000_123.456]) {
    const clock = new ManualClock(startMs)
    const limiter = withClock(clock, {
      algorithm: 'fixed-window',
      align: 'epoch',
      limit: 1,
      windowMs: 7000,
      maxKeys: 100,
    })
    const nextMs = Math.floor(startMs / 7000) * 7000 + 7000
    const { resetAfterMs } = limiter.consume('k')
    expect(Math.round(resetAfterMs * 1000)).toBe(Math.round((nextMs - startMs) * 1000))
    clock.set(nextMs - 0.001)
    expect(limiter.allow('k')).toBe(false)
    clock.set(nextMs)
    expect(limiter.consume('k')).toMatchObject({ allowed: true, resetAfterMs: 7000 })
  }
})

describe('far times', () => {
  test('100 years forward: full again, and the limiter goes on', () => {
    for (const algorithm of ['token-bucket', 'fixed-window'] as const) {
      const clock = new ManualClock(1_700_000_000_000)
      const limiter = withClock(clock, { ...perSecond, algorithm })
      limiter.consume('k', 10)
      clock.advance(100 * YEAR_MS)
      expect(limiter.consume('k', 10).allowed).toBe(true)
      expect(limiter.consume('k').allowed).toBe(false)
      clock.advance(1000)
      expect(limiter.consume('k', 10).allowed).toBe(true)
    }
  })

  test.each([25, 30, 365, 3650])('a limit of %i days counts to its end', (days) => {
    for (const algorithm of ['token-bucket', 'fixed-window'] as const) {
      const clock = new ManualClock()
      const limiter = withClock(clock, { algorithm, limit: 1, windowMs: days * DAY_MS, maxKeys: 100 })
      expect(limiter.consume('k')).toMatchObject({ allowed: true, resetAfterMs: days * DAY_MS })
      clock.set(days * DAY_MS - 0.001)
      expect(limiter.consume('k')).toMatchObject({ allowed: false, retryAfterMs: 0.001 })
      clock.set(days * DAY_MS)
      expect(limiter.allow('k')).toBe(true)
    }
  })

  test('a block of 100 days lasts 100 days', () => {
    const clock = new ManualClock()
    const limiter = withClock(clock)
    limiter.block('k', 100 * DAY_MS)
    clock.set(100 * DAY_MS - 1)
    expect(limiter.peek('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 1 })
    clock.set(100 * DAY_MS)
    expect(limiter.allow('k')).toBe(true)
  })
})

test('without a clock the machine’s own is used: frozen it is not, and Date does not move it', () => {
  vi.useFakeTimers({ now: 0, toFake: ['Date'] })
  const limiter = new Limiter({ limit: 1, windowMs: DAY_MS, maxKeys: 100 })
  expect(limiter.allow('k')).toBe(true)
  vi.setSystemTime(2 * DAY_MS)
  expect(limiter.allow('k')).toBe(false)
  const { retryAfterMs } = limiter.peek('k')
  expect(retryAfterMs).toBeGreaterThan(DAY_MS - 60_000)
  expect(retryAfterMs).toBeLessThanOrEqual(DAY_MS)
  vi.useRealTimers()
})
