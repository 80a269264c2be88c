import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  Limiter,
  type LimiterOptions,
  LimitSet,
  ManualClock,
  type SetKeys,
  type WaitOptions,
} from '../../lib/index'
import { watchersOf } from '../../lib/time/clock'
import { closeScenes, kept, Scene } from './limiter-wait-scene'
import { collectGarbage, reasonOf } from './waiting-fakes'

afterEach(() => {
  vi.useRealTimers()
  closeScenes()
})

/** A set of two limits on one clock: `limiter`, which is for users, and `all`. */
class SetScene extends Scene {
  readonly all: Limiter
  readonly set: LimitSet

  constructor(all: Partial<LimiterOptions> = {}, users: Partial<LimiterOptions> = {}) {
    super({ burst: 1, ...users })
    this.all = kept(
      new Limiter({ limit: 100, windowMs: 1000, maxKeys: 10, clock: this.clock, ...all } as LimiterOptions),
    )
    this.set = new LimitSet([
      { name: 'user', limiter: this.limiter },
      { name: 'all', limiter: this.all },
    ])
  }

  join(name: string, keys: SetKeys = ['k', 'all'], options?: WaitOptions, costs?: number | number[]) {
    return this.note(name, this.set.wait(keys, costs, options))
  }
}

describe('wait of a set', () => {
  test('until all admit; first come, first served; nothing is spent meanwhile', async () => {
    const scene = new SetScene({ limit: 4, burst: 3 })
    for (const name of ['a', 'b', 'c', 'd', 'e']) scene.join(name)
    // A user has a token every 100 ms; all together three, and then one every 250.
    expect(await scene.playUntil(600, 5)).toEqual({ a: 0, b: 100, c: 200, d: 300, e: 500 })
    expect(watchersOf(scene.clock).size).toBe(0)
    expect(scene.all.stats().allowed).toBe(5)
  })

  test('resolves with what consume says', async () => {
    const scene = new SetScene()
    const decision = await scene.set.wait(['k', 'all'], [1, 30])
    expect(decision).toMatchObject({
      allowed: true,
      remaining: 0,
      decisions: { all: { remaining: 70, consumed: 30 } },
    })
  })

  test('a large cost is not starved by those of the same keys', async () => {
    const scene = new SetScene({}, { burst: 3 })
    scene.join('all three', undefined, {}, 3)
    scene.join('large', undefined, {}, [3, 1])
    scene.join('small')
    expect(await scene.playUntil(500, 50)).toEqual({ 'all three': 0, large: 300, small: 400 })
  })

  test('other keys do not wait behind', async () => {
    const scene = new SetScene()
    for (const name of ['a', 'b']) scene.join(name)
    scene.join('other', ['l', 'all'])
    expect(await scene.settled()).toEqual(['a', 'other'])
  })

  test('maxWaitMs, by the longest wait of those that refuse; too costly names cost and capacity', async () => {
    const scene = new SetScene({ limit: 5, burst: 1 })
    scene.join('a')
    scene.join('late', undefined, { maxWaitMs: 199.999 })
    scene.join('b', undefined, { maxWaitMs: 200 })
    expect(await scene.settled()).toEqual(['a', 'late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(await scene.advance(200)).toEqual(['b'])
    const reason = await reasonOf(scene.set.wait(['l', 'all'], [1, 7]))
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
    expect(String(reason)).toMatch(/\b7\b.*\b1\b/)
  })

  test('abort and priority', async () => {
    const scene = new SetScene()
    const controller = new AbortController()
    scene.join('a')
    scene.join('b', undefined, { signal: controller.signal })
    scene.join('c')
    scene.join('urgent', undefined, { priority: 1 })
    controller.abort('off')
    expect(await scene.settled()).toEqual(['a', 'b: off'])
    expect(await scene.playUntil(200, 50)).toEqual({ urgent: 100, c: 200 })
  })

  test('as many as the least maxWaiters of the members', async () => {
    const scene = new SetScene({ maxWaiters: 1 })
    for (const name of ['a', 'b', 'c']) scene.join(name)
    expect(await scene.settled()).toEqual(['a', 'c: ERR_SLUICE_QUEUE_FULL'])
  })

  test('a member that is closed ends the waits at once', async () => {
    const scene = new SetScene()
    for (const name of ['a', 'b', 'c']) scene.join(name)
    scene.join('d', ['l', 'all'])
    scene.join('e', ['l', 'all'])
    expect(await scene.settled()).toEqual(['a', 'd'])
    scene.all.close()
    expect((await scene.settled()).sort()).toEqual(
      ['b', 'c', 'e'].map((name) => `${name}: ERR_SLUICE_CLOSED`),
    )
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('refund of the set and a new policy of a member are noticed at once', async () => {
    const scene = new SetScene()
    scene.join('a')
    scene.join('b')
    await scene.settled()
    scene.set.refund(['k', 'all'], 1)
    expect(await scene.settled()).toEqual(['b'])
    scene.join('c', undefined, {}, [1, 1])
    await scene.settled()
    scene.limiter.setPolicy({ limit: 1000 })
    expect(await scene.playUntil(110, 1)).toEqual({ c: 1 })
  })

  test('a place of a concurrency member within 10 ms, whoever gives it back', async () => {
    const all: Partial<LimiterOptions> = { algorithm: 'concurrency', limit: 1, holdMs: 60_000 }
    const scene = new SetScene({ ...all, windowMs: undefined } as unknown as LimiterOptions, { burst: 10 })
    const lease = scene.all.acquire('all')
    scene.join('a')
    expect(await scene.advance(1000)).toEqual([])
    lease.release()
    expect(await scene.advance(10)).toEqual(['a'])
  })

  test('arrays that are used again do not change who waits', async () => {
    const scene = new SetScene()
    const bytes = Uint8Array.of(1)
    const keys = [bytes, 'all']
    scene.set.consume(keys)
    scene.join('a', keys)
    keys[1] = 'other'
    bytes[0] = 2
    await scene.settled()
    scene.limiter.refund(Uint8Array.of(1), 1)
    expect(await scene.advance(100)).toEqual(['a'])
    expect(scene.all.peek('all').remaining).toBeLessThan(100)
    expect(scene.all.peek('other').remaining).toBe(100)
  })

  test('bad keys and costs are rejected, never thrown', async () => {
    const scene = new SetScene()
    for (const [keys, costs, code] of [
      [['k'], 1, 'ERR_SLUICE_ARGUMENT_RANGE'],
      [['k', null], 1, 'ERR_SLUICE_KEY_TYPE'],
      [['k', 'all'], [1], 'ERR_SLUICE_ARGUMENT_RANGE'],
      [['k', 'all'], -1, 'ERR_SLUICE_ARGUMENT_RANGE'],
    ] as const)
      expect(await reasonOf(scene.set.wait(keys as unknown as SetKeys, costs as number))).toMatchObject({
        code,
      })
    expect(scene.limiter.stats().keys).toBe(0)
  })

  test('tries are no offences for escalate, and no denials', async () => {
    const escalate = { blockMs: [60_000], forgetMs: 60_000 }
    const scene = new SetScene({ limit: 4, burst: 1, escalate }, { escalate })
    for (const name of ['a', 'b', 'c']) scene.join(name)
    scene.join('late', undefined, { priority: 1, maxWaitMs: 10 })
    expect(await scene.playUntil(500, 50)).toEqual({
      a: 0,
      'late: ERR_SLUICE_WAIT_TIMEOUT': 0,
      b: 250,
      c: 500,
    })
    for (const limiter of [scene.limiter, scene.all])
      expect(limiter.stats()).toMatchObject({ allowed: 3, denied: 0 })
    // Who does not wait is punished.
    expect(scene.set.consume(['k', 'all'])).toMatchObject({ reason: 'blocked' })
  })

  test('a key that is new to a member with `initial` gets what it lacks in time', async () => {
    const scene = new SetScene({ limit: 10, burst: 5, initial: 1, rememberMs: 60_000 })
    scene.join('a', undefined, {}, [1, 3])
    expect(await scene.playUntil(300, 50)).toEqual({ a: 200 })
  })

  test('resolves when the call may go out, by the member that holds it back longest', async () => {
    const scene = new SetScene({ algorithm: 'leaky-bucket', limit: 5, queue: 2 }, { burst: 10, evenly: true })
    for (const name of ['a', 'b', 'c', 'd', 'e']) scene.join(name)
    expect(await scene.playUntil(1000, 50)).toEqual({ a: 0, b: 200, c: 400, d: 600, e: 800 })
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('what would go out too late is told at once, and spends nothing anywhere', async () => {
    const scene = new SetScene({ algorithm: 'leaky-bucket', limit: 5, queue: 2 }, { burst: 10 })
    scene.join('a')
    scene.join('late', undefined, { maxWaitMs: 199.999 })
    expect(await scene.settled()).toEqual(['a', 'late: ERR_SLUICE_WAIT_TIMEOUT'])
    expect(scene.limiter.peek('k').remaining).toBe(9)
    expect(scene.all.peek('all').remaining).toBe(2)
    scene.join('b', undefined, { maxWaitMs: 200 })
    expect(await scene.playUntil(200, 50)).toEqual({ b: 200 })
  })

  test('fake timers drive it', async () => {
    vi.useFakeTimers({ now: 1_700_000_000_000 })
    const clock = () => Date.now()
    const open = (limit: number) => kept(new Limiter({ limit, windowMs: 1000, burst: 1, maxKeys: 10, clock }))
    const set = new LimitSet([open(10), open(4)])
    const times: number[] = []
    for (let i = 0; i < 4; i++) void set.wait('k').then(() => times.push(Date.now() - 1_700_000_000_000))
    await vi.advanceTimersByTimeAsync(1000)
    expect(times).toEqual([0, 250, 500, 750])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('sets that nobody waits in any more are not kept by their members', async () => {
    const clock = new ManualClock()
    const open = () => kept(new Limiter({ limit: 1e6, windowMs: 1000, maxKeys: 10, clock }))
    const members = [open(), open()] as const
    const useSets = async (count: number) => {
      for (let i = 0; i < count; i++) await new LimitSet([...members]).wait('k')
      await new Promise((resolve) => setImmediate(resolve))
      collectGarbage()
      await new Promise((resolve) => setImmediate(resolve))
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    const before = await useSets(500)
    const after = await useSets(2000)
    expect((after - before) / 2000).toBeLessThan(500)
  })
})
