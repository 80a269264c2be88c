import { afterEach, describe, expect, test, vi } from 'vitest'
import { ManualClock, watchersOf } from '../../lib/time/clock'
import type { Attempted } from '../../lib/waiting/waiter'
import { toUs, waitingClock } from '../../lib/waiting/waiting-clock'
import { WaitingRoom } from '../../lib/waiting/waiting-room'
import { Bench, FakeLimiter, microtasks, reasonOf, SpyClock } from './waiting-fakes'

const DAY_MS = 86_400_000

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** The timers of this test alone that have neither rung nor been cleared. */
function trackTimers(): Set<NodeJS.Timeout> {
  const live = new Set<NodeJS.Timeout>()
  const { setTimeout: set, clearTimeout: clear } = globalThis
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, ms: number) => {
    const timer = set(() => {
      live.delete(timer)
      callback()
    }, ms)
    live.add(timer)
    return timer
  }) as typeof setTimeout)
  vi.spyOn(globalThis, 'clearTimeout').mockImplementation((timer) => {
    live.delete(timer as NodeJS.Timeout)
    clear(timer)
  })
  return live
}

describe('a ManualClock', () => {
  test('a jump over several times serves all that came due, in the order of their times', async () => {
    const bench = new Bench()
    for (const [key, ms] of [
      ['x', 30],
      ['y', 10],
      ['z', 20],
    ] as const) {
      bench.limiter.give(key, -ms / 100)
      bench.wait(key, { key })
    }
    bench.wait('late', { key: 'x', maxWaitMs: 25 })
    expect(await bench.advance(1000)).toEqual(['y', 'z', 'late: ERR_SLUICE_WAIT_TIMEOUT', 'x'])
  })

  test('also among several rooms', async () => {
    const clock = new ManualClock()
    const benches = [new Bench(clock), new Bench(clock)] as const
    const order: string[] = []
    for (const [key, ms] of [
      ['p', 10],
      ['q', 20],
      ['r', 30],
      ['s', 40],
    ] as const) {
      const bench = benches[ms % 20 === 0 ? 0 : 1]
      bench.limiter.give(key, -ms / 100)
      bench.wait(key, { key }).then(() => order.push(key))
    }
    clock.set(40)
    await microtasks()
    expect(order).toEqual(['p', 'q', 'r', 's'])
    expect(watchersOf(clock).size).toBe(0)
  })

  test('those who are served are so before set returns', () => {
    const bench = new Bench()
    bench.wait('a')
    bench.wait('b')
    bench.clock.set(100)
    expect(bench.room.size).toBe(0)
  })

  test('is watched only while somebody waits, and then once by each room; no real timer is used', async () => {
    const spy = vi.spyOn(globalThis, 'setTimeout')
    const bench = new Bench()
    const watchers = watchersOf(bench.clock)
    bench.wait('a')
    expect(watchers.size).toBe(0)
    const controller = new AbortController()
    for (const key of ['k', 'l', 'l', 'm', 'm'])
      bench.wait(key, { key, signal: controller.signal, maxWaitMs: 1e6 })
    expect(watchers.size).toBe(1)
    await bench.advance(50)
    expect(watchers.size).toBe(1)
    controller.abort()
    expect(watchers.size).toBe(0)
    bench.wait('n')
    expect(watchers.size).toBe(1)
    await bench.advance(100)
    expect(watchers.size).toBe(0)
    bench.wait('o')
    expect(watchers.size).toBe(1)
    bench.room.close()
    expect(watchers.size).toBe(0)
    expect(spy).not.toHaveBeenCalled()
  })

  test('a sum of fractions comes to the same µs as the clock that is set to it', async () => {
    const bench = new Bench(new ManualClock(0.1), { msPerToken: 0.2 })
    let retryAfterMs = 0.2
    bench.waitFor('a', () => ({ admitted: retryAfterMs === 0, retryAfterMs, answer: '' }))
    retryAfterMs = 0
    bench.clock.set(0.299)
    expect(bench.room.size).toBe(1)
    bench.clock.set(0.3)
    expect(bench.room.size).toBe(0)
    // 1.001 * 1000 is less than 1001.
    const other = new Bench(undefined, { msPerToken: 1.001 })
    for (const name of ['a', 'b']) other.wait(name)
    other.clock.set(1.001)
    expect(other.room.size).toBe(0)
  })

  test('a short step back is waited out, after a long one the wait goes on', async () => {
    const bench = new Bench(new ManualClock(60_000))
    let tries = 0
    bench.waitFor('a', () => ({ admitted: ++tries > 1, retryAfterMs: 100, answer: '' }))
    bench.clock.set(50_000)
    bench.clock.set(60_099)
    expect(tries).toBe(1)
    bench.clock.set(20_000)
    bench.clock.set(20_000.999)
    expect(tries).toBe(1)
    bench.clock.set(20_001)
    expect(tries).toBe(2)
  })

  test('several short steps back together are a long one', () => {
    const bench = new Bench(new ManualClock(60_000))
    let tries = 0
    bench.waitFor('a', () => ({ admitted: ++tries > 1, retryAfterMs: 100, answer: '' }))
    for (const ms of [55_000, 44_000, 44_099]) bench.clock.set(ms)
    expect(tries).toBe(1)
    bench.clock.set(44_100)
    expect(tries).toBe(2)
  })

  test('of two rooms that are due at the same time, the one that watched first is served first', async () => {
    const clock = new ManualClock()
    const order: string[] = []
    for (const name of ['first', 'second', 'third']) {
      const bench = new Bench(clock)
      bench.limiter.give('k', -1)
      bench.wait(name).then(() => order.push(name))
    }
    clock.advance(100)
    await microtasks()
    expect(order).toEqual(['first', 'second', 'third'])
  })

  test('one that shows no time harms nobody when it is moved', async () => {
    const bench = new Bench()
    bench.wait('a')
    bench.wait('b', { maxWaitMs: 1000 })
    bench.wait('c', { maxWaitMs: 1000 })
    await bench.settled()
    bench.limiter.give('k', -5)
    bench.clock.set(Number.NaN)
    const outcomes = await bench.settled()
    expect(outcomes.filter((outcome) => outcome.endsWith('ERR_SLUICE_CLOCK')).length).toBe(2)
    expect(bench.room.size).toBe(0)
  })
})

describe('the machine’s clock', () => {
  test('admits no earlier than told, without a timer left', async () => {
    const timers = trackTimers()
    const limiter = new FakeLimiter(() => performance.now(), 1, 20.25)
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: waitingClock(undefined) })
    const startMs = performance.now()
    const waits = [1, 2, 3].map(() => room.wait('k', () => limiter.attempt('k', 1)))
    expect([...timers].map((timer) => timer.hasRef())).toEqual([true])
    await Promise.all(waits)
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(2 * 20.25)
    expect(timers.size).toBe(0)
    // Rounded up, and not by spinning.
    expect(limiter.tries.length).toBeLessThanOrEqual(7)
  })

  test('its one timer keeps the process alive, also where only wake can tell', async () => {
    const timers = trackTimers()
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: waitingClock(undefined) })
    const never: Attempted<string> = {
      admitted: false,
      retryAfterMs: Number.POSITIVE_INFINITY,
      pollMs: Number.POSITIVE_INFINITY,
      answer: '',
    }
    const waits = ['k', 'l', 'm'].map((key) => reasonOf(room.wait(key, () => never)))
    expect([...timers].map((timer) => timer.hasRef())).toEqual([true])
    room.close()
    expect(timers.size).toBe(0)
    for (const reason of await Promise.all(waits)) expect(reason).toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
  })
})

describe('timers', () => {
  const refusedFor = (retryAfterMs: number): Attempted<string> => ({
    admitted: false,
    retryAfterMs,
    answer: '',
  })

  test('10,000 who wait for 5,000 keys with deadlines use one', async () => {
    const clock = new SpyClock()
    const room = new WaitingRoom<string>({ maxWaiters: 10_000, clock })
    const reasons: Promise<unknown>[] = []
    for (let i = 0; i < 10_000; i++) {
      const wait = room.wait(i % 5000, () => refusedFor(10 + ((i * 31) % 100)), { maxWaitMs: 1e6 + i })
      reasons.push(reasonOf(wait))
    }
    expect(room.size).toBe(10_000)
    expect(clock.peak).toBe(1)
    // Only when an earlier time came was it set anew.
    expect(clock.count).toBeLessThan(20)
    room.close()
    expect(clock.scheduled.length).toBe(0)
    expect((await Promise.all(reasons)).length).toBe(10_000)
  })

  test('one that rings early is set again for the rest, and nobody tries', () => {
    const clock = new SpyClock()
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock })
    let tries = 0
    void room.wait('k', () => ({ admitted: ++tries > 1, retryAfterMs: 10.0001, answer: '' }))
    expect(clock.scheduled.map(({ dueUs }) => dueUs)).toEqual([10_001])
    for (const us of [9000, 10_000, 10_000.9]) {
      clock.us = us
      clock.ring()
      expect(tries).toBe(1)
      expect(clock.scheduled.map(({ dueUs }) => dueUs)).toEqual([10_001])
    }
    clock.us = 10_001
    clock.ring()
    expect(tries).toBe(2)
    expect(clock.scheduled).toEqual([])
  })

  test('delays above 24.8 days are cut in pieces', async () => {
    vi.useFakeTimers()
    const spy = vi.spyOn(globalThis, 'setTimeout')
    const limiter = new FakeLimiter(() => performance.now(), 1, 100 * DAY_MS)
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: waitingClock(undefined) })
    void room.wait('k', () => limiter.attempt('k', 1))
    const second = room.wait('k', () => limiter.attempt('k', 1))
    await vi.advanceTimersByTimeAsync(100 * DAY_MS - 1)
    expect(room.size).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(room.size).toBe(0)
    expect(await second).toMatch('k at')
    expect(spy.mock.calls.length).toBe(5)
    for (const [, delayMs] of spy.mock.calls) {
      expect(delayMs).toBeGreaterThanOrEqual(1)
      expect(delayMs).toBeLessThanOrEqual(2 ** 31 - 1)
    }
    expect(limiter.tries.length).toBe(3)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a fraction of a ms is rounded up, so that one timer is enough', async () => {
    vi.useFakeTimers()
    const spy = vi.spyOn(globalThis, 'setTimeout')
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: waitingClock(undefined) })
    let tries = 0
    void room.wait('k', () => ({ admitted: ++tries > 1, retryAfterMs: 20.25, answer: '' }))
    await vi.advanceTimersByTimeAsync(100)
    expect(tries).toBe(2)
    expect(spy.mock.calls.map(([, delayMs]) => delayMs)).toEqual([21])
  })

  test('fake ones drive a clock function, whenever they were installed', async () => {
    const clock = waitingClock(() => Date.now())
    const limiter = new FakeLimiter(() => Date.now(), 1, 1000)
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock })
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const waits = [1, 2, 3].map(() => room.wait('k', () => limiter.attempt('k', 1)))
    const late = reasonOf(room.wait('k', () => limiter.attempt('k', 1), { maxWaitMs: 1500 }))
    expect(vi.getTimerCount()).toBe(1)
    expect(room.size).toBe(3)
    await vi.advanceTimersByTimeAsync(999)
    expect(room.size).toBe(3)
    await vi.advanceTimersByTimeAsync(1)
    expect(room.size).toBe(2)
    await vi.advanceTimersByTimeAsync(1000)
    expect(room.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    expect(await Promise.all(waits)).toEqual([0, 1000, 2000].map((ms) => `k at ${1_700_000_000_000 + ms}`))
    expect(await late).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
  })

  test('a cancelled one that rings all the same does nothing', () => {
    const clock = new SpyClock()
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock })
    let tries = 0
    const attempt = () => {
      tries++
      return refusedFor(tries === 1 ? 50 : 10)
    }
    void room.wait('k', attempt)
    const [first] = clock.scheduled
    void room.wait('l', attempt)
    expect(clock.scheduled.map(({ dueUs }) => dueUs)).toEqual([10_000])
    clock.us = 1e6
    first?.ring()
    expect(tries).toBe(2)
    expect(clock.scheduled.length).toBe(1)
  })
})

describe('a clock function', () => {
  test.each([
    [
      'throws',
      () => {
        throw new Error('broken')
      },
      'Error: broken',
    ],
    ['gives NaN', () => Number.NaN, 'ERR_SLUICE_CLOCK'],
    ['gives text', () => 'now', 'ERR_SLUICE_CLOCK'],
    ['gives a time beyond all', () => 9.1e12, 'ERR_SLUICE_CLOCK'],
  ])('that %s later: nobody is left waiting, nothing is thrown at the timer', async (_, broken, outcome) => {
    vi.useFakeTimers()
    let read: () => unknown = () => Date.now()
    const clock = waitingClock((() => read()) as () => number)
    const bench = new Bench(undefined, { waiting: clock })
    bench.wait('a')
    for (const [name, key] of [
      ['b', 'k'],
      ['c', 'k'],
      ['d', 'l'],
      ['e', 'l'],
    ] as const)
      bench.wait(name, { key })
    read = broken
    await vi.advanceTimersByTimeAsync(100)
    expect((await bench.settled()).sort()).toEqual([
      'a',
      `b: ${outcome}`,
      `c: ${outcome}`,
      'd',
      `e: ${outcome}`,
    ])
    expect(bench.room.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    expect(await reasonOf(bench.wait('f', { key: 'k' }))).toBeDefined()
    expect(bench.room.size).toBe(0)
  })

  test('that is set back by an hour delays a wait by no more than its own length', async () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: waitingClock(() => Date.now()) })
    let tries = 0
    void room.wait('k', () => ({ admitted: ++tries > 1, retryAfterMs: 500, answer: '' }))
    await vi.advanceTimersByTimeAsync(400)
    vi.setSystemTime(1_700_000_000_000 - 3_600_000)
    await vi.advanceTimersByTimeAsync(600)
    expect(tries).toBe(2)
  })
})

describe('toUs', () => {
  test('rounds up to whole µs, but not what the notation alone adds', () => {
    for (let us = 0; us <= 200_000; us++) if (toUs(us / 1000) !== us) expect(toUs(us / 1000)).toBe(us)
    for (const us of [4_611_686_018_427_387, 123_456_789_012_345, 86_400_000_001]) {
      expect([us, us + 1]).toContain(toUs(us / 1000))
    }
    expect(toUs(0.000001)).toBe(1)
    expect(toUs(1.000001)).toBe(1001)
    expect(toUs(333.333333)).toBe(333_334)
    expect(toUs(86_400_000_000.001)).toBe(86_400_000_000_001)
    expect(toUs(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY)
  })
})
