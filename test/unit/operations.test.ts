import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Decision, Limiter, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

const algorithms = ['token-bucket', 'fixed-window'] as const

let clock: ManualClock
let limiter: Limiter

beforeEach(() => {
  clock = new ManualClock()
  limiter = new Limiter({ limit: 10, windowMs: 1000, maxKeys: 100, clock })
})

afterEach(() => limiter.close())

describe('a decision', () => {
  test('has these fields and no others, admitted or not', () => {
    const ok: Decision = {
      allowed: true,
      limit: 10,
      remaining: 7,
      retryAfterMs: 0,
      resetAfterMs: 300,
      consumed: 3,
      delayMs: 0,
      reason: 'ok',
      source: 'local',
    }
    expect(limiter.consume('k', 3)).toStrictEqual(ok)
    const limited: Decision = { ...ok, allowed: false, consumed: 0, retryAfterMs: 100, reason: 'limited' }
    expect(limiter.consume('k', 8)).toStrictEqual(limited)
    const tooCostly: Decision = { ...limited, retryAfterMs: Number.POSITIVE_INFINITY, reason: 'too-costly' }
    expect(limiter.consume('k', 11)).toStrictEqual(tooCostly)
    limiter.block('k', 500)
    const blocked: Decision = {
      ...limited,
      remaining: 0,
      retryAfterMs: 500,
      resetAfterMs: 500,
      reason: 'blocked',
    }
    expect(limiter.consume('k')).toStrictEqual(blocked)
  })

  test('is a value: a later call does not change it', () => {
    const first = limiter.consume('k', 1)
    limiter.consume('k', 5)
    expect(first.remaining).toBe(9)
  })
})

describe.each(algorithms)('%s', (algorithm) => {
  beforeEach(() => {
    limiter.close()
    limiter = new Limiter({ algorithm, limit: 10, windowMs: 1000, maxKeys: 100, clock })
  })

  test('costs 1 unless told otherwise', () => {
    expect(limiter.consume('k').remaining).toBe(9)
    expect(limiter.consume('k', undefined).remaining).toBe(8)
    expect(limiter.allow('k')).toBe(true)
    expect(limiter.allow('k', undefined)).toBe(true)
    expect(limiter.peek('k').remaining).toBe(6)
  })

  test('peek changes nothing and tells what a call of cost 1 would get', () => {
    for (let left = 10; left > 0; left--) {
      expect(limiter.peek('k')).toMatchObject({
        allowed: true,
        remaining: left,
        reason: 'ok',
        retryAfterMs: 0,
      })
      limiter.allow('k')
    }
    expect(limiter.peek('k')).toMatchObject({ allowed: false, remaining: 0, reason: 'limited' })
    expect(limiter.stats()).toMatchObject({ allowed: 10, denied: 0 })
  })

  test('a cost of 0 reads, admitted even when nothing is left', () => {
    expect(limiter.consume('k', 0)).toMatchObject({ allowed: true, remaining: 10, resetAfterMs: 0 })
    limiter.consume('k', 10)
    expect(limiter.consume('k', 0)).toMatchObject({ allowed: true, remaining: 0, resetAfterMs: 1000 })
    expect(limiter.allow('k', -0)).toBe(true)
  })

  test('a denied call takes nothing, however often it comes', () => {
    limiter.consume('k', 6)
    for (let i = 0; i < 1000; i++) expect(limiter.allow('k', 5)).toBe(false)
    expect(limiter.peek('k')).toMatchObject({ remaining: 4 })
    expect(limiter.allow('k', 4)).toBe(true)
  })

  test('a denied call does not begin to know the key', () => {
    expect(limiter.consume('k', 11).reason).toBe('too-costly')
    limiter.peek('k')
    limiter.consume('k', 0)
    limiter.refund('k', 5)
    limiter.penalize('k', 0)
    limiter.block('k', 0)
    expect(limiter.stats().keys).toBe(0)
    expect(limiter.reset('k')).toBe(false)
  })

  test('block: never shortened, ends on a whole ms, lifted by reset', () => {
    clock.set(0.5)
    limiter.block('k', 100)
    limiter.block('k', 10)
    limiter.block('k', 0)
    expect(limiter.peek('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 100.5 })
    limiter.block('k', 200)
    expect(limiter.peek('k')).toMatchObject({ reason: 'blocked', retryAfterMs: 200.5 })
    clock.set(200.999)
    expect(limiter.allow('k', 0)).toBe(false)
    clock.set(201)
    expect(limiter.allow('k', 10)).toBe(true)
    limiter.block('k', 5000)
    expect(limiter.reset('k')).toBe(true)
    expect(limiter.allow('k', 10)).toBe(true)
  })

  test('penalize takes at most what is there and says how much', () => {
    expect(limiter.penalize('k', 4)).toBe(4)
    expect(limiter.penalize('k', 100)).toBe(6)
    expect(limiter.penalize('k', 1)).toBe(0)
    expect(limiter.peek('k')).toMatchObject({ allowed: false, remaining: 0, resetAfterMs: 1000 })
    clock.advance(1000)
    expect(limiter.peek('k').remaining).toBe(10)
  })

  test('refund credits at most what is missing and says how much', () => {
    limiter.consume('k', 8)
    expect(limiter.refund('k', 3)).toBe(3)
    expect(limiter.peek('k').remaining).toBe(5)
    expect(limiter.refund('k', Number.MAX_SAFE_INTEGER)).toBe(5)
    expect(limiter.refund('k', 1)).toBe(0)
    expect(limiter.consume('k', 11).reason).toBe('too-costly')
    expect(limiter.refund('unknown', 5)).toBe(0)
  })

  test('reset forgets one key, and says whether there was anything', () => {
    limiter.consume('k', 10)
    limiter.consume('l', 10)
    expect(limiter.reset('k')).toBe(true)
    expect(limiter.reset('k')).toBe(false)
    expect(limiter.peek('k').remaining).toBe(10)
    expect(limiter.peek('l').remaining).toBe(0)
    clock.advance(1000)
    expect(limiter.reset('l')).toBe(false)
  })

  test('stats count what was admitted and refused', () => {
    limiter.consume('a', 10)
    limiter.allow('a')
    limiter.consumeMany(['b', 'a', 'c'])
    limiter.peek('a')
    expect(limiter.stats()).toMatchObject({
      keys: 3,
      allowed: 3,
      denied: 2,
      maxKeys: 100,
      evictedLive: 0,
      refusedFull: 0,
    })
  })
})

test('a bucket refunds only what time has not given back', () => {
  limiter.consume('k', 10)
  clock.advance(250)
  expect(limiter.refund('k', 4, 250)).toBe(1)
  expect(limiter.consume('k', 4).allowed).toBe(true)
  expect(limiter.refund('k', 2, 1_000_000)).toBe(0)
})

test('a window refunds only charges of its own', () => {
  const windows = new Limiter({ algorithm: 'fixed-window', limit: 10, windowMs: 1000, maxKeys: 100, clock })
  windows.consume('k', 10)
  clock.advance(1000)
  expect(windows.refund('k', 10)).toBe(0)
  windows.consume('k', 3)
  clock.advance(500)
  expect(windows.refund('k', 10, 500.001)).toBe(0)
  expect(windows.refund('k', 10, 500)).toBe(3)
})

describe('bad arguments are refused, and nothing is charged', () => {
  const counts = ['cost', 'tokens'] as const
  const badCounts: [unknown, 'TypeError' | 'RangeError', string][] = [
    [-1, 'RangeError', '-1'],
    [1.5, 'RangeError', '1.5'],
    [Number.NaN, 'RangeError', 'NaN'],
    [Number.POSITIVE_INFINITY, 'RangeError', 'Infinity'],
    [2 ** 53, 'RangeError', '9007199254740992'],
    ['1', 'TypeError', 'string'],
    [null, 'TypeError', 'null'],
    [true, 'TypeError', 'boolean'],
    [1n, 'TypeError', 'bigint'],
    [{}, 'TypeError', 'object'],
    [[1], 'TypeError', 'object'],
    [Symbol('1'), 'TypeError', 'symbol'],
    [Object(1), 'TypeError', 'object'],
  ]
  const calls: [string, (typeof counts)[number], (count: number) => unknown][] = [
    ['allow', 'cost', (count) => limiter.allow('k', count)],
    ['consume', 'cost', (count) => limiter.consume('k', count)],
    ['refund', 'tokens', (count) => limiter.refund('k', count)],
    ['penalize', 'tokens', (count) => limiter.penalize('k', count)],
  ]

  function expectUntouched(): void {
    expect(limiter.peek('k')).toMatchObject({ remaining: 5, reason: 'ok' })
    expect(limiter.stats()).toMatchObject({ keys: 1, allowed: 1, denied: 0 })
  }

  test.each(calls)('%s', (_, name, call) => {
    limiter.consume('k', 5)
    for (const [value, type, shown] of badCounts) {
      const code = type === 'TypeError' ? 'ERR_SLUICE_ARGUMENT_TYPE' : 'ERR_SLUICE_ARGUMENT_RANGE'
      expectComplaint(() => call(value as number), {
        type,
        code,
        says: [name, '0 to 9007199254740991', shown],
      })
    }
    expectUntouched()
  })

  test.each([
    ['refund', (span: number) => limiter.refund('k', 1, span), 'chargedAgoMs'],
    ['block', (span: number) => limiter.block('k', span), 'Ms'],
  ])('%s: its span of time', (_, call, name) => {
    limiter.consume('k', 5)
    for (const value of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e13]) {
      const says = [name, /from 0 to \d+/, String(value)]
      expectComplaint(() => call(value), { type: 'RangeError', code: 'ERR_SLUICE_ARGUMENT_RANGE', says })
    }
    for (const value of ['1', null, 1n, {}, Symbol('1'), new Date(5)]) {
      expectComplaint(() => call(value as number), {
        type: 'TypeError',
        code: 'ERR_SLUICE_ARGUMENT_TYPE',
        says: [name],
      })
    }
    expectUntouched()
  })

  test('refund, penalize and block want their number', () => {
    const loose = limiter as unknown as Record<string, (key: string) => unknown>
    for (const name of ['refund', 'penalize', 'block']) {
      const says = ['undefined']
      expectComplaint(() => loose[name]?.('k'), { type: 'TypeError', code: 'ERR_SLUICE_ARGUMENT_TYPE', says })
    }
  })
})

describe('close', () => {
  test('every later call is a coded error; closing twice is not', () => {
    const view = limiter.with({ limit: 5 })
    limiter.allow('k')
    limiter.close()
    limiter.close()
    const calls: (() => unknown)[] = [
      () => limiter.allow('k'),
      () => limiter.consume('k'),
      () => limiter.peek('k'),
      () => limiter.consumeMany(['k']),
      () => limiter.consumeMany([1]),
      () => limiter.consumeMany(['k', 1]),
      () => limiter.refund('k', 1),
      () => limiter.penalize('k', 1),
      () => limiter.block('k', 1),
      () => limiter.reset('k'),
      () => limiter.stats(),
      () => limiter.with({ limit: 7 }),
      () => view.allow('k'),
      () => limiter.consume('k', 1, { partial: true }),
      () => limiter.reserve('k', 1, 1000),
      () => limiter.dump(),
      () => limiter.setPolicy({ limit: 7 }),
    ]
    for (const call of calls)
      expectComplaint(call, { type: 'TypeError', code: 'ERR_SLUICE_CLOSED', says: ['closed'] })
  })

  test('Symbol.dispose closes', () => {
    limiter[Symbol.dispose]()
    expectComplaint(() => limiter.allow('k'), { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
  })

  test('limiters are independent: closing one, or spending on it, does not touch another', () => {
    const other = new Limiter({ limit: 10, windowMs: 1000, maxKeys: 100, clock })
    limiter.consume('k', 10)
    limiter.close()
    expect(other.consume('k', 10).allowed).toBe(true)
  })
})

test('allow works when taken off its limiter', () => {
  const { allow } = limiter
  expect([...Array(11)].map(() => allow('k')).filter(Boolean)).toHaveLength(10)
})
