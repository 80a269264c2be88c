import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Breaker, type BreakerState } from '../../lib/redis/breaker'

const OPTIONS = { failures: 3, openMs: 100, maxOpenMs: 1000 }
/** No jitter. */
const MIDDLE = (): number => 0.5

type Change = [BreakerState, BreakerState, string?]

function start(options = OPTIONS, random = MIDDLE): { breaker: Breaker; changes: Change[] } {
  const changes: Change[] = []
  const onChange = (from: BreakerState, to: BreakerState, why?: Error): void => {
    changes.push(why === undefined ? [from, to] : [from, to, why.message])
  }
  return { breaker: new Breaker(options, onChange, random), changes }
}

function fail(breaker: Breaker, times: number, atMs = 0): void {
  for (let i = 0; i < times; i++) breaker.failed(atMs, new Error(`failure ${i + 1}`))
}

describe('a breaker', () => {
  test('is closed at first and admits all', () => {
    const { breaker, changes } = start()
    expect(breaker.state).toBe('closed')
    expect([breaker.admit(0), breaker.admit(0), breaker.retryAfterMs(0)]).toEqual([true, true, 0])
    expect(changes).toEqual([])
  })

  test('opens at so many failures in a row, no sooner', () => {
    const { breaker, changes } = start()
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    expect(breaker.state).toBe('closed')
    fail(breaker, 1)
    expect(breaker.state).toBe('open')
    expect(changes).toEqual([['closed', 'open', 'failure 1']])
  })

  test('counts calls that failed together once', () => {
    const { breaker } = start()
    const together = new Error('the connection was lost')
    for (let i = 0; i < 50; i++) breaker.failed(0, together)
    fail(breaker, 1)
    expect(breaker.state).toBe('closed')
    fail(breaker, 1)
    expect(breaker.state).toBe('open')
  })

  test('open, admits none until its time is over, then one', () => {
    const { breaker, changes } = start()
    fail(breaker, 3, 1000)
    expect(breaker.retryAfterMs(1040)).toBe(60)
    expect(breaker.admit(1099.999)).toBe(false)
    expect(breaker.admit(1100)).toBe(true)
    expect(breaker.state).toBe('half-open')
    expect([breaker.admit(1100), breaker.admit(1150)]).toEqual([false, false])
    breaker.succeeded()
    expect([breaker.admit(1150), breaker.retryAfterMs(1150)]).toEqual([true, 0])
    expect(changes).toEqual([
      ['closed', 'open', 'failure 3'],
      ['open', 'half-open'],
      ['half-open', 'closed'],
    ])
  })

  test('opens twice as long after each probe that fails, at most for so long, and as long as at first after a success', () => {
    const { breaker } = start()
    let nowMs = 0
    fail(breaker, 3)
    const lasted = [100, 200, 400, 800, 1000, 1000].map((openMs) => {
      expect(breaker.retryAfterMs(nowMs)).toBe(openMs)
      expect(breaker.admit(nowMs + openMs - 0.001)).toBe(false)
      nowMs += openMs
      expect(breaker.admit(nowMs)).toBe(true)
      fail(breaker, 1, nowMs)
      return breaker.state
    })
    expect(new Set(lasted)).toEqual(new Set(['open']))
    nowMs += 1000
    expect(breaker.admit(nowMs)).toBe(true)
    breaker.succeeded()
    fail(breaker, 3, nowMs)
    expect(breaker.retryAfterMs(nowMs)).toBe(100)
  })

  test('is not moved by calls that were sent before it opened', () => {
    const { breaker, changes } = start()
    fail(breaker, 3)
    breaker.succeeded()
    fail(breaker, 10, 50)
    expect(breaker.state).toBe('open')
    expect(breaker.retryAfterMs(50)).toBe(50)
    expect(changes).toHaveLength(1)
  })

  test('sends another probe when the first does not report', () => {
    const { breaker, changes } = start()
    fail(breaker, 3)
    expect(breaker.admit(100)).toBe(true)
    expect([breaker.admit(199.9), breaker.retryAfterMs(150)]).toEqual([false, 50])
    expect([breaker.admit(200), breaker.admit(200)]).toEqual([true, false])
    expect(changes.at(-1)).toEqual(['open', 'half-open'])
    expect(changes).toHaveLength(2)
  })

  test.each([
    [0, 90],
    [0.5, 100],
    [0.999_999, 110],
  ])('with the random number %f opens for %i ms', (random, openMs) => {
    const { breaker } = start(OPTIONS, () => random)
    fail(breaker, 3)
    expect(breaker.retryAfterMs(0)).toBeCloseTo(openMs, 3)
  })
})

/** What may happen to a breaker: time passes and a call comes, or one reports. */
const step = fc.record({
  afterMs: fc.nat(400),
  what: fc.constantFrom('call', 'call', 'success', 'failure' as const),
})

test('whatever happens: changes form a chain, calls that are let through while it is not closed are as rare as they must be', () => {
  fc.assert(
    fc.property(
      fc.record({ failures: fc.integer({ min: 1, max: 4 }), openMs: fc.integer({ min: 1, max: 300 }) }),
      fc.array(step, { maxLength: 300 }),
      fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 7 }),
      (options, steps, numbers) => {
        let drawn = 0
        const random = (): number => numbers[drawn++ % numbers.length] as number
        const { breaker, changes } = start({ ...options, maxOpenMs: options.openMs * 4 }, random)
        let nowMs = 0
        let lastAdmittedMs = Number.NEGATIVE_INFINITY
        let inRow = 0
        for (const { afterMs, what } of steps) {
          nowMs += afterMs
          const before = breaker.state
          const waitMs = breaker.retryAfterMs(nowMs)
          expect(waitMs).toBeLessThanOrEqual(options.openMs * 4 * 1.1 + 1e-9)
          if (what === 'call') {
            const admitted = breaker.admit(nowMs)
            expect(admitted).toBe(waitMs === 0)
            if (admitted && before !== 'closed') {
              expect(breaker.state).toBe('half-open')
              expect(nowMs - lastAdmittedMs).toBeGreaterThanOrEqual(options.openMs * 0.9 - 1e-9)
            }
            if (admitted) lastAdmittedMs = before === 'closed' ? Number.NEGATIVE_INFINITY : nowMs
          } else if (what === 'success') {
            breaker.succeeded()
            inRow = before === 'open' ? inRow : 0
            expect(breaker.state).toBe(before === 'open' ? 'open' : 'closed')
          } else {
            breaker.failed(nowMs, new Error('it failed'))
            inRow = before === 'closed' ? inRow + 1 : 0
            const opens = before !== 'closed' || inRow >= options.failures
            expect(breaker.state).toBe(opens ? 'open' : 'closed')
            if (breaker.state === 'open' && before !== 'open') inRow = 0
          }
        }
        let state: BreakerState = 'closed'
        for (const [from, to, why] of changes) {
          expect(from).toBe(state)
          expect(to).not.toBe(from)
          expect(why !== undefined).toBe(to === 'open')
          state = to
        }
        expect(breaker.state).toBe(state)
      },
    ),
    { seed: 20, numRuns: 500 },
  )
})
