import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Limiter, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, closeAll, open, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

function make(
  algorithm: 'token-bucket' | 'fixed-window' | 'leaky-bucket',
  more: Partial<LimiterOptions> = {},
): Limiter {
  return open(tenOf(algorithm, { clock, ...(algorithm !== 'leaky-bucket' && { evenly: true }), ...more }))
}

function delays(limiter: Limiter, costs: number[]): number[] {
  return costs.map((cost) => {
    const { allowed, delayMs } = limiter.consume('k', cost)
    expect(allowed).toBe(true)
    return delayMs
  })
}

const PACING = ['token-bucket', 'fixed-window', 'leaky-bucket'] as const

test('evenly is true or false', () => {
  const code = 'ERR_SLUICE_OPTION_TYPE'
  for (const value of [null, 1, 'yes'])
    expectComplaint(() => make('token-bucket', { evenly: value as never }), {
      type: 'TypeError',
      code,
      says: ['evenly must be true or false'],
    })
  expect(make('token-bucket').policy).toMatchObject({ evenly: true })
  expect(make('token-bucket', { evenly: false }).policy).not.toHaveProperty('evenly')
})

describe.each(PACING)('%s', (algorithm) => {
  test('ten at once go out a tenth of the window apart, the first at once', () => {
    expect(delays(make(algorithm), Array(10).fill(1))).toEqual([
      0, 100, 200, 300, 400, 500, 600, 700, 800, 900,
    ])
  })

  test('a call waits for all tokens before it', () => {
    expect(delays(make(algorithm), [3, 1, 4, 2])).toEqual([0, 300, 400, 800])
  })

  test('time that passes is not waited again', () => {
    const limiter = make(algorithm)
    expect(delays(limiter, [1, 1, 1])).toEqual([0, 100, 200])
    clock.set(250)
    expect(delays(limiter, [1])).toEqual([50])
    clock.set(390)
    expect(delays(limiter, [1, 1])).toEqual([10, 110])
    clock.set(700)
    expect(delays(limiter, [1])).toEqual([0])
  })

  test('a refused call, and one that only asks, wait for nothing', () => {
    const limiter = make(algorithm)
    delays(limiter, [10])
    expect(limiter.consume('k')).toMatchObject({ allowed: false, delayMs: 0 })
    expect(limiter.consume('k', 11)).toMatchObject({ reason: 'too-costly', delayMs: 0 })
    limiter.block('k', 10)
    expect(limiter.consume('k')).toMatchObject({ reason: 'blocked', delayMs: 0 })
  })

  test('peek tells the delay of the next call', () => {
    const limiter = make(algorithm)
    expect(limiter.peek('k').delayMs).toBe(0)
    delays(limiter, [4])
    expect(limiter.peek('k')).toMatchObject({ allowed: true, delayMs: 400 })
    clock.set(150)
    expect(limiter.peek('k').delayMs).toBe(250)
    expect(delays(limiter, [1])).toEqual([250])
  })

  test('a batch tells them too, whatever its keys are', () => {
    for (const keys of [
      ['k', 'k', 'l'],
      [1, 1, 2],
      ['k', 'k', 5],
    ]) {
      const { delayMs, allowedCount } = make(algorithm).consumeMany(keys)
      expect([allowedCount, ...delayMs]).toEqual([3, 0, 100, 0])
    }
  })

  test('so does a set', () => {
    const [paced, plain] = [make(algorithm), open(tenOf('sliding-log', { clock }))]
    const set = new LimitSet([paced, plain])
    expect(set.consume('k', 3).delayMs).toBe(0)
    expect(set.peek('k').delayMs).toBe(300)
    expect(set.consume('k', 2)).toMatchObject({
      allowed: true,
      delayMs: 300,
      decisions: { 1: { delayMs: 0 } },
    })
    plain.consume('k', 5)
    const refused = set.consume('k')
    expect(refused).toMatchObject({ allowed: false, limitedBy: '1', delayMs: 0 })
    expect(refused.decisions['0']).toMatchObject({ allowed: true, consumed: 0, delayMs: 500 })
  })
})

test('a delay is told in the microsecond above', () => {
  const limiter = open({ limit: 3, windowMs: 1, maxKeys: 1, evenly: true, clock })
  expect(delays(limiter, [1, 1, 1])).toEqual([0, 0.334, 0.667])
})

test('who spreads calls admits the same ones', () => {
  for (const algorithm of ['token-bucket', 'fixed-window'] as const) {
    const [even, plain] = [make(algorithm), open(tenOf(algorithm, { clock }))]
    for (let i = 0; i < 200; i++) {
      clock.set(i * 37)
      const [{ delayMs, ...rest }, { delayMs: none, ...same }] = [
        even.consume('k', 1 + (i % 6)),
        plain.consume('k', 1 + (i % 6)),
      ]
      expect(rest).toEqual(same)
      expect(none).toBe(0)
      expect(delayMs).toBeLessThan(1000)
    }
  }
})

test('a window that opens with its first request shares out its own length', () => {
  clock.set(12_345)
  expect(delays(make('fixed-window'), [1, 1])).toEqual([0, 100])
  const aligned = make('fixed-window', { align: 'epoch' })
  // 345 ms of it are gone: the shares of the first three have begun.
  expect(delays(aligned, [3, 1, 1])).toEqual([0, 0, 55])
})

describe('leaky bucket', () => {
  test('allow admits who can go out now', () => {
    const limiter = make('leaky-bucket')
    expect([limiter.allow('k'), limiter.allow('k')]).toEqual([true, false])
    expect(limiter.peek('k')).toMatchObject({ allowed: true, remaining: 9, delayMs: 100 })
    clock.set(99.999)
    expect(limiter.allow('k')).toBe(false)
    clock.set(100)
    expect(limiter.allow('k')).toBe(true)
    expect(limiter.consume('k')).toMatchObject({ allowed: true, delayMs: 100 })
    clock.set(200)
    expect(limiter.allow('k')).toBe(false)
    expect(limiter.allow('k', 0)).toBe(true)
  })

  test('a place in time that was given away is not taken back', () => {
    const limiter = make('leaky-bucket')
    expect(delays(limiter, [1, 1])).toEqual([0, 100])
    expect(limiter.refund('k', 1)).toBe(0)
    expect(delays(limiter, [1])).toEqual([200])
  })

  test('the queue is one less than what can be spent', () => {
    expect(make('leaky-bucket').peek('k')).toMatchObject({ limit: 10, remaining: 10 })
    expect(make('leaky-bucket', { queue: 1 }).consume('k', 3).reason).toBe('too-costly')
  })
})

test.each(ALGORITHMS.filter((name) => !(PACING as readonly string[]).includes(name)))(
  '%s delays nobody',
  (algorithm) => {
    expect(delays(open(tenOf(algorithm, { clock })), Array(10).fill(1))).toEqual(Array(10).fill(0))
  },
)
