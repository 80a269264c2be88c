import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Algorithm,
  type Limiter,
  type LimiterOptions,
  ManualClock,
  type Reservation,
} from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, open, PAST_RING_MS, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

const TTL_MS = 60_000
const settled = { type: 'TypeError', code: 'ERR_SLUICE_SETTLED' } as const

function make(algorithm: Algorithm = 'token-bucket', more: Partial<LimiterOptions> = {}): Limiter {
  return open(tenOf(algorithm, { clock, ...more }))
}

function left(limiter: Limiter): number {
  return limiter.peek('k').remaining
}

const RESERVING = ALGORITHMS.filter((name) => name !== 'concurrency')
/** Whose tokens come back when they are refunded. */
const REFUNDING = RESERVING.filter((name) => name !== 'leaky-bucket')
/** Which can go below empty, and when the next token comes after a debt of ten. */
const INDEBTED: [Algorithm, number][] = [
  ['token-bucket', 1100],
  ['leaky-bucket', 1100],
  ['fixed-window', 1000],
  // In the next window the twenty count for nine after eleven twentieths of it.
  ['sliding-window', 1550],
  ['strict-window', PAST_RING_MS],
]

describe.each(RESERVING)('%s', (algorithm) => {
  test('charges the estimate at once, and answers like consume', () => {
    const limiter = make(algorithm)
    const [reservation, twin] = [limiter.reserve('k', 4, TTL_MS), make(algorithm).consume('k', 4)]
    expect({ ...reservation }).toEqual(twin)
    expect(reservation).toMatchObject({ allowed: true, consumed: 4, remaining: 6 })
    expect(left(limiter)).toBe(6)
    expect(limiter.stats()).toMatchObject({ allowed: 1, denied: 0 })
  })

  test('more than estimated is charged, as far as the key has it', () => {
    const limiter = make(algorithm)
    expect(limiter.reserve('k', 4, TTL_MS).settle(9)).toBe(0)
    expect(left(limiter)).toBe(1)
    expect(limiter.reserve('k', 1, TTL_MS, { maxDebt: 0 }).settle(4)).toBe(3)
    expect(left(limiter)).toBe(0)
  })

  test('as estimated changes nothing', () => {
    const limiter = make(algorithm)
    expect(limiter.reserve('k', 4, TTL_MS).settle(4)).toBe(0)
    expect(left(limiter)).toBe(6)
  })

  test('if nobody settles, the estimate stands', () => {
    const limiter = make(algorithm)
    limiter.reserve('k', 10, TTL_MS)
    expect(limiter.consume('k')).toMatchObject({ allowed: false, ...AFTER_TEN[algorithm] })
    clock.set(5000)
    expect(left(limiter)).toBe(10)
  })

  test('refused: nothing is charged, and there is nothing to settle', () => {
    const limiter = make(algorithm)
    limiter.consume('k', 5)
    for (const [cost, reason] of [
      [6, 'limited'],
      [11, 'too-costly'],
    ] as const) {
      const reservation = limiter.reserve('k', cost, TTL_MS)
      expect(reservation).toMatchObject({ allowed: false, reason, consumed: 0 })
      for (const act of [
        () => reservation.settle(3),
        () => reservation.settle(30),
        () => reservation.cancel(),
      ])
        expectComplaint(act, { ...settled, says: ['refused', 'allowed'] })
    }
    expect(left(limiter)).toBe(5)
  })
})

describe.each(REFUNDING)('%s', (algorithm) => {
  test('less than estimated: the rest comes back', () => {
    const limiter = make(algorithm)
    const reservation = limiter.reserve('k', 8, TTL_MS)
    expect(reservation.settle(3)).toBe(0)
    expect(left(limiter)).toBe(7)
    limiter.reserve('k', 7, TTL_MS).cancel()
    expect(left(limiter)).toBe(7)
  })

  test('what the window has given back is not given twice', () => {
    const limiter = make(algorithm)
    const reservation = limiter.reserve('k', 8, TTL_MS)
    clock.set(2000)
    limiter.consume('k', 6)
    reservation.cancel()
    expect(left(limiter)).toBe(4)
  })

  test('after ttlMs nothing comes back; more is charged all the same', () => {
    for (const [afterMs, has] of [
      [10, 10],
      [10.001, 5],
    ] as const) {
      clock.set(0)
      const limiter = make(algorithm)
      const [tooMuch, tooLittle] = [limiter.reserve('k', 5, 10), limiter.reserve('l', 5, 10)]
      clock.set(afterMs)
      expect(tooMuch.settle(0)).toBe(0)
      expect(left(limiter)).toBe(has)
      expect(tooLittle.settle(7)).toBe(0)
      expect(limiter.peek('l').remaining).toBe(3)
    }
  })
})

test('a bucket gives back only what has not been refilled', () => {
  const limiter = make()
  const reservation = limiter.reserve('k', 10, TTL_MS)
  clock.set(400)
  limiter.consume('k', 4)
  expect(left(limiter)).toBe(0)
  reservation.cancel()
  expect(left(limiter)).toBe(6)
})

test('a leaky bucket gives no place in time back', () => {
  const limiter = make('leaky-bucket')
  limiter.reserve('k', 4, TTL_MS).cancel()
  expect(left(limiter)).toBe(6)
})

describe.each(INDEBTED)('below empty: %s', (algorithm, retryAfterMs) => {
  test('by one capacity at most; the rest is told', () => {
    const limiter = make(algorithm)
    expect(limiter.reserve('k', 10, TTL_MS).settle(25)).toBe(5)
    const denied = { allowed: false, reason: 'limited', remaining: 0, retryAfterMs }
    expect(limiter.consume('k')).toMatchObject(denied)
    clock.set(retryAfterMs - 0.001)
    expect(limiter.allow('k')).toBe(false)
    clock.set(retryAfterMs)
    expect(limiter.consume('k').allowed).toBe(true)
  })

  test('by maxDebt, if that is less', () => {
    for (const [maxDebt, uncharged] of [
      [0, 15],
      [3, 12],
      [10, 5],
      [Number.MAX_SAFE_INTEGER, 5],
    ] as const) {
      const limiter = make(algorithm)
      expect(limiter.reserve('k', 10, TTL_MS, { maxDebt }).settle(25)).toBe(uncharged)
    }
  })

  test('a second reservation adds to the debt of the first, to the same bound', () => {
    const limiter = make(algorithm)
    const [first, second] = [limiter.reserve('k', 5, TTL_MS), limiter.reserve('k', 5, TTL_MS)]
    expect(first.settle(11)).toBe(0)
    expect(second.settle(11)).toBe(2)
  })
})

test('a sliding log takes no debt', () => {
  const limiter = make('sliding-log')
  expect(limiter.reserve('k', 8, TTL_MS).settle(25)).toBe(15)
  clock.set(1000)
  expect(left(limiter)).toBe(10)
})

test('concurrency has leases instead', () => {
  expectComplaint(() => make('concurrency').reserve('k', 1, TTL_MS), {
    type: 'RangeError',
    code: 'ERR_SLUICE_UNSUPPORTED',
    says: ['reserve', "'concurrency'", 'use acquire'],
  })
})

describe('once', () => {
  test.each<[string, (reservation: Reservation) => unknown]>([
    ['settle', (reservation) => reservation.settle(3)],
    ['settle above', (reservation) => reservation.settle(7)],
    ['cancel', (reservation) => reservation.cancel()],
  ])('%s, and no more', (_, end) => {
    const limiter = make()
    const reservation = limiter.reserve('k', 5, TTL_MS)
    end(reservation)
    const after = left(limiter)
    for (const again of [
      () => reservation.settle(0),
      () => reservation.settle(50),
      () => reservation.cancel(),
    ])
      expectComplaint(again, { ...settled, says: ['settled before'] })
    expect(left(limiter)).toBe(after)
  })

  test('a bad number settles nothing; the right one still can', () => {
    const limiter = make()
    const reservation = limiter.reserve('k', 5, TTL_MS)
    for (const actual of [-1, 0.5, Number.NaN, 2 ** 53])
      expectComplaint(() => reservation.settle(actual), {
        type: 'RangeError',
        code: 'ERR_SLUICE_ARGUMENT_RANGE',
        says: ['actual', String(actual)],
      })
    for (const actual of [undefined, null, '3', 3n])
      expectComplaint(() => reservation.settle(actual as never), {
        type: 'TypeError',
        code: 'ERR_SLUICE_ARGUMENT_TYPE',
        says: ['actual'],
      })
    expect(left(limiter)).toBe(5)
    expect(reservation.settle(3)).toBe(0)
    expect(left(limiter)).toBe(7)
  })

  test('after close it is ERR_SLUICE_CLOSED', () => {
    const limiter = make()
    const [under, over] = [limiter.reserve('k', 2, TTL_MS), limiter.reserve('k', 2, TTL_MS)]
    limiter.close()
    const closed = { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' } as const
    expectComplaint(() => under.settle(0), closed)
    expectComplaint(() => over.settle(5), closed)
    expectComplaint(() => limiter.reserve('k', 1, TTL_MS), closed)
  })
})

test('bad arguments charge nothing', () => {
  const limiter = make()
  const option = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const
  const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
  for (const ttlMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 5e12])
    expectComplaint(() => limiter.reserve('k', 1, ttlMs), { ...option, says: ['ttlMs', String(ttlMs)] })
  for (const ttlMs of [undefined, null, '5'])
    expectComplaint(() => limiter.reserve('k', 1, ttlMs as never), { ...type, says: ['ttlMs'] })
  for (const maxDebt of [-1, 0.5, Number.NaN])
    expectComplaint(() => limiter.reserve('k', 1, 5, { maxDebt }), { ...option, says: ['maxDebt'] })
  for (const options of [null, 5, 'x', []])
    expectComplaint(() => limiter.reserve('k', 1, 5, options as never), { ...type, says: ['options'] })
  expectComplaint(() => limiter.reserve('k', 1, 5, { maxDept: 1 } as never), {
    type: 'TypeError',
    code: 'ERR_SLUICE_OPTION_UNKNOWN',
    says: ["did you mean 'maxDebt'"],
  })
  for (const estimate of [-1, 0.5, Number.NaN, 2 ** 53])
    expectComplaint(() => limiter.reserve('k', estimate, 5), {
      type: 'RangeError',
      code: 'ERR_SLUICE_ARGUMENT_RANGE',
      says: ['estimate'],
    })
  expectComplaint(() => limiter.reserve('k', '1' as never, 5), {
    type: 'TypeError',
    code: 'ERR_SLUICE_ARGUMENT_TYPE',
  })
  expectComplaint(() => limiter.reserve({} as never, 1, 5), {
    type: 'TypeError',
    code: 'ERR_SLUICE_KEY_TYPE',
  })
  expect(limiter.stats()).toMatchObject({ keys: 0, allowed: 0, denied: 0 })
})

test('an estimate of 0 is settled like any other', () => {
  const limiter = make()
  expect(limiter.reserve('k', 0, 0)).toMatchObject({ allowed: true, consumed: 0 })
  expect(limiter.reserve('k', 0, 0).settle(4)).toBe(0)
  expect(left(limiter)).toBe(6)
})

test('of a tier: its capacity bounds the debt', () => {
  const limiter = make('token-bucket', { tiers: { small: { limit: 2, windowMs: 1000 } } })
  expect(limiter.tier('small').reserve('k', 1, TTL_MS).settle(10)).toBe(6)
})

test.each(['a ManualClock', 'a function'])('a clock that is set back (%s) mints nothing', (kind) => {
  const own = kind === 'a function' ? { clock: () => clock.now() } : {}
  const limiter = make('token-bucket', own)
  clock.set(1_000_000)
  const reservation = limiter.reserve('k', 10, Number.MAX_SAFE_INTEGER / 1e6)
  clock.advance(3_600_000)
  expect(limiter.consume('k', 10).allowed).toBe(true)
  clock.advance(-11_000)
  reservation.cancel()
  expect(left(limiter)).toBe(0)
})

test('the age of a reservation is its own, however long it is', () => {
  const limiter = make('fixed-window', { windowMs: 1e12, limit: 10 })
  clock.set(5e11)
  const reservation = limiter.reserve('k', 9, 2e12)
  clock.set(5e11 + 9e11)
  expect(reservation.settle(1)).toBe(0)
  expect(left(limiter)).toBe(9)
})

test('a byte array may change afterwards: what was charged is settled', () => {
  const limiter = make()
  const [one, two] = [new Uint8Array([1]), new Uint8Array([2])]
  const key = new Uint8Array(one)
  const [under, over] = [limiter.reserve(key, 3, TTL_MS), limiter.reserve(key, 3, TTL_MS)]
  limiter.consume(two, 6)
  key.set(two)
  under.cancel()
  over.settle(5)
  expect([limiter.peek(one).remaining, limiter.peek(two).remaining]).toEqual([5, 4])
})

test('it is a Reservation, which shows nothing but the decision', () => {
  const reservation = make().reserve('k', 1, TTL_MS)
  expect(reservation.constructor.name).toBe('Reservation')
  expect(Object.keys(reservation).sort()).toEqual(Object.keys(make().peek('k')).sort())
})
