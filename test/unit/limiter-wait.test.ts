import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Key, Limiter, type WaitOptions } from '../../lib/index'
import { watchersOf } from '../../lib/time/clock'
import { closeScenes, kept, Scene } from './limiter-wait-scene'
import { microtasks, reasonOf } from './waiting-fakes'

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
  closeScenes()
})

describe('wait', () => {
  test('resolves at once with the decision where there is room', async () => {
    const scene = new Scene({ burst: 3 })
    expect(await scene.wait('a')).toEqual({
      allowed: true,
      limit: 3,
      remaining: 2,
      retryAfterMs: 0,
      resetAfterMs: 100,
      consumed: 1,
      delayMs: 0,
      reason: 'ok',
      source: 'local',
    })
    expect(await scene.limiter.wait('k', 2)).toMatchObject({ consumed: 2, remaining: 0 })
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('first come, first served, each at its very time', async () => {
    const scene = new Scene({ burst: 1 })
    for (const name of ['a', 'b', 'c', 'd']) scene.wait(name)
    expect(await scene.playUntil(400, 0.5)).toEqual({ a: 0, b: 100, c: 200, d: 300 })
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('higher priorities first', async () => {
    const scene = new Scene({ burst: 1 })
    scene.limiter.consume('k')
    scene.wait('low', { priority: -1 })
    scene.wait('usual')
    scene.wait('high', { priority: 1 })
    scene.wait('high too', { priority: 1 })
    expect(await scene.playUntil(500, 50)).toEqual({ high: 100, 'high too': 200, usual: 300, low: 400 })
  })

  test('a large cost is not starved by small ones, also of other tiers', async () => {
    const scene = new Scene({ burst: 5, tiers: { same: { limit: 10, burst: 5 } } })
    scene.limiter.consume('k', 5)
    scene.wait('large', {}, 5)
    for (let i = 0; i < 3; i++) scene.wait(`small ${i}`, {}, 1, 'k', scene.limiter.tier('same'))
    expect(await scene.playUntil(900, 50)).toEqual({
      large: 500,
      'small 0': 600,
      'small 1': 700,
      'small 2': 800,
    })
  })

  test('abort: the reason; the place is free, and nothing was spent', async () => {
    const scene = new Scene({ burst: 1 })
    const controller = new AbortController()
    const reason = new Error('enough')
    scene.wait('a')
    const aborted = scene.wait('b', { signal: controller.signal })
    scene.wait('c')
    await scene.advance(50)
    controller.abort(reason)
    expect(await reasonOf(aborted)).toBe(reason)
    await scene.settled()
    expect(await scene.advance(49.999)).toEqual([])
    expect(await scene.advance(0.001)).toEqual(['c'])
  })

  test('maxWaitMs: told at once where it is known to be too short, and admitted where it is not', async () => {
    const scene = new Scene({ burst: 1 })
    scene.wait('a')
    const reason = await reasonOf(scene.wait('b', { maxWaitMs: 99.999 }))
    expect(reason).toBeInstanceOf(RangeError)
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
    scene.wait('c', { maxWaitMs: 100 })
    scene.wait('d', { maxWaitMs: 150 })
    await scene.settled()
    expect(await scene.advance(100)).toEqual(['c', 'd: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(scene.limiter.peek('k').retryAfterMs).toBe(100)
  })

  test('the queue is full at maxWaiters; who need not wait comes in all the same', async () => {
    const scene = new Scene({ burst: 1, maxWaiters: 2 })
    for (const name of ['a', 'b', 'c', 'd']) scene.wait(name, {}, 1, name < 'c' ? 'k' : 'l')
    for (const name of ['e', 'f']) scene.wait(name, {}, 1, 'l')
    expect(await scene.settled()).toEqual(['a', 'c', 'e: ERR_SLUICE_QUEUE_FULL', 'f: ERR_SLUICE_QUEUE_FULL'])
    scene.wait('elsewhere', {}, 1, 'm')
    expect(await scene.settled()).toEqual(['elsewhere'])
  })

  test('closing tells those who wait, of tiers too, and those who come later', async () => {
    const scene = new Scene({ burst: 1, tiers: { more: { limit: 20 } } })
    scene.wait('a')
    scene.wait('b')
    scene.wait('c', {}, 20, 'k', scene.limiter.tier('more'))
    await scene.settled()
    const view = scene.limiter.tier('more')
    scene.limiter.close()
    scene.wait('d')
    scene.wait('e', {}, 1, 'k', view)
    expect(await scene.settled()).toEqual(['b', 'c', 'd', 'e'].map((name) => `${name}: ERR_SLUICE_CLOSED`))
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('too costly: said at once, with cost and capacity; also of a blocked key, and of one behind others', async () => {
    const scene = new Scene({ burst: 5 })
    scene.limiter.block('blocked', 1000)
    for (const key of ['k', 'blocked']) {
      const reason = await reasonOf(scene.limiter.wait(key, 6))
      expect(reason).toBeInstanceOf(RangeError)
      expect(reason).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
      expect(String(reason)).toMatch(/\b6\b.*\b5\b/)
    }
    scene.wait('all', {}, 5)
    scene.wait('one')
    scene.wait('large', {}, 6)
    scene.wait('last')
    expect(await scene.settled()).toEqual(['all'])
    expect(await scene.playUntil(300, 50)).toEqual({
      one: 100,
      'large: ERR_SLUICE_TOO_COSTLY': 100,
      last: 200,
    })
  })

  test('where the table is full it looks every 10 ms whether any key has left', async () => {
    const scene = new Scene({ limit: 1, windowMs: 60_000, maxKeys: 1 })
    let key = 0
    while (scene.limiter.consume(key).reason !== 'table-full') key++
    scene.wait('a', { maxWaitMs: 1000 }, 1, key)
    scene.wait('b', { maxWaitMs: 1000 }, 1, key + 1)
    expect(await scene.advance(500)).toEqual([])
    scene.limiter.reset(0)
    expect(await scene.advance(10)).toEqual(['a'])
    expect(await scene.advance(490)).toEqual(['b: ERR_SLUICE_WAIT_TIMEOUT'])
  })

  test('a key that is blocked waits for the end of the block', async () => {
    const scene = new Scene({ burst: 1 })
    scene.limiter.block('k', 5000)
    scene.wait('a')
    scene.wait('late', { priority: 1, maxWaitMs: 4999 })
    expect(await scene.settled()).toEqual(['late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await scene.playUntil(5000, 500)).toEqual({ a: 5000 })
  })

  test.each<[string, (limiter: Limiter) => unknown]>([
    ['refund', (limiter) => limiter.refund('k', 1)],
    ['reset', (limiter) => limiter.reset('k')],
    ['setPolicy', (limiter) => limiter.setPolicy({ burst: 2 })],
    ['setPolicy for another rate', (limiter) => limiter.setPolicy({ limit: 1000 })],
  ])('what %s changes is noticed at once', async (name, change) => {
    const scene = new Scene({ burst: 1 })
    scene.limiter.consume('k')
    scene.wait('a')
    await scene.settled()
    change(scene.limiter)
    // A bucket that grows hands nothing out: one token is missing as before, and comes in time.
    const times = await scene.playUntil(120, 1)
    expect(times).toEqual({ a: name === 'setPolicy for another rate' ? 1 : name === 'setPolicy' ? 100 : 0 })
  })

  test('what a reservation gives back is noticed at once', async () => {
    const scene = new Scene({ burst: 5 })
    const reservation = scene.limiter.reserve('k', 5, 10_000)
    scene.wait('a', {}, 2)
    expect(await scene.settled()).toEqual([])
    reservation.settle(3)
    expect(await scene.settled()).toEqual(['a'])
  })

  test('with a limit that is lowered to nothing it can use, the wait ends', async () => {
    const scene = new Scene({ burst: 5 })
    scene.limiter.consume('k', 5)
    scene.wait('a', {}, 5)
    await scene.settled()
    scene.limiter.setPolicy({ burst: 4 })
    expect(await scene.settled()).toEqual(['a: ERR_SLUICE_TOO_COSTLY'])
  })

  test('tries are no offences for escalate, and no denials', async () => {
    const scene = new Scene({ burst: 1, escalate: { blockMs: [60_000], forgetMs: 60_000 } })
    scene.limiter.consume('k')
    for (const name of ['a', 'b', 'c']) scene.wait(name)
    scene.wait('short', { priority: 1, maxWaitMs: 10 })
    expect(await scene.playUntil(300, 50)).toEqual({
      'short: ERR_SLUICE_WAIT_TIMEOUT': 0,
      a: 100,
      b: 200,
      c: 300,
    })
    expect(scene.limiter.stats()).toMatchObject({ allowed: 4, denied: 0 })
    // Who does not wait is punished, and who waits, waits for that.
    expect(scene.limiter.consume('k').reason).toBe('blocked')
    scene.wait('d')
    expect(await scene.advance(59_000)).toEqual([])
    expect(await scene.advance(1000)).toEqual(['d'])
  })

  test('10,000 wait for 100 keys with one timer, and are served in order', async () => {
    const scene = new Scene({ maxKeys: 1000, limit: 1000, burst: 1 })
    const served: number[][] = Array.from({ length: 100 }, () => [])
    for (let i = 0; i < 10_100; i++) {
      void scene.limiter.wait(i % 100).then(() => served[i % 100]?.push(i))
    }
    expect(watchersOf(scene.clock).size).toBe(1)
    expect(await reasonOf(scene.limiter.wait(5))).toMatchObject({ code: 'ERR_SLUICE_QUEUE_FULL' })
    for (let ms = 0; ms <= 100; ms++) {
      if (ms > 0) await scene.advance(1)
      await microtasks()
      expect(served.every((list) => list.length === ms + 1)).toBe(true)
    }
    for (const [key, list] of served.entries()) expect(list).toEqual(list.map((_, i) => key + 100 * i))
    expect(watchersOf(scene.clock).size).toBe(0)
    expect(scene.limiter.stats()).toMatchObject({ allowed: 10_100, denied: 0 })
  })
})

describe('keys and arguments of wait', () => {
  test('keys that are equal wait in one queue, of other types in others', async () => {
    const scene = new Scene({ burst: 1 })
    for (const key of ['5', 5, Uint8Array.of(53)]) scene.wait(`${typeof key} now`, {}, 1, key)
    scene.wait('a', {}, 1, Uint8Array.of(53))
    scene.wait('b', {}, 1, Buffer.from('5'))
    expect(await scene.settled()).toEqual(['string now', 'number now', 'object now'])
    expect(await scene.playUntil(200, 50)).toEqual({ a: 100, b: 200 })
  })

  test('an array that is used again for another key does not change who waits', async () => {
    const scene = new Scene({ burst: 1 })
    const bytes = Uint8Array.of(1, 2, 3)
    scene.limiter.consume(bytes)
    scene.wait('a', {}, 1, bytes)
    bytes.fill(9)
    scene.limiter.consume(bytes)
    scene.limiter.penalize(bytes, 1)
    scene.limiter.refund(Uint8Array.of(1, 2, 3), 1)
    expect(await scene.settled()).toEqual(['a'])
  })

  test.each<[string, unknown, unknown, string]>([
    ['a key of no type', null, 1, 'ERR_SLUICE_KEY_TYPE'],
    ['an object as key', {}, 1, 'ERR_SLUICE_KEY_TYPE'],
    ['an array of numbers as key', new Uint16Array(2), 1, 'ERR_SLUICE_KEY_TYPE'],
    ['a fractional key', 0.5, 1, 'ERR_SLUICE_KEY_RANGE'],
    ['a cost that is text', 'k', '1', 'ERR_SLUICE_ARGUMENT_TYPE'],
    ['a negative cost', 'k', -1, 'ERR_SLUICE_ARGUMENT_RANGE'],
  ])('%s: rejected, never thrown', async (_, key, cost, code) => {
    const scene = new Scene({ burst: 1 })
    expect(await reasonOf(scene.limiter.wait(key as Key, cost as number))).toMatchObject({ code })
  })

  test('a bad cost behind others rejects only its own', async () => {
    const scene = new Scene({ burst: 1 })
    for (const name of ['a', 'b']) scene.wait(name)
    scene.wait('bad', {}, -1)
    scene.wait('c')
    await scene.settled()
    expect(await scene.playUntil(200, 50)).toEqual({ b: 100, 'bad: ERR_SLUICE_ARGUMENT_RANGE': 100, c: 200 })
  })

  test('options that are none', async () => {
    const scene = new Scene({ burst: 1 })
    const reason = await reasonOf(scene.limiter.wait('k', 1, { maxWait: 5 } as unknown as WaitOptions))
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_OPTION_UNKNOWN' })
    expect(scene.limiter.stats().allowed).toBe(0)
  })

  test('cost 0 waits for a block only', async () => {
    const scene = new Scene({ burst: 1 })
    scene.limiter.consume('k')
    scene.wait('a', {}, 0)
    scene.limiter.block('l', 100)
    scene.wait('b', {}, 0, 'l')
    expect(await scene.playUntil(100, 50)).toEqual({ a: 0, b: 100 })
  })

  test('which operation is for which algorithm', async () => {
    const leases = kept(new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: 1000, maxKeys: 10 }))
    const tokens = kept(new Limiter({ limit: 1, windowMs: 1000, maxKeys: 10 }))
    for (const promise of [leases.wait('k'), tokens.waitForLease('k')])
      expect(await reasonOf(promise)).toMatchObject({ name: 'RangeError', code: 'ERR_SLUICE_UNSUPPORTED' })
  })
})

describe('fake timers', () => {
  test('drive a limiter whose clock is () => Date.now()', async () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const limiter = kept(
      new Limiter({ limit: 10, windowMs: 1000, burst: 1, maxKeys: 10, clock: () => Date.now() }),
    )
    const times: number[] = []
    for (let i = 0; i < 4; i++) void limiter.wait('k').then(() => times.push(Date.now() - 1_700_000_000_000))
    const late = reasonOf(limiter.wait('k', 1, { maxWaitMs: 250 }))
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(1000)
    expect(times).toEqual([0, 100, 200, 300])
    expect(await late).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a clock function that fails later ends the waits with what it throws', async () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    let isBroken = false
    const clock = () => {
      if (isBroken) throw new Error('broken')
      return Date.now()
    }
    const limiter = kept(new Limiter({ limit: 10, windowMs: 1000, burst: 1, maxKeys: 10, clock }))
    void limiter.wait('k')
    const reasons = [limiter.wait('k'), limiter.wait('k')].map(reasonOf)
    isBroken = true
    await vi.advanceTimersByTimeAsync(100)
    expect((await Promise.all(reasons)).map(String)).toEqual(['Error: broken', 'Error: broken'])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('the machine’s clock', () => {
  test('nobody is admitted early', async () => {
    const limiter = kept(new Limiter({ limit: 100, windowMs: 1000, burst: 1, maxKeys: 10 }))
    const startMs = performance.now()
    const times = await Promise.all(
      Array.from({ length: 6 }, () => limiter.wait('k').then(() => performance.now() - startMs)),
    )
    for (const [i, ms] of times.entries()) expect(ms).toBeGreaterThanOrEqual(10 * i)
    expect(times).toEqual([...times].sort((a, b) => a - b))
    expect(limiter.stats()).toMatchObject({ allowed: 6, denied: 0 })
  })
})
