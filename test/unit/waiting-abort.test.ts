import { describe, expect, test } from 'vitest'
import { Bench, collectGarbage, reasonOf, SpyClock } from './waiting-fakes'

/** A signal that counts its listeners. */
function countedSignal() {
  const controller = new AbortController()
  const { signal } = controller
  const counts = { listeners: 0, most: 0 }
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  const live = new Set<unknown>()
  const recount = () => {
    counts.listeners = live.size
    counts.most = Math.max(counts.most, live.size)
  }
  signal.addEventListener = (type: string, listener: () => void) => {
    live.add(listener)
    recount()
    add(type as 'abort', listener)
  }
  signal.removeEventListener = (type: string, listener: () => void) => {
    live.delete(listener)
    recount()
    remove(type as 'abort', listener)
  }
  return { controller, signal, counts }
}

describe('signal', () => {
  test('one that has aborted: nothing is tried', async () => {
    const bench = new Bench()
    const reason = new Error('enough')
    expect(await reasonOf(bench.wait('a', { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(bench.limiter.tries).toEqual([])
    expect(bench.room.size).toBe(0)
  })

  test('the reason is passed on, whatever it is', async () => {
    for (const reason of [0, null, 'text', { any: 'thing' }]) {
      const bench = new Bench()
      const controller = new AbortController()
      bench.wait('a')
      const promise = bench.wait('b', { signal: controller.signal })
      controller.abort(reason)
      expect(await reasonOf(promise)).toBe(reason)
    }
    const bench = new Bench()
    expect(await reasonOf(bench.wait('a', { signal: AbortSignal.abort() }))).toMatchObject({
      name: 'AbortError',
    })
  })

  test('in the middle of the queue: the place is free, nobody tries', async () => {
    const bench = new Bench()
    const controller = new AbortController()
    for (const name of ['a', 'b']) bench.wait(name)
    bench.wait('c', { signal: controller.signal })
    bench.wait('d')
    const tries = bench.limiter.tries.length
    controller.abort('off')
    expect(bench.room.size).toBe(2)
    expect(bench.limiter.tries.length).toBe(tries)
    expect(await bench.settled()).toEqual(['a', 'c: off'])
    expect(await bench.advance(100)).toEqual(['b'])
    expect(await bench.advance(100)).toEqual(['d'])
  })

  test('at the head: the next tries at once', async () => {
    const bench = new Bench(undefined, { capacity: 10 })
    const controller = new AbortController()
    bench.wait('start', { cost: 5 })
    bench.wait('large', { cost: 10, signal: controller.signal })
    for (const name of ['b', 'c']) bench.wait(name, { cost: 2 })
    bench.wait('d', { cost: 2 })
    expect(await bench.settled()).toEqual(['start'])
    controller.abort('off')
    expect(await bench.settled()).toEqual(['large: off', 'b', 'c'])
    expect(await bench.advance(100)).toEqual(['d'])
  })

  test('that nobody waited with for a while is listened to again', async () => {
    const bench = new Bench()
    const { controller, signal, counts } = countedSignal()
    for (const name of ['a', 'b']) bench.wait(name, { signal })
    expect(await bench.advance(100)).toEqual(['a', 'b'])
    expect(counts.listeners).toBe(0)
    bench.wait('c', { signal })
    expect(counts.listeners).toBe(1)
    controller.abort('off')
    expect(await bench.settled()).toEqual(['c: off'])
  })

  test('of several at once: none of them tries on the way', async () => {
    const bench = new Bench(undefined, { capacity: 10 })
    const { controller, signal, counts } = countedSignal()
    for (const key of ['k', 'l']) bench.wait(`start ${key}`, { cost: 5, key })
    for (const key of ['k', 'l']) {
      bench.wait(`large ${key}`, { cost: 10, key, signal })
      bench.wait(`small ${key}`, { cost: 1, key, signal })
      bench.wait(`other ${key}`, { cost: 1, key })
    }
    expect(counts).toEqual({ listeners: 1, most: 1 })
    await bench.settled()
    const tries = bench.limiter.tries.length
    controller.abort('off')
    expect(bench.limiter.tries.length).toBe(tries + 2)
    expect(await bench.settled()).toEqual([
      'large k: off',
      'small k: off',
      'large l: off',
      'small l: off',
      'other k',
      'other l',
    ])
    expect(bench.room.size).toBe(0)
    expect(counts.listeners).toBe(0)
  })

  test('10,000 waits with one signal: one listener while any waits, none after, and no warning', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    const bench = new Bench(undefined, { capacity: 10_000, msPerToken: 1 })
    const { signal, counts } = countedSignal()
    bench.wait('all', { cost: 10_000 })
    for (let i = 0; i < 10_000; i++) bench.wait(`${i}`, { signal })
    expect(bench.room.size).toBe(10_000)
    expect(counts).toEqual({ listeners: 1, most: 1 })
    expect((await bench.advance(9999)).length).toBe(10_000)
    expect(counts.listeners).toBe(1)
    expect(await bench.advance(1)).toEqual(['9999'])
    expect(counts).toEqual({ listeners: 0, most: 1 })
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })

  test.each(['admitted at once', 'timed out', 'closed', 'refused for good'])(
    'no listener is left when %s',
    async (end) => {
      const bench = new Bench()
      const { signal, counts } = countedSignal()
      if (end !== 'admitted at once') bench.wait('a')
      if (end === 'refused for good') bench.wait('b')
      bench.wait('c', { signal, maxWaitMs: 300, cost: end === 'refused for good' ? 2 : 1 })
      if (end === 'timed out') for (const _ of [1, 2, 3, 4]) bench.wait('urgent', { priority: 1 })
      expect(counts.listeners).toBe(end === 'admitted at once' ? 0 : 1)
      if (end === 'closed') bench.room.close()
      for (let i = 0; i < 3; i++) await bench.advance(100)
      expect(counts.listeners).toBe(0)
    },
  )

  test('that aborts, or a room that closes, in the middle of the attempt: nobody is left waiting', async () => {
    const bench = new Bench()
    const controller = new AbortController()
    const refused = { admitted: false, retryAfterMs: 10, answer: '' }
    const aborting = () => {
      controller.abort('off')
      return refused
    }
    expect(await reasonOf(bench.waitFor('a', aborting, { signal: controller.signal }))).toBe('off')
    const closing = () => {
      bench.room.close()
      return refused
    }
    expect(await reasonOf(bench.waitFor('b', closing))).toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    expect(bench.room.size).toBe(0)
  })

  test('whose addEventListener throws: rejected, no place is taken', async () => {
    const bench = new Bench()
    const { signal } = new AbortController()
    signal.addEventListener = () => {
      throw new Error('no listeners')
    }
    bench.wait('a')
    bench.wait('b', { signal })
    expect(await bench.settled()).toEqual(['a', 'b: Error: no listeners'])
    expect(bench.room.size).toBe(0)
  })

  test('10,000 aborted one by one, in any order: nothing of them is kept', async () => {
    const clock = new SpyClock()
    const bench = new Bench(undefined, { waiting: clock, maxWaiters: 10_001 })
    const controllers = Array.from({ length: 10_000 }, () => new AbortController())
    bench.wait('a')
    bench.wait('head')
    // The time of each is noted, for its deadline.
    const attempts: WeakRef<object>[] = []
    for (const [i, { signal }] of controllers.entries()) {
      const attempt = () => bench.limiter.attempt(`k${i % 7}`, 1)
      attempts.push(new WeakRef(attempt))
      void bench.waitFor(`${i}`, attempt, { signal, maxWaitMs: 1000 + ((i * 7919) % 10_000) }, 'k')
    }
    expect(bench.room.size).toBe(10_001)
    for (let i = 0; i < 10_000; i++) controllers[(i * 7) % 10_000]?.abort('off')
    expect(bench.room.size).toBe(1)
    const log = await bench.settled()
    expect(log.length).toBe(10_001)
    await new Promise((resolve) => setImmediate(resolve))
    collectGarbage()
    const kept = attempts.filter((attempt) => attempt.deref() !== undefined).length
    expect(kept).toBeLessThan(10)
    // The head’s timer is the only thing left in the room.
    expect(clock.scheduled.length).toBe(1)
    clock.us = 1e9
    bench.clock.set(1e6)
    clock.ring()
    expect(await bench.settled()).toEqual(['head'])
    expect(clock.scheduled.length).toBe(0)
    expect(clock.peak).toBe(1)
  })
})
