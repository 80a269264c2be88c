import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Limiter, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, open, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const make = (): Limiter => open(tenOf(algorithm, { clock }))
  const part = { partial: true }

  test('takes what there is, if that is less', () => {
    const limiter = make()
    expect(limiter.consume('k', 4, part)).toMatchObject({ allowed: true, consumed: 4, remaining: 6 })
    expect(limiter.consume('k', 7, part)).toMatchObject({ allowed: true, consumed: 6, remaining: 0 })
    const refused = limiter.consume('k', 7, part)
    expect(refused).toMatchObject({ allowed: false, reason: 'limited', consumed: 0, remaining: 0 })
    expect(refused.retryAfterMs).toBe(AFTER_TEN[algorithm].retryAfterMs)
    clock.set(refused.retryAfterMs - 0.001)
    expect(limiter.consume('k', 7, part).allowed).toBe(false)
    clock.set(refused.retryAfterMs)
    expect(limiter.consume('k', 7, part)).toMatchObject({ allowed: true, consumed: expect.any(Number) })
    expect(limiter.stats()).toMatchObject({ allowed: 3, denied: 2 })
  })

  test('more than can ever be there is no reason to refuse', () => {
    const limiter = make()
    expect(limiter.consume('k', Number.MAX_SAFE_INTEGER, part)).toMatchObject({
      allowed: true,
      consumed: 10,
      remaining: 0,
      limit: 10,
    })
  })

  test('a cost of 0 only asks, of 1 is as ever', () => {
    const limiter = make()
    expect(limiter.consume('k', 0, part)).toMatchObject({ allowed: true, consumed: 0, remaining: 10 })
    expect(limiter.consume('k', undefined, part)).toMatchObject({ consumed: 1, remaining: 9 })
    limiter.consume('k', 9)
    expect(limiter.consume('k', 0, part)).toMatchObject({ allowed: true, consumed: 0, remaining: 0 })
  })

  test('a blocked key has nothing', () => {
    const limiter = make()
    limiter.block('k', 500)
    const refused = limiter.consume('k', 20, part)
    expect(refused).toMatchObject({ allowed: false, reason: 'blocked', consumed: 0, retryAfterMs: 500 })
    clock.set(500)
    expect(limiter.consume('k', 20, part).consumed).toBe(10)
  })

  test('without the option, or with false, it is all or nothing', () => {
    const limiter = make()
    for (const options of [undefined, {}, { partial: false }, { partial: undefined as never }])
      expect(limiter.consume('k', 11, options)).toMatchObject({ allowed: false, reason: 'too-costly' })
    expect(limiter.peek('k').remaining).toBe(10)
  })
})

test('bad options and costs take nothing', () => {
  const limiter = open(tenOf('token-bucket', { clock }))
  const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
  for (const options of [null, 5, true, 'partial', []])
    expectComplaint(() => limiter.consume('k', 1, options as never), { ...type, says: ['options'] })
  for (const partial of [null, 1, 'true'])
    expectComplaint(() => limiter.consume('k', 1, { partial: partial as never }), {
      ...type,
      says: ['partial'],
    })
  expectComplaint(() => limiter.consume('k', 1, { partly: true } as never), {
    type: 'TypeError',
    code: 'ERR_SLUICE_OPTION_UNKNOWN',
    says: ["did you mean 'partial'"],
  })
  const part = { partial: true }
  for (const cost of [-1, 1.5, Number.NaN, 2 ** 53])
    expectComplaint(() => limiter.consume('k', cost, part), {
      type: 'RangeError',
      code: 'ERR_SLUICE_ARGUMENT_RANGE',
      says: ['cost', String(cost)],
    })
  expectComplaint(() => limiter.consume('k', '1' as never, part), {
    type: 'TypeError',
    code: 'ERR_SLUICE_ARGUMENT_TYPE',
  })
  expectComplaint(() => limiter.consume({} as never, 1, part), {
    type: 'TypeError',
    code: 'ERR_SLUICE_KEY_TYPE',
  })
  expect(limiter.stats()).toMatchObject({ keys: 0, allowed: 0, denied: 0 })
})
