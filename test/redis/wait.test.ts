import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Decision, Key, WaitOptions } from '../../lib/index'
import {
  type RedisLimiter,
  type RedisLimiterOptions,
  RedisLimitSet,
  type RedisView,
} from '../../lib/redis/index'
import { watchersOf } from '../../lib/time/clock'
import { type Scene, useScene } from './limiter-scene'

const scene = useScene()
let elsewhere: Redis

beforeAll(() => {
  elsewhere = scene.connect()
})
afterAll(() => elsewhere.disconnect())

/** A limiter on the clock of the test, and a log of what settled at which time of it. */
class Waits {
  readonly limiter: RedisLimiter
  readonly #startMs: number
  readonly #log: string[] = []

  constructor(
    readonly from: Scene,
    options: Partial<RedisLimiterOptions> = {},
  ) {
    this.limiter = from.open({ burst: 1, ...options })
    this.#startMs = from.clock.now()
  }

  get ms(): number {
    return Math.round((this.from.clock.now() - this.#startMs) * 1000) / 1000
  }

  wait(
    name: string,
    options?: WaitOptions,
    cost?: number,
    key: Key = 'k',
    view: RedisView = this.limiter,
  ): Promise<Decision> {
    return this.note(name, view.wait(key, cost, options))
  }

  note<Answer extends { allowed: boolean }>(name: string, promise: Promise<Answer>): Promise<Answer> {
    promise.then(
      ({ allowed }) => this.#log.push(allowed ? name : `${name} but refused`),
      (error) => this.#log.push(`${name}: ${error?.code ?? error}`),
    )
    return promise
  }

  /** When all that is under way has come back: whoever is admitted lets the next one ask. */
  async settled(): Promise<string[]> {
    for (let trips = 0; trips < 8; trips++) {
      await new Promise((resolve) => setImmediate(resolve))
      await this.from.redis.ping()
    }
    return this.#log.splice(0)
  }

  async advance(ms: number): Promise<string[]> {
    this.from.clock.advance(ms)
    return this.settled()
  }

  async playUntil(endMs: number, stepMs: number): Promise<Record<string, number>> {
    const times: Record<string, number> = {}
    for (const name of await this.settled()) times[name] = this.ms
    while (this.ms < endMs) for (const name of await this.advance(stepMs)) times[name] = this.ms
    return times
  }

  async left(key: Key = 'k'): Promise<number> {
    return (await this.limiter.peek(key)).remaining
  }
}

async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (answer) => new Error(`resolved with ${JSON.stringify(answer)}`),
    (reason) => reason,
  )
}

describe('wait', () => {
  test('resolves at once with the decision where there is room', async () => {
    const waits = new Waits(scene, { burst: 3 })
    expect(await waits.wait('a')).toEqual({
      allowed: true,
      limit: 3,
      remaining: 2,
      retryAfterMs: 0,
      resetAfterMs: 100,
      consumed: 1,
      delayMs: 0,
      reason: 'ok',
      source: 'exact',
    })
    expect(await waits.limiter.wait('k', 2)).toMatchObject({ consumed: 2, remaining: 0 })
    expect(await waits.limiter.wait('k', 0)).toMatchObject({ consumed: 0 })
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('first come, first served, each at its very time', async () => {
    const waits = new Waits(scene)
    for (const name of ['a', 'b', 'c', 'd']) waits.wait(name)
    expect(await waits.settled()).toEqual(['a'])
    expect(await waits.advance(99.999)).toEqual([])
    expect(await waits.advance(0.001)).toEqual(['b'])
    expect(await waits.playUntil(300, 50)).toEqual({ c: 200, d: 300 })
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('only the first of a queue asks, and it asks once', async () => {
    const waits = new Waits(scene)
    await waits.limiter.allow('k')
    const before = waits.limiter.stats().client.calls
    for (let i = 0; i < 50; i++) waits.wait(`${i}`).catch(() => undefined)
    await waits.settled()
    for (let i = 0; i < 9; i++) expect(await waits.advance(10)).toEqual([])
    expect(waits.limiter.stats().client.calls - before).toBe(1)
    await waits.limiter.close()
  })

  test('higher priorities first', async () => {
    const waits = new Waits(scene)
    await waits.limiter.consume('k')
    waits.wait('low', { priority: -1 })
    waits.wait('usual')
    waits.wait('high', { priority: 1 })
    waits.wait('high too', { priority: 1 })
    expect(await waits.playUntil(500, 50)).toEqual({ high: 100, 'high too': 200, usual: 300, low: 400 })
  })

  test('a large cost is not starved by small ones, also of other tiers', async () => {
    const waits = new Waits(scene, { burst: 5, tiers: { same: { limit: 10, burst: 5 } } })
    await waits.limiter.consume('k', 5)
    waits.wait('large', {}, 5)
    for (let i = 0; i < 3; i++) waits.wait(`small ${i}`, {}, 1, 'k', waits.limiter.tier('same'))
    expect(await waits.playUntil(900, 50)).toEqual({
      large: 500,
      'small 0': 600,
      'small 1': 700,
      'small 2': 800,
    })
  })

  test('keys do not wait for each other', async () => {
    const waits = new Waits(scene)
    await waits.limiter.consumeMany(['k', 7, Uint8Array.of(7)])
    waits.wait('text')
    waits.wait('number', {}, 1, 7)
    waits.wait('bytes', {}, 1, Uint8Array.of(7))
    waits.wait('other', {}, 1, '7')
    expect(await waits.settled()).toEqual(['other'])
    expect((await waits.advance(100)).sort()).toEqual(['bytes', 'number', 'text'])
  })

  test('who was overtaken by another host asks again when that is over', async () => {
    const waits = new Waits(scene)
    const other = scene.open({ client: elsewhere, burst: 1 })
    await waits.limiter.consume('k')
    waits.wait('a')
    await waits.settled()
    scene.clock.advance(50)
    await other.refund('k', 1)
    await other.consume('k')
    expect(await waits.advance(50)).toEqual([])
    expect(await waits.playUntil(300, 25)).toEqual({ a: 150 })
  })

  test('what is given back on the same object wakes it', async () => {
    const waits = new Waits(scene)
    await waits.limiter.consume('k')
    waits.wait('refunded')
    await waits.settled()
    await waits.limiter.refund('k', 1)
    expect(await waits.settled()).toEqual(['refunded'])
    waits.wait('reset')
    await waits.settled()
    await waits.limiter.reset('k')
    expect(await waits.settled()).toEqual(['reset'])
    waits.wait('policy')
    await waits.settled()
    waits.limiter.setPolicy({ limit: 10, burst: 5 })
    expect(await waits.settled()).toEqual(['policy'])
  })

  test('a block is waited out', async () => {
    const waits = new Waits(scene)
    await waits.limiter.block('k', 750)
    waits.wait('a')
    expect(await waits.playUntil(1000, 250)).toEqual({ a: 750 })
  })

  test('an own clock of the machine', async () => {
    const limiter = scene.openReal({ limit: 1, windowMs: 30 })
    const sinceMs = performance.now()
    for (let i = 0; i < 3; i++) expect(await limiter.wait('k')).toMatchObject({ allowed: true })
    expect(performance.now() - sinceMs).toBeGreaterThan(55)
  })
})

describe('giving up', () => {
  test('abort: the reason; the place is free, and nothing was spent', async () => {
    const waits = new Waits(scene)
    const controller = new AbortController()
    const reason = new Error('enough')
    waits.wait('a')
    await waits.settled()
    const aborted = waits.wait('b', { signal: controller.signal })
    waits.wait('c')
    await waits.advance(50)
    controller.abort(reason)
    expect(await reasonOf(aborted)).toBe(reason)
    await waits.settled()
    expect(await waits.advance(49.999)).toEqual([])
    expect(await waits.advance(0.001)).toEqual(['c'])
  })

  test('an abort that came before: nothing is asked', async () => {
    const waits = new Waits(scene)
    const reason = new Error('too late')
    expect(await reasonOf(waits.wait('a', { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(await waits.left()).toBe(1)
    expect(await scene.keys()).toEqual([])
  })

  test('who was admitted when nobody waited any more gives it back', async () => {
    const waits = new Waits(scene, { burst: 3, limit: 1, windowMs: 60_000 })
    const controller = new AbortController()
    const aborted = waits.wait('a', { signal: controller.signal }, 2)
    // On its way.
    await new Promise((resolve) => process.nextTick(resolve))
    controller.abort()
    expect(await reasonOf(aborted)).toMatchObject({ name: 'AbortError' })
    await waits.settled()
    expect(await waits.left()).toBe(3)
  })

  test('maxWaitMs: told at once where it is known to be too short, and admitted where it is not', async () => {
    const waits = new Waits(scene)
    waits.wait('a')
    await waits.settled()
    const reason = await reasonOf(waits.wait('b', { maxWaitMs: 99.999 }))
    expect(reason).toBeInstanceOf(RangeError)
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
    expect(await waits.settled()).toEqual(['b: ERR_SLUICE_WAIT_TIMEOUT'])
    waits.wait('c', { maxWaitMs: 100 })
    expect(await waits.playUntil(100, 50)).toEqual({ c: 100 })
  })

  test('maxWaitMs in the queue: told when it is over', async () => {
    const waits = new Waits(scene)
    await waits.limiter.consume('k')
    waits.wait('a')
    waits.wait('b', { maxWaitMs: 150 })
    waits.wait('c')
    expect(await waits.playUntil(250, 25)).toEqual({ a: 100, 'b: ERR_SLUICE_WAIT_TIMEOUT': 100, c: 200 })
  })

  test('maxWaitMs 0 tries once', async () => {
    const waits = new Waits(scene)
    expect(await waits.wait('a', { maxWaitMs: 0 })).toMatchObject({ allowed: true })
    expect(await reasonOf(waits.wait('b', { maxWaitMs: 0 }))).toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
    expect(await waits.left()).toBe(0)
  })

  test('maxWaitMs 0 tries once, however long that takes', async () => {
    const limiter = scene.openReal({ limit: 5, windowMs: 86_400_000 })
    await limiter.allow('k')
    scene.server.pause()
    const wait = limiter.wait('k', 1, { maxWaitMs: 0 })
    setTimeout(() => scene.server.resume(), 60)
    expect(await wait).toMatchObject({ allowed: true, remaining: 3, source: 'exact' })
  })

  test('more than can ever be admitted', async () => {
    const waits = new Waits(scene, { burst: 5 })
    expect(await reasonOf(waits.wait('a', {}, 6))).toMatchObject({
      code: 'ERR_SLUICE_TOO_COSTLY',
      name: 'RangeError',
    })
    expect(await waits.left()).toBe(5)
  })

  test('a full queue', async () => {
    const waits = new Waits(scene, { maxWaiters: 2 })
    await waits.limiter.consume('k')
    waits.wait('a')
    waits.wait('b')
    expect(await reasonOf(waits.wait('c', {}, 1, 'other'))).toMatchObject({ code: 'ERR_SLUICE_QUEUE_FULL' })
    await waits.settled()
    expect(await waits.playUntil(250, 50)).toEqual({ a: 100, b: 200 })
    expect(await waits.wait('d', {}, 1, 'other')).toMatchObject({ allowed: true })
  })

  test('close', async () => {
    const waits = new Waits(scene)
    await waits.limiter.consume('k')
    waits.wait('a')
    waits.wait('b')
    await waits.settled()
    await waits.limiter.close()
    expect(await waits.settled()).toEqual(['a: ERR_SLUICE_CLOSED', 'b: ERR_SLUICE_CLOSED'])
    expect(watchersOf(scene.clock).size).toBe(0)
  })
})

describe('of other algorithms', () => {
  test('a leaky bucket books a place, and the promise resolves when the call may go out', async () => {
    const waits = new Waits(scene, { algorithm: 'leaky-bucket', burst: undefined as never, queue: 2 })
    for (const name of ['a', 'b', 'c', 'd']) waits.wait(name)
    expect(await waits.settled()).toEqual(['a'])
    expect(await waits.left()).toBe(0)
    expect(await waits.playUntil(350, 50)).toEqual({ b: 100, c: 200, d: 300 })
  })

  test('a leaky bucket: who would be held back for longer than maxWaitMs is not booked', async () => {
    const waits = new Waits(scene, { algorithm: 'leaky-bucket', burst: undefined as never, queue: 5 })
    await waits.limiter.consume('k', 2)
    expect(await reasonOf(waits.wait('a', { maxWaitMs: 199 }))).toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
    expect(await waits.left()).toBe(4)
    waits.wait('b', { maxWaitMs: 200 })
    expect(await waits.playUntil(200, 100)).toMatchObject({ b: 200 })
  })

  test.each<[string, Partial<RedisLimiterOptions>, number]>([
    ['fixed window', { algorithm: 'fixed-window', limit: 2 }, 1000],
    ['sliding log', { algorithm: 'sliding-log', limit: 2 }, 1000],
    ['fixed window that begins with less', { algorithm: 'fixed-window', limit: 4, initial: 2 }, 1000],
    ['token bucket that begins with less', { limit: 4, burst: 4, initial: 2 }, 500],
  ])('a %s', async (_, options, dueMs) => {
    const waits = new Waits(scene, { burst: undefined as never, ...options })
    await waits.limiter.consume('k', 2)
    waits.wait('a', {}, 2)
    expect(await waits.playUntil(1500, 250)).toEqual({ a: dueMs })
  })

  test.each<[string, Partial<RedisLimiterOptions>, number]>([
    ['fixed window', { algorithm: 'fixed-window', limit: 4, initial: 1 }, 1000],
    ['token bucket', { limit: 4, burst: 4, initial: 1 }, 500],
  ])('a new key of a %s that begins with too little', async (_, options, dueMs) => {
    const waits = new Waits(scene, { burst: undefined as never, ...options })
    waits.wait('a', {}, 3)
    expect(await waits.playUntil(2500, 250)).toEqual({ a: dueMs })
  })

  test('a refusal of one who waits is no offence', async () => {
    const waits = new Waits(scene, { escalate: { blockMs: [5000], forgetMs: 60_000 } })
    await waits.limiter.consume('k')
    waits.wait('a')
    waits.wait('b')
    expect(await waits.playUntil(300, 50)).toEqual({ a: 100, b: 200 })
  })

  test('places: as soon as one is released here, and soon after it is released elsewhere', async () => {
    const options = {
      algorithm: 'concurrency',
      limit: 1,
      holdMs: 60_000,
      windowMs: undefined,
      burst: undefined,
    }
    const waits = new Waits(scene, options as never)
    const other = scene.open({ client: elsewhere, ...options } as never)
    const held = await waits.limiter.acquire('k')
    const lease = waits.note('a', waits.limiter.waitForLease('k'))
    waits.note('b', waits.limiter.waitForLease('k', 1, { maxWaitMs: 1000 }))
    expect(await waits.settled()).toEqual([])
    await held.release()
    expect(await waits.settled()).toEqual(['a'])
    await (await lease).release()
    expect(await waits.settled()).toEqual(['b'])
    await scene.redis.del(`${scene.prefix}:{k}`)
    const far = await other.acquire('k')
    waits.note('c', waits.limiter.waitForLease('k'))
    expect(await waits.advance(20)).toEqual([])
    await far.release()
    expect(await waits.advance(10)).toEqual(['c'])
  })

  test('places: who gives up in the moment of being admitted gives it back', async () => {
    const options = {
      algorithm: 'concurrency',
      limit: 1,
      holdMs: 60_000,
      windowMs: undefined,
      burst: undefined,
    }
    const waits = new Waits(scene, options as never)
    const controller = new AbortController()
    const aborted = waits.limiter.waitForLease('k', 1, { signal: controller.signal })
    await new Promise((resolve) => process.nextTick(resolve))
    controller.abort()
    expect(await reasonOf(aborted)).toMatchObject({ name: 'AbortError' })
    await waits.settled()
    expect(await waits.left()).toBe(1)
  })
})

describe('of a set', () => {
  function twoLimits(options: Partial<RedisLimiterOptions> = {}): {
    waits: Waits
    set: RedisLimitSet
    slow: RedisLimiter
  } {
    const prefix = `{${scene.prefix}}`
    const waits = new Waits(scene, { prefix: `${prefix}fast`, ...options })
    const slow = scene.open({ prefix: `${prefix}slow`, limit: 2, windowMs: 1000, burst: 2 })
    return { waits, set: new RedisLimitSet([waits.limiter, { name: 'slow', limiter: slow }]), slow }
  }

  test('until all admit it; nothing is spent before', async () => {
    const { waits, set, slow } = twoLimits()
    for (const name of ['a', 'b', 'c', 'd']) waits.note(name, set.wait('k'))
    expect(await waits.settled()).toEqual(['a'])
    expect(await waits.playUntil(1100, 50)).toEqual({ b: 100, c: 500, d: 1000 })
    expect((await slow.peek('k')).remaining).toBe(0)
  })

  test('who gives up has spent nowhere', async () => {
    const { waits, set, slow } = twoLimits()
    const controller = new AbortController()
    const aborted = set.wait(['a', 'b'], 1, { signal: controller.signal })
    await new Promise((resolve) => process.nextTick(resolve))
    controller.abort()
    expect(await reasonOf(aborted)).toMatchObject({ name: 'AbortError' })
    await waits.settled()
    expect([await waits.left('a'), (await slow.peek('b')).remaining]).toEqual([1, 2])
    await set.consume(['a', 'b'])
    expect(await reasonOf(set.wait(['a', 'b'], 1, { maxWaitMs: 99 }))).toMatchObject({
      code: 'ERR_SLUICE_WAIT_TIMEOUT',
    })
    expect(await reasonOf(set.wait(['a', 'b'], 5))).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
    expect((await slow.peek('b')).remaining).toBe(1)
  })

  test('a refund of the set wakes who waits', async () => {
    const { waits, set } = twoLimits()
    await set.consume('k')
    waits.note('a', set.wait('k'))
    await waits.settled()
    await set.refund('k')
    expect(await waits.settled()).toEqual(['a'])
  })

  test('close of a member tells who waits', async () => {
    const { waits, set, slow } = twoLimits()
    await set.consume('k')
    waits.note('a', set.wait('k'))
    await waits.settled()
    await slow.close()
    expect(await waits.settled()).toEqual(['a: ERR_SLUICE_CLOSED'])
    expect(await waits.left()).toBe(0)
    expect(await waits.advance(100)).toEqual([])
    expect(await waits.left()).toBe(1)
  })

  test('another policy of a member counts for who waits already', async () => {
    const { waits, set } = twoLimits()
    await set.consume('k')
    waits.note('a', set.wait('k'))
    await waits.settled()
    waits.limiter.setPolicy({ limit: 10, burst: 5 })
    expect(await waits.settled()).toEqual(['a'])
    expect(await waits.left()).toBe(3)
  })
})
