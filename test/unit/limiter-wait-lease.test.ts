import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Lease, Limiter, type LimiterOptions, type WaitOptions } from '../../lib/index'
import { watchersOf } from '../../lib/time/clock'
import { closeScenes, kept, Scene } from './limiter-wait-scene'
import { freshName, removeRegions } from './regions'
import { reasonOf } from './waiting-fakes'

const library = join(__dirname, '..', '..', 'dist', 'index.js')
const HOLD_MS = 12_000
const leases: Partial<LimiterOptions> = { algorithm: 'concurrency', limit: 2 }

afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
  closeScenes()
  removeRegions()
})

/** Without windowMs, which leases do not have. */
class LeaseScene extends Scene {
  constructor(options: Partial<LimiterOptions> = {}) {
    super({ ...leases, windowMs: undefined, holdMs: HOLD_MS, ...options } as Partial<LimiterOptions>)
  }

  lease(name: string, cost?: number, options?: WaitOptions): Promise<Lease> {
    return this.note(name, this.limiter.waitForLease('k', cost, options))
  }
}

describe('waitForLease', () => {
  test('one after the other, as leases are released; a large one is not starved', async () => {
    const scene = new LeaseScene()
    const [a, b] = [await scene.lease('a'), await scene.lease('b')]
    const large = scene.lease('large', 2)
    const small = scene.lease('small')
    expect(await scene.settled()).toEqual(['a', 'b'])
    expect(a.release()).toBe(true)
    expect(await scene.settled()).toEqual([])
    expect(b.release()).toBe(true)
    expect(await scene.settled()).toEqual(['large'])
    expect((await large).release()).toBe(true)
    expect(await scene.settled()).toEqual(['small'])
    expect((await small).release()).toBe(true)
    expect(scene.limiter.peek('k').remaining).toBe(2)
    expect(watchersOf(scene.clock).size).toBe(0)
  })

  test('`using` lets the next one in', async () => {
    const scene = new LeaseScene({ limit: 1 })
    const lease = await scene.lease('a')
    scene.lease('b')
    await scene.settled()
    lease[Symbol.dispose]()
    expect(await scene.settled()).toEqual(['b'])
  })

  test('when they lapse', async () => {
    const scene = new LeaseScene()
    scene.limiter.acquire('k', 2)
    const { retryAfterMs } = scene.limiter.peek('k')
    // At least as long as promised, and at most a twelfth longer.
    expect(retryAfterMs).toBeGreaterThanOrEqual(HOLD_MS)
    expect(retryAfterMs).toBeLessThanOrEqual((HOLD_MS * 13) / 12)
    scene.lease('a')
    expect(await scene.advance(retryAfterMs - 0.001)).toEqual([])
    expect(await scene.advance(0.001)).toEqual(['a'])
  })

  test('maxWaitMs: never given up before it is over, because a lease may be released at any moment', async () => {
    const scene = new LeaseScene({ limit: 1 })
    const held = scene.limiter.acquire('k')
    scene.lease('a', 1, { maxWaitMs: 1000 })
    scene.lease('b', 1, { maxWaitMs: 1000 })
    expect(await scene.advance(999.999)).toEqual([])
    held.release()
    expect(await scene.settled()).toEqual(['a'])
    expect(await scene.advance(0.001)).toEqual(['b: ERR_SLUICE_WAIT_TIMEOUT'])
  })

  test('too costly, full and closed', async () => {
    const scene = new LeaseScene({ maxWaiters: 1 })
    const reason = await reasonOf(scene.limiter.waitForLease('k', 3))
    expect(reason).toMatchObject({ code: 'ERR_SLUICE_TOO_COSTLY' })
    expect(String(reason)).toMatch(/\b3\b.*\b2\b/)
    scene.limiter.acquire('k', 2)
    for (const name of ['a', 'b']) scene.lease(name)
    expect(await scene.settled()).toEqual(['b: ERR_SLUICE_QUEUE_FULL'])
    scene.limiter.close()
    expect(await scene.settled()).toEqual(['a: ERR_SLUICE_CLOSED'])
  })

  test('looking is no denial', async () => {
    const scene = new LeaseScene({ limit: 1 })
    scene.limiter.handle()
    const held = scene.limiter.acquire('k')
    scene.lease('a')
    for (let i = 0; i < 10; i++) await scene.advance(10)
    held.release()
    expect(await scene.settled()).toEqual(['a'])
    expect(scene.limiter.stats()).toMatchObject({ allowed: 2, denied: 0 })
  })

  test('reset and refund let others in', async () => {
    const scene = new LeaseScene({ limit: 1 })
    scene.limiter.consume('k')
    scene.lease('a')
    await scene.settled()
    expect(scene.limiter.refund('k', 1)).toBe(1)
    expect(await scene.settled()).toEqual(['a'])
    scene.lease('b')
    await scene.settled()
    scene.limiter.reset('k')
    expect(await scene.settled()).toEqual(['b'])
  })
})

describe('how often it looks', () => {
  const NOW = 1_700_000_000_000

  /** The times in ms at which it looks while all places are taken. */
  async function looks(prepare: (limiter: Limiter) => Limiter, options: Partial<LimiterOptions> = {}) {
    vi.useFakeTimers({ now: NOW })
    const clock = () => Date.now()
    const made = kept(
      new Limiter({
        algorithm: 'concurrency',
        limit: 1,
        holdMs: HOLD_MS,
        maxKeys: 10,
        clock,
        ...options,
      } as LimiterOptions),
    )
    const limiter = prepare(made)
    limiter.acquire('k')
    const delays = vi.spyOn(globalThis, 'setTimeout')
    const end = reasonOf(limiter.waitForLease('k', 1, { maxWaitMs: 55 }))
    await vi.advanceTimersByTimeAsync(60)
    expect(await end).toMatchObject({ code: 'ERR_SLUICE_WAIT_TIMEOUT' })
    return delays.mock.calls.map(([, delayMs]) => delayMs)
  }

  test('not at all where only this object can give a lease back', async () => {
    expect(await looks((limiter) => limiter)).toEqual([55])
  })

  test('every 10 ms once somebody may be attached', async () => {
    const asked = (limiter: Limiter) => {
      limiter.handle()
      return limiter
    }
    expect(await looks(asked)).toEqual([10, 10, 10, 10, 10, 5])
  })

  test('and if it was attached itself, by handle or by name, or made under a name', async () => {
    const often = [10, 10, 10, 10, 10, 5]
    const clock = () => Date.now()
    expect(await looks((limiter) => kept(Limiter.attach(limiter.handle(), { clock })))).toEqual(often)
    const shared = freshName()
    expect(await looks((limiter) => limiter, { shared })).toEqual(often)
    const other = freshName()
    expect(await looks(() => kept(Limiter.attach(other, { clock })), { shared: other })).toEqual(often)
  })

  test('those who wait already look from the moment a handle is given away', async () => {
    vi.useFakeTimers({ now: NOW })
    const clock = () => Date.now()
    const limiter = kept(
      new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: HOLD_MS, maxKeys: 10, clock }),
    )
    limiter.acquire('k')
    let isIn = false
    void limiter.waitForLease('k').then(() => {
      isIn = true
    })
    await vi.advanceTimersByTimeAsync(100)
    const other = kept(Limiter.attach(limiter.handle(), { clock }))
    expect(other.refund('k', 1, 100)).toBe(1)
    await vi.advanceTimersByTimeAsync(9)
    expect(isIn).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(isIn).toBe(true)
  })
})

describe('another thread', () => {
  test('that releases its lease lets this one in', async () => {
    const limiter = kept(new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: 600_000, maxKeys: 10 }))
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       const { Limiter } = require(workerData.library)
       const limiter = Limiter.attach(workerData.handle)
       const lease = limiter.acquire('k')
       parentPort.postMessage(lease.allowed)
       parentPort.once('message', () => {
         parentPort.postMessage(lease.release())
         limiter.close()
       })`,
      { eval: true, workerData: { library, handle: limiter.handle() } },
    )
    const events: string[] = []
    expect(await once(worker, 'message')).toEqual([true])
    const lease = limiter.waitForLease('k').then((given) => {
      events.push('let in')
      return given
    })
    expect(limiter.peek('k').allowed).toBe(false)
    events.push('asks the worker to release')
    worker.postMessage('release')
    expect((await lease).allowed).toBe(true)
    expect(events).toEqual(['asks the worker to release', 'let in'])
    expect((await lease).release()).toBe(true)
    await worker.terminate()
  })
})
