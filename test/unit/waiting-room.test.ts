import { describe, expect, test } from 'vitest'
import { watchersOf } from '../../lib/time/clock'
import type { WaitOptions } from '../../lib/waiting/wait-options'
import type { Attempted } from '../../lib/waiting/waiter'
import { WaitingRoom } from '../../lib/waiting/waiting-room'
import { Bench, collectGarbage, reasonOf, SpyClock } from './waiting-fakes'

const refused = (retryAfterMs: number, more: Partial<Attempted<string>> = {}): Attempted<string> => ({
  admitted: false,
  retryAfterMs,
  answer: 'refused',
  ...more,
})
const admitted: Attempted<string> = { admitted: true, retryAfterMs: 0, answer: 'admitted' }

describe('who is admitted when', () => {
  test('who finds room is admitted at once, and leaves neither queue nor timer behind', async () => {
    const clock = new SpyClock()
    const room = new WaitingRoom<string>({ maxWaiters: 0, clock })
    let tries = 0
    const promise = room.wait('k', () => {
      tries++
      return admitted
    })
    expect(tries).toBe(1)
    expect(room.size).toBe(0)
    expect(clock.count).toBe(0)
    expect(await promise).toBe('admitted')
  })

  test('the others one after the other, each at the time at which it fits', async () => {
    const bench = new Bench()
    const answers = ['a', 'b', 'c'].map((name) => bench.wait(name))
    expect(await bench.settled()).toEqual(['a'])
    expect(bench.room.size).toBe(2)
    expect(await bench.advance(99.999)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['b'])
    expect(await bench.advance(100)).toEqual(['c'])
    expect(await Promise.all(answers)).toEqual(['k at 0', 'k at 100', 'k at 200'])
    expect(bench.room.size).toBe(0)
  })

  test('only the head tries', async () => {
    const bench = new Bench()
    for (const name of ['a', 'b', 'c', 'd']) bench.wait(name)
    expect(bench.limiter.tries.length).toBe(2)
    await bench.advance(100)
    // b again, and c, which is the head now.
    expect(bench.limiter.tries.length).toBe(4)
  })

  test('after one is admitted the next tries at once', async () => {
    const bench = new Bench(undefined, { capacity: 3 })
    bench.wait('all', { cost: 3 })
    for (const name of ['b', 'c', 'd', 'e']) bench.wait(name)
    expect(await bench.settled()).toEqual(['all'])
    expect(await bench.advance(300)).toEqual(['b', 'c', 'd'])
  })

  test('keys do not wait for each other', async () => {
    const bench = new Bench()
    for (const name of ['a', 'b', 'c']) bench.wait(name)
    bench.wait('other', { key: 'l' })
    expect(await bench.settled()).toEqual(['a', 'other'])
    const room = new Bench()
    for (const [name, key] of [
      ['a', 5],
      ['b', '5'],
    ] as const) {
      room.room.wait(key, () => refused(50))
      expect(room.room.size).toBe(name === 'a' ? 1 : 2)
    }
  })

  test('a large cost is not starved by small ones', async () => {
    const bench = new Bench(undefined, { capacity: 10, msPerToken: 1 })
    bench.wait('first', { cost: 10 })
    const large = bench.wait('large', { cost: 10 })
    const order: string[] = []
    for (let ms = 0; ms < 30; ms++) {
      bench.wait(`small ${ms}`)
      order.push(...(await bench.advance(1)))
    }
    expect(order.slice(0, 3)).toEqual(['first', 'large', 'small 0'])
    expect(await large).toBe('k at 10')
    // And after it one a millisecond.
    expect(order.length).toBe(2 + 20)
  })

  test('an attempt sees refunds of others through wake', async () => {
    const bench = new Bench(undefined, { capacity: 2, msPerToken: 1000 })
    bench.wait('a', { cost: 2 })
    for (const name of ['b', 'c', 'd']) bench.wait(name)
    await bench.settled()
    bench.limiter.give('k', 2)
    expect(await bench.settled()).toEqual([])
    bench.room.wake('k')
    expect(await bench.settled()).toEqual(['b', 'c'])
    bench.room.wake('k')
    bench.room.wake('nobody waits here')
    expect(await bench.settled()).toEqual([])
    expect(await bench.advance(1000)).toEqual(['d'])
    bench.room.wake('k')
  })

  test('a key for which nobody waits any more takes no memory', () => {
    const room = new WaitingRoom<string>({ maxWaiters: 10, clock: new SpyClock() })
    const waitOnce = (key: number) => {
      let tries = 0
      void room.wait(key, () => (++tries > 1 ? admitted : refused(100)))
      room.wake(key)
      expect(tries).toBe(2)
    }
    for (let key = 0; key < 1000; key++) waitOnce(key)
    collectGarbage()
    const before = process.memoryUsage().heapUsed
    for (let key = 0; key < 20_000; key++) waitOnce(1e6 + key)
    collectGarbage()
    expect(room.size).toBe(0)
    expect((process.memoryUsage().heapUsed - before) / 20_000).toBeLessThan(40)
  })

  test('wakeAll lets the heads of all queues try', async () => {
    const bench = new Bench()
    for (const key of ['k', 'l', 'm'])
      for (const name of ['now', 'a', 'b']) bench.wait(`${name} ${key}`, { key })
    for (const key of ['k', 'm']) bench.limiter.give(key, 1)
    await bench.settled()
    bench.room.wakeAll()
    expect(await bench.settled()).toEqual(['a k', 'a m'])
    bench.limiter.give('l', 1)
    bench.room.wakeAll()
    expect(await bench.settled()).toEqual(['a l'])
    expect(await bench.advance(100)).toEqual(['b k', 'b l', 'b m'])
    bench.room.wakeAll()
    expect(watchersOf(bench.clock).size).toBe(0)
  })

  test('an attempt may wake its own key', async () => {
    const bench = new Bench()
    let tries = 0
    bench.waitFor('a', () => {
      bench.room.wake('k')
      return ++tries < 3 ? refused(10) : admitted
    })
    expect(await bench.advance(10)).toEqual([])
    expect(await bench.advance(10)).toEqual(['a'])
    expect(tries).toBe(3)
  })
})

describe('priority', () => {
  test('higher ones go first, those of one priority in the order in which they came', async () => {
    const bench = new Bench()
    bench.wait('now')
    for (const [i, priority] of [0, 5, -5, 5, 0, Number.MAX_SAFE_INTEGER, undefined, -5].entries()) {
      bench.wait(`${i}`, priority === undefined ? {} : { priority })
    }
    const order = []
    for (let i = 0; i < 9; i++) order.push(...(await bench.advance(100)))
    expect(order).toEqual(['now', '5', '1', '3', '0', '4', '6', '2', '7'])
  })

  test('a newcomer that displaces the head tries at once; the head goes back to second place', async () => {
    const bench = new Bench(undefined, { capacity: 10 })
    bench.wait('start', { cost: 5 })
    bench.wait('large', { cost: 8 })
    bench.wait('small', { cost: 1 })
    bench.wait('urgent', { cost: 3, priority: 1 })
    expect(await bench.settled()).toEqual(['start', 'urgent'])
    bench.wait('too urgent', { cost: 4, priority: 1 })
    expect(await bench.advance(199)).toEqual([])
    expect(await bench.advance(1)).toEqual(['too urgent'])
    // 2 left at 0 ms, 4 spent at 200: 8 are there at 1000 ms.
    expect(await bench.advance(799)).toEqual([])
    expect(await bench.advance(1)).toEqual(['large'])
    expect(await bench.advance(100)).toEqual(['small'])
  })

  test('a displaced head keeps its deadline', async () => {
    const bench = new Bench()
    bench.wait('a')
    bench.wait('b', { maxWaitMs: 100 })
    bench.wait('c', { priority: 1 })
    expect(await bench.settled()).toEqual(['a'])
    expect(await bench.advance(100)).toEqual(['c', 'b: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(bench.room.size).toBe(0)
  })
})

describe('maxWaitMs', () => {
  test('the head is told at once if it would take longer, and how long', async () => {
    const bench = new Bench()
    bench.wait('a')
    const reason = await reasonOf(bench.wait('b', { maxWaitMs: 99.999 }))
    expect(reason).toBeInstanceOf(RangeError)
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
    expect(String(reason)).toMatch('100 ms')
    expect(String(reason)).toMatch('99.999')
    expect(bench.room.size).toBe(0)
    bench.wait('c', { maxWaitMs: 100 })
    expect(await bench.advance(100)).toEqual(['a', 'b: ERR_SLUICE_WAIT_TIMEOUT', 'c'])
  })

  test('who waits behind others is told when it is over, and nobody tries for that', async () => {
    const bench = new Bench()
    for (const name of ['a', 'b', 'c']) bench.wait(name)
    const late = bench.wait('late', { maxWaitMs: 150 })
    bench.wait('d')
    await bench.advance(100)
    const tries = bench.limiter.tries.length
    expect(await bench.advance(49.999)).toEqual([])
    expect(await bench.advance(0.001)).toEqual(['late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(String(await reasonOf(late))).toMatch('150 ms')
    expect(bench.limiter.tries.length).toBe(tries)
    expect(await bench.advance(150)).toEqual(['c'])
  })

  test('who becomes the head too late for its deadline is told then, and the next tries', async () => {
    const bench = new Bench(undefined, { capacity: 10, msPerToken: 10 })
    bench.wait('all', { cost: 10 })
    bench.wait('head', { cost: 1 })
    bench.wait('large', { cost: 10, maxWaitMs: 100 })
    bench.wait('small', { cost: 1 })
    await bench.settled()
    expect(await bench.advance(10)).toEqual(['head', 'large: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await bench.advance(10)).toEqual(['small'])
  })

  test('0 tries once, if nobody is before it', async () => {
    const bench = new Bench()
    bench.wait('a', { maxWaitMs: 0 })
    bench.wait('b', { maxWaitMs: 0 })
    bench.wait('c')
    const tries = bench.limiter.tries.length
    bench.wait('d', { maxWaitMs: 0 })
    expect(bench.limiter.tries.length).toBe(tries)
    expect(await bench.settled()).toEqual(['a', 'b: ERR_SLUICE_WAIT_TIMEOUT', 'd: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(bench.room.size).toBe(1)
  })

  test('a retry that is only an upper bound is no reason to give up early', async () => {
    const bench = new Bench()
    let isFree = false
    const lease = (): Attempted<string> =>
      isFree ? admitted : refused(30_000, { pollMs: Number.POSITIVE_INFINITY })
    bench.waitFor('a', lease, { maxWaitMs: 1000 })
    bench.waitFor('b', lease, { maxWaitMs: 1000 })
    expect(await bench.advance(999)).toEqual([])
    isFree = true
    expect(await bench.advance(0.5)).toEqual([])
    bench.room.wake('k')
    isFree = false
    expect(await bench.settled()).toEqual(['a', 'b'])
    bench.waitFor('c', lease, { maxWaitMs: 1000 })
    expect(await bench.advance(1000)).toEqual(['c: ERR_SLUICE_WAIT_TIMEOUT'])
  })
})

describe('polling', () => {
  test('where nobody knows when, the head tries every 50 ms, or as often as its attempt says', async () => {
    const bench = new Bench()
    const counts = { unknown: 0, often: 0, soon: 0 }
    const count = (name: keyof typeof counts, answer: Attempted<string>) => () => {
      counts[name]++
      return answer
    }
    bench.waitFor('x', count('unknown', refused(Number.POSITIVE_INFINITY)), {}, 'x')
    bench.waitFor('y', count('often', refused(Number.POSITIVE_INFINITY, { pollMs: 7 })), {}, 'y')
    bench.waitFor('z', count('soon', refused(3, { pollMs: 7 })), {}, 'z')
    for (let ms = 0; ms < 210; ms++) await bench.advance(1)
    expect(counts).toEqual({ unknown: 1 + 4, often: 1 + 30, soon: 1 + 70 })
  })

  test('ends at the deadline', async () => {
    const bench = new Bench()
    bench.waitFor('x', () => refused(Number.POSITIVE_INFINITY), { maxWaitMs: 70 })
    expect(await bench.advance(69)).toEqual([])
    expect(await bench.advance(1)).toEqual(['x: ERR_SLUICE_WAIT_TIMEOUT'])
  })
})

describe('refusals', () => {
  test('a full room: says how many wait and what raises it; who is admitted at once does not count', async () => {
    const bench = new Bench(undefined, { maxWaiters: 3 })
    for (const key of ['k', 'l']) for (const name of ['now', 'a', 'b']) bench.wait(`${name} ${key}`, { key })
    bench.wait('free', { key: 'm' })
    expect(bench.room.size).toBe(3)
    expect(await bench.settled()).toEqual(['now k', 'now l', 'b l: ERR_SLUICE_QUEUE_FULL', 'free'])
    const reason = await reasonOf(bench.wait('more'))
    expect(reason).toBeInstanceOf(RangeError)
    expect(String(reason)).toMatch(/\b3 .*maxWaiters/)
    await bench.advance(100)
    bench.wait('room again')
    expect(bench.room.size).toBe(2)
  })

  test('what can never be admitted is told at once, or when it is the head', async () => {
    const bench = new Bench()
    const reason = await reasonOf(bench.wait('a', { cost: 2 }))
    expect(reason).toBeInstanceOf(RangeError)
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
    for (const [name, cost] of [
      ['b', 1],
      ['c', 1],
      ['d', 2],
      ['e', 2],
      ['f', 1],
    ] as const)
      bench.wait(name, { cost })
    await bench.settled()
    expect(await bench.advance(100)).toEqual(['c', 'd: ERR_SLUICE_TOO_COSTLY', 'e: ERR_SLUICE_TOO_COSTLY'])
    expect(await bench.advance(100)).toEqual(['f'])
  })

  test('what an attempt throws rejects its own promise, and the next goes on', async () => {
    const bench = new Bench()
    const failure = new Error('failure')
    const failing = () => {
      throw failure
    }
    expect(await reasonOf(bench.waitFor('a', failing))).toBe(failure)
    bench.wait('b')
    bench.wait('c')
    const late = bench.waitFor('d', failing)
    bench.wait('e')
    bench.log.length = 0
    expect(await bench.advance(100)).toEqual(['b', 'c', 'd: Error: failure'])
    expect(await reasonOf(late)).toBe(failure)
    expect(await bench.advance(100)).toEqual(['e'])
  })

  test('closing rejects everybody, and who comes later', async () => {
    const clock = new SpyClock()
    const bench = new Bench(undefined, { waiting: clock })
    for (const [name, key] of [
      ['a', 'k'],
      ['b', 'k'],
      ['c', 'k'],
      ['d', 'l'],
      ['e', 'l'],
    ] as const) {
      bench.wait(name, { key, maxWaitMs: 5000 })
    }
    bench.log.length = 0
    bench.room.close()
    bench.room.close()
    expect(clock.scheduled).toEqual([])
    expect(bench.room.size).toBe(0)
    const tries = bench.limiter.tries.length
    const reason = await reasonOf(bench.wait('f', { key: 'free' }))
    expect(reason).toBeInstanceOf(TypeError)
    expect(bench.limiter.tries.length).toBe(tries)
    const outcomes = (await bench.settled()).sort()
    expect(outcomes).toEqual([
      'a',
      'b: ERR_SLUICE_CLOSED',
      'c: ERR_SLUICE_CLOSED',
      'd',
      'e: ERR_SLUICE_CLOSED',
      'f: ERR_SLUICE_CLOSED',
    ])
  })

  test.each<[string, unknown, string, string, RegExp]>([
    ['null', null, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /options/],
    ['a number', 5, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /options/],
    ['an unknown name', { maxWait: 5 }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN', /maxWaitMs/],
    ['a negative maxWaitMs', { maxWaitMs: -1 }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE', /maxWaitMs.*-1/],
    ['maxWaitMs NaN', { maxWaitMs: Number.NaN }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE', /maxWaitMs/],
    ['maxWaitMs as text', { maxWaitMs: '5' }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /maxWaitMs/],
    ['a fractional priority', { priority: 0.5 }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE', /priority/],
    ['a priority of 2^53', { priority: 2 ** 53 }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE', /priority/],
    ['priority null', { priority: null }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /priority/],
    ['a signal that is none', { signal: {} }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /signal/],
    ['signal null', { signal: null }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /signal/],
    ['a controller', { signal: new AbortController() }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', /signal/],
  ])('%s as options: rejected, nothing tried', async (_, options, type, code, says) => {
    const bench = new Bench()
    const reason = await reasonOf(
      bench.waitFor('a', () => bench.limiter.attempt('k', 1), options as WaitOptions),
    )
    expect(reason).toMatchObject({ name: type, code })
    expect(String(reason)).toMatch(says)
    expect(bench.limiter.tries).toEqual([])
  })

  test('options that are undefined, or have no own properties, are the defaults', async () => {
    const bench = new Bench()
    bench.waitFor('a', () => admitted, { signal: undefined, maxWaitMs: undefined } as unknown as WaitOptions)
    bench.waitFor('b', () => admitted, {})
    bench.waitFor('c', () => admitted, { maxWaitMs: Number.POSITIVE_INFINITY, priority: -0 })
    expect(await bench.settled()).toEqual(['a', 'b', 'c'])
  })
})
