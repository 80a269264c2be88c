import { afterEach, describe, expect, test, vi } from 'vitest'
import { Limiter } from '../../lib/index'
import { watchersOf } from '../../lib/time/clock'
import { closeScenes, kept, Scene } from './limiter-wait-scene'
import { reasonOf } from './waiting-fakes'

afterEach(() => {
  vi.useRealTimers()
  closeScenes()
})

/** In ms, rounded up to a µs: the time of `tokens` at `limit` per `windowMs`. */
function timeOf(tokens: number, limit: number, windowMs: number): number {
  const us = (BigInt(tokens) * BigInt(windowMs) * 1000n + BigInt(limit) - 1n) / BigInt(limit)
  return Number(us) / 1000
}

describe('a leaky bucket', () => {
  test.each([
    ['whole ms', 10, 1000, 4],
    ['thirds of ms', 3, 1000, 4],
    ['a short queue', 7, 1000, 1],
    ['a queue that holds all', 9, 1000, 100],
  ])('each goes out at its very time, in order, with one timer: %s', async (_, limit, windowMs, queue) => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit, windowMs, queue })
    for (let i = 0; i < 20; i++) scene.wait(`${i}`)
    expect(await scene.settled()).toEqual(['0'])
    expect(watchersOf(scene.clock).size).toBe(1)
    let lastMs = 0
    for (let i = 1; i < 20; i++) {
      const dueMs = timeOf(i, limit, windowMs)
      expect(await scene.advance(dueMs - 0.001 - lastMs)).toEqual([])
      expect(await scene.advance(0.001)).toEqual([`${i}`])
      lastMs = scene.ms
      expect(lastMs).toBe(dueMs)
    }
    expect(watchersOf(scene.clock).size).toBe(0)
    expect(scene.limiter.stats()).toMatchObject({ allowed: 20, denied: 0 })
  })

  test('a cost takes its share of time', async () => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 4 })
    for (const [name, cost] of [
      ['a', 3],
      ['b', 1],
      ['c', 5],
      ['d', 1],
    ] as const)
      scene.wait(name, {}, cost)
    expect(await reasonOf(scene.limiter.wait('other', 6))).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
    expect(await scene.playUntil(1000, 50)).toEqual({ a: 0, b: 300, c: 400, d: 900 })
  })

  test('what was given up in the meantime stays spent, and leaves no gap to anybody', async () => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 4 })
    const controller = new AbortController()
    scene.wait('a')
    scene.wait('b', { signal: controller.signal })
    scene.wait('c')
    await scene.advance(50)
    controller.abort('off')
    expect(await scene.settled()).toEqual(['b: off'])
    expect(await scene.playUntil(300, 50)).toEqual({ c: 200 })
  })

  test('maxWaitMs is known before anything is spent', async () => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit: 3, windowMs: 1000, queue: 4 })
    scene.wait('a')
    scene.wait('b', { maxWaitMs: 333.333 })
    scene.wait('c', { maxWaitMs: 333.334 })
    scene.wait('d', { maxWaitMs: 0 })
    scene.wait('e', { maxWaitMs: 666.667 })
    expect(await scene.settled()).toEqual(['a', 'b: ERR_SLUICE_WAIT_TIMEOUT', 'd: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await scene.advance(333.333)).toEqual([])
    expect(await scene.advance(0.001)).toEqual(['c'])
    expect(await scene.advance(333.332)).toEqual([])
    expect(await scene.advance(0.001)).toEqual(['e'])
    expect(scene.limiter.stats()).toMatchObject({ allowed: 3, denied: 0 })
  })

  test('a full room books nobody', async () => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 9, maxWaiters: 2 })
    for (const name of ['a', 'b', 'c', 'd']) scene.wait(name)
    expect(await scene.settled()).toEqual(['a', 'd: ERR_SLUICE_QUEUE_FULL'])
    expect(scene.limiter.stats()).toMatchObject({ allowed: 3, denied: 0 })
    expect(await scene.playUntil(300, 50)).toEqual({ b: 100, c: 200 })
  })

  test('closing tells those who are held back', async () => {
    const scene = new Scene({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 2 })
    for (const name of ['a', 'b', 'c', 'd']) scene.wait(name)
    scene.limiter.close()
    expect(await scene.settled()).toEqual(
      ['a', 'b', 'c', 'd'].map((name) => (name === 'a' ? name : `${name}: ERR_SLUICE_CLOSED`)),
    )
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('on the machine’s clock nobody goes out early', async () => {
    const limiter = kept(
      new Limiter({ algorithm: 'leaky-bucket', limit: 100, windowMs: 1000, queue: 9, maxKeys: 10 }),
    )
    const startMs = performance.now()
    const times = await Promise.all(
      Array.from({ length: 6 }, () => limiter.wait('k').then(() => performance.now() - startMs)),
    )
    for (const [i, ms] of times.entries()) expect(ms).toBeGreaterThanOrEqual(10 * i)
  })

  test('fake timers drive it', async () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const clock = () => Date.now()
    const limiter = kept(
      new Limiter({ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 2, maxKeys: 10, clock }),
    )
    const times: number[] = []
    for (let i = 0; i < 6; i++) void limiter.wait('k').then(() => times.push(Date.now() - 1_700_000_000_000))
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(1000)
    expect(times).toEqual([0, 100, 200, 300, 400, 500])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('evenly', () => {
  test('a fixed window sends its tokens out at their shares of the window', async () => {
    const scene = new Scene({
      algorithm: 'fixed-window',
      limit: 4,
      windowMs: 1000,
      align: 'epoch',
      evenly: true,
    })
    for (let i = 0; i < 10; i++) scene.wait(`${i}`)
    expect(await scene.playUntil(2500, 50)).toEqual(
      Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`${i}`, 250 * i])),
    )
    expect(scene.limiter.stats()).toMatchObject({ allowed: 10, denied: 0 })
  })

  test('a bucket sends out one after the other at its rate', async () => {
    const scene = new Scene({ limit: 10, windowMs: 1000, burst: 5, evenly: true })
    for (let i = 0; i < 12; i++) scene.wait(`${i}`)
    expect(await scene.playUntil(1200, 50)).toEqual(
      Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`${i}`, 100 * i])),
    )
  })

  test('a cost that would go out too late is refused, and one behind it that does not mind is booked', async () => {
    const scene = new Scene({ limit: 10, windowMs: 1000, burst: 5, evenly: true })
    scene.wait('a', {}, 3)
    scene.wait('late', { maxWaitMs: 299 })
    scene.wait('b')
    expect(await scene.settled()).toEqual(['a', 'late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(scene.limiter.peek('k').remaining).toBe(1)
    expect(await scene.playUntil(400, 50)).toEqual({ b: 300 })
  })

  test('what escalates does not punish a call that would be held back too long', async () => {
    const escalate = { blockMs: [60_000], forgetMs: 60_000 }
    const scene = new Scene({ limit: 10, windowMs: 1000, burst: 5, evenly: true, escalate })
    scene.wait('a', {}, 3)
    expect(await reasonOf(scene.limiter.wait('k', 1, { maxWaitMs: 10 }))).toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
    expect(scene.limiter.peek('k')).toMatchObject({ reason: 'ok', remaining: 2 })
  })
})
