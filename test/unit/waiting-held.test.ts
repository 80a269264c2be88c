import { describe, expect, test, vi } from 'vitest'
import { watchersOf } from '../../lib/time/clock'
import type { Attempted } from '../../lib/waiting/waiter'
import { floorUs, waitingClock } from '../../lib/waiting/waiting-clock'
import { WaitingRoom } from '../../lib/waiting/waiting-room'
import { Bench, reasonOf, SpyClock } from './waiting-fakes'

const heldFor = (delayMs: number, answer = 'held'): Attempted<string> => ({
  admitted: true,
  retryAfterMs: 0,
  delayMs,
  answer,
})

describe('who is admitted but held back', () => {
  test('settles when the delay is over, not before, and the next are booked behind it meanwhile', async () => {
    const bench = new Bench(undefined, { capacity: 3, paces: true })
    for (const name of ['a', 'b', 'c', 'd', 'e']) bench.wait(name)
    // Three are booked at once, the fourth is refused; the fifth has not tried.
    expect(bench.limiter.tries.length).toBe(4)
    expect(await bench.settled()).toEqual(['a'])
    expect(bench.room.size).toBe(4)
    expect(await bench.advance(99.999)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['b'])
    expect(bench.limiter.tries.length).toBe(6)
    for (const name of ['c', 'd', 'e']) {
      expect(await bench.advance(99.999)).toEqual([])
      expect(await bench.advance(0.001)).toEqual([name])
    }
    expect(bench.room.size).toBe(0)
    expect(watchersOf(bench.clock).size).toBe(0)
  })

  test('is not overtaken by a higher priority', async () => {
    const bench = new Bench(undefined, { capacity: 3, paces: true })
    for (const name of ['a', 'b', 'c', 'd']) bench.wait(name)
    bench.wait('urgent', { priority: 1 })
    const order: string[] = []
    for (let i = 0; i < 5; i++) order.push(...(await bench.advance(100)))
    expect(order).toEqual(['a', 'b', 'c', 'urgent', 'd'])
  })

  test('a delay is rounded up to a µs of the clock', async () => {
    const bench = new Bench()
    bench.clock.set(5)
    bench.waitFor('a', () => heldFor(0.3330001))
    expect(await bench.advance(0.333)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['a'])
  })

  test('those who are due at the same µs settle in the order in which they were booked, before others try', async () => {
    const bench = new Bench()
    let isFree = false
    bench.waitFor('trying', () => ({ admitted: isFree, retryAfterMs: 10, answer: '' }), {}, 'other')
    isFree = true
    bench.waitFor('first', () => heldFor(10))
    bench.waitFor('second', () => heldFor(9.9999))
    bench.waitFor('deadline', () => ({ admitted: false, retryAfterMs: 1, pollMs: 3, answer: '' }), {
      maxWaitMs: 10,
    })
    expect(await bench.advance(10)).toEqual([
      'first',
      'second',
      'trying',
      'deadline: ERR_SLUICE_WAIT_TIMEOUT',
    ])
  })

  test('and also if they came in another order', async () => {
    const bench = new Bench()
    let tries = 0
    bench.waitFor('low', () => (++tries > 1 ? heldFor(5) : { admitted: false, retryAfterMs: 5, answer: '' }))
    bench.waitFor('high', () => heldFor(10), { priority: 1 })
    expect(await bench.advance(5)).toEqual([])
    expect(await bench.advance(5)).toEqual(['high', 'low'])
  })

  test('all share one timer, and one delay of 100 days is cut in pieces', async () => {
    const clock = new SpyClock()
    const room = new WaitingRoom<string>({ maxWaiters: 10_000, clock })
    for (let i = 0; i < 10_000; i++) void room.wait(i % 100, () => heldFor(10 + ((i * 31) % 997)))
    expect(clock.peak).toBe(1)
    let settled = 0
    while (room.size > 0) {
      const [timer] = clock.scheduled
      expect(clock.scheduled.length).toBe(1)
      clock.us = timer?.dueUs ?? Number.NaN
      clock.ring()
      settled++
    }
    expect(settled).toBe(997)
    expect(clock.scheduled).toEqual([])

    vi.useFakeTimers()
    const other = new WaitingRoom<string>({ maxWaiters: 1, clock: waitingClock(() => Date.now()) })
    void other.wait('k', () => heldFor(100 * 86_400_000))
    await vi.advanceTimersByTimeAsync(100 * 86_400_000 - 1)
    expect(other.size).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(other.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
  })

  test('gives up when its signal aborts or the room closes; what was booked stays spent', async () => {
    const bench = new Bench(undefined, { capacity: 5, paces: true })
    const controller = new AbortController()
    bench.wait('a')
    bench.wait('b', { signal: controller.signal })
    bench.wait('c')
    bench.wait('d')
    controller.abort('off')
    expect(await bench.settled()).toEqual(['a', 'b: off'])
    expect(bench.room.size).toBe(2)
    expect(await bench.advance(199.999)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['c'])
    bench.room.close()
    expect(await bench.settled()).toEqual(['d: ERR_SLUICE_CLOSED'])
    expect(bench.room.size).toBe(0)
    expect(watchersOf(bench.clock).size).toBe(0)
  })

  test('among others of one signal: the rest of the queue goes on', async () => {
    const bench = new Bench(undefined, { capacity: 2, paces: true })
    const controller = new AbortController()
    const { signal } = controller
    for (const name of ['a', 'b', 'c', 'd']) bench.wait(name, name === 'b' || name === 'c' ? { signal } : {})
    controller.abort('off')
    expect(await bench.settled()).toEqual(['a', 'b: off', 'c: off'])
    expect(await bench.advance(200)).toEqual(['d'])
    expect(bench.room.size).toBe(0)
  })

  test('a signal that aborts in the attempt that books: rejected, nothing is kept', async () => {
    const bench = new Bench()
    const controller = new AbortController()
    const aborting = () => {
      controller.abort('off')
      return heldFor(50)
    }
    expect(await reasonOf(bench.waitFor('a', aborting, { signal: controller.signal }))).toBe('off')
    let tries = 0
    const second = new AbortController()
    bench.waitFor('b', () => ({ admitted: false, retryAfterMs: 10, answer: '' }), { maxWaitMs: 10 })
    const abortingLater = () => {
      if (++tries === 1) second.abort('off later')
      return heldFor(50)
    }
    bench.waitFor('c', abortingLater, { signal: second.signal })
    await bench.settled()
    expect(await bench.advance(10)).toEqual(['b: ERR_SLUICE_WAIT_TIMEOUT', 'c: off later'])
    expect(tries).toBe(1)
    expect(bench.room.size).toBe(0)
    expect(watchersOf(bench.clock).size).toBe(0)
  })

  test('of one whose signal aborted in its attempt no time is kept', () => {
    const clock = new SpyClock()
    const bench = new Bench(undefined, { waiting: clock })
    const controller = new AbortController()
    let tries = 0
    const abortingLater = () => {
      if (++tries === 1) return { admitted: false, retryAfterMs: 10, answer: '' }
      controller.abort('off')
      return heldFor(50)
    }
    bench.waitFor('a', abortingLater, { signal: controller.signal })
    clock.us = 10_000
    clock.ring()
    expect(clock.scheduled).toEqual([])
    bench.waitFor('b', () => heldFor(90))
    expect(clock.scheduled.map(({ dueUs }) => dueUs)).toEqual([100_000])
  })

  test('a clock that breaks leaves nobody held', async () => {
    const bench = new Bench()
    bench.waitFor('a', () => heldFor(50))
    bench.waitFor('b', () => heldFor(60))
    bench.clock.set(Number.NaN)
    expect(await bench.settled()).toEqual(['a: ERR_SLUICE_CLOCK', 'b: ERR_SLUICE_CLOCK'])
    expect(bench.room.size).toBe(0)
  })
})

describe('maxWaitMs and pacing', () => {
  test('an attempt is told how long is left, in whole µs', async () => {
    const bench = new Bench()
    const lefts: number[] = []
    const refusing = (leftMs: number) => {
      lefts.push(leftMs)
      return { admitted: false, retryAfterMs: 4, pollMs: 4, answer: '' }
    }
    bench.waitFor('a', refusing, { maxWaitMs: 10.0005 })
    await bench.advance(4)
    await bench.advance(4.25)
    bench.waitFor('b', refusing, {}, 'other')
    expect(lefts).toEqual([10, 6, 1.75, Number.POSITIVE_INFINITY])
    expect(await bench.advance(1.749)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['a: ERR_SLUICE_WAIT_TIMEOUT'])
    bench.room.close()
  })

  test('in whole µs also where the clock shows fractions of them', () => {
    const clock = new SpyClock()
    const bench = new Bench(undefined, { waiting: clock })
    const lefts: number[] = []
    const refusing = (leftMs: number) => {
      lefts.push(leftMs)
      return { admitted: false, retryAfterMs: 4, pollMs: 4, answer: '' }
    }
    clock.us = 0.5
    bench.waitFor('a', refusing, { maxWaitMs: 10 })
    for (const us of [4000.75, 10_000.25, 11_000]) {
      clock.us = us
      bench.room.wake('k')
    }
    expect(lefts).toEqual([10, 5.999, 0, 0])
    bench.room.close()
  })

  test('what would be held back for longer is told at once, and spends nothing', async () => {
    const bench = new Bench(undefined, { capacity: 5, paces: true })
    for (const name of ['a', 'b', 'c']) bench.wait(name)
    bench.wait('late', { maxWaitMs: 299.999 })
    bench.wait('exactly', { maxWaitMs: 300 })
    bench.wait('last')
    expect(await bench.settled()).toEqual(['a', 'late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await bench.advance(299.999)).toEqual(['b', 'c'])
    expect(await bench.advance(0.001)).toEqual(['exactly'])
    expect(await bench.advance(100)).toEqual(['last'])
  })

  test('one that comes to the head later is judged by what is left then', async () => {
    const bench = new Bench(undefined, { capacity: 2, paces: true })
    // b is booked for 100, c and the others wait for room until 100.
    for (const name of ['a', 'b', 'c']) bench.wait(name)
    bench.wait('late', { maxWaitMs: 299 })
    bench.wait('in time', { maxWaitMs: 300 })
    await bench.settled()
    expect(await bench.advance(100)).toEqual(['b'])
    expect(await bench.advance(100)).toEqual(['c', 'late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await bench.advance(99.999)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['in time'])
  })

  test('a full room holds nobody back, and nothing is spent for that', async () => {
    const bench = new Bench(undefined, { capacity: 5, paces: true, maxWaiters: 2 })
    for (const name of ['a', 'b', 'c']) bench.wait(name)
    bench.wait('full')
    bench.wait('at once', { key: 'other' })
    expect(await bench.settled()).toEqual(['a', 'full: ERR_SLUICE_QUEUE_FULL', 'at once'])
    expect(await bench.advance(100)).toEqual(['b'])
    bench.wait('d')
    expect(await bench.advance(100)).toEqual(['c'])
    // Had the refused one spent anything, it would be 400.
    expect(await bench.advance(100)).toEqual(['d'])
  })
})

describe('floorUs', () => {
  test('rounds down to whole µs, but not what the notation alone takes away', () => {
    for (let us = 0; us <= 200_000; us++) if (floorUs(us / 1000) !== us) expect(floorUs(us / 1000)).toBe(us)
    for (const us of [4_611_686_018_427_387, 123_456_789_012_345, 86_400_000_001])
      expect([us - 1, us]).toContain(floorUs(us / 1000))
    expect(floorUs(0.000999)).toBe(0)
    expect(floorUs(1.000999)).toBe(1000)
    expect(floorUs(333.333333)).toBe(333_333)
    expect(floorUs(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY)
  })
})
