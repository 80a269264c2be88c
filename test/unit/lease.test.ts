import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Lease, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, closeAll, kept, open, PAST_RING_MS, tenOf } from './every-algorithm'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

const released = { type: 'TypeError', code: 'ERR_SLUICE_RELEASED' } as const

/** Three at once, for a second at least. */
function make(more: Partial<LimiterOptions> = {}): Limiter {
  return open({ algorithm: 'concurrency', limit: 3, holdMs: 1000, maxKeys: 100, clock, ...more })
}

function free(limiter: Limiter): number {
  return limiter.peek('k').remaining
}

test('as many as the limit, then none until one is released', () => {
  const limiter = make()
  const leases = [2, 1, 0].map((remaining) => {
    const lease = limiter.acquire('k')
    expect(lease).toMatchObject({ allowed: true, limit: 3, remaining, consumed: 1, reason: 'ok' })
    return lease
  })
  expect(limiter.acquire('k')).toMatchObject({ allowed: false, reason: 'limited', consumed: 0 })
  for (const lease of leases) {
    expect(lease.release()).toBe(true)
    expect(limiter.acquire('k').allowed).toBe(true)
    expect(limiter.acquire('k').allowed).toBe(false)
  }
})

test('a lease shows nothing but the decision', () => {
  const lease = make().acquire('k')
  expect({ ...lease }).toEqual(make().consume('k'))
})

test('several places at once come and go as one', () => {
  const limiter = make()
  const lease = limiter.acquire('k', 2)
  expect(lease).toMatchObject({ allowed: true, consumed: 2, remaining: 1 })
  expect(limiter.acquire('k', 2)).toMatchObject({ allowed: false, reason: 'limited', consumed: 0 })
  expect(limiter.acquire('k', 4)).toMatchObject({ allowed: false, reason: 'too-costly' })
  expect(lease.release()).toBe(true)
  expect(free(limiter)).toBe(3)
})

describe('ends', () => {
  test('once: a second release is an error and gives nothing back', () => {
    const limiter = make()
    const [lease] = [limiter.acquire('k'), limiter.acquire('k')]
    expect(lease.release()).toBe(true)
    expectComplaint(() => lease.release(), { ...released, says: ['release it once'] })
    lease[Symbol.dispose]()
    expect(free(limiter)).toBe(2)
  })

  test('with its block', () => {
    const limiter = make()
    {
      using lease = limiter.acquire('k')
      expect(lease.allowed).toBe(true)
      expect(free(limiter)).toBe(2)
    }
    expect(free(limiter)).toBe(3)
    expect(() => {
      using _ = limiter.acquire('k', 3)
      throw new Error('of the user')
    }).toThrow('of the user')
    expect(free(limiter)).toBe(3)
  })

  test('in its block, and then not again', () => {
    const limiter = make()
    limiter.acquire('k')
    {
      using lease = limiter.acquire('k')
      expect(lease.release()).toBe(true)
    }
    expect(free(limiter)).toBe(2)
    const disposed = limiter.acquire('k')
    disposed[Symbol.dispose]()
    expectComplaint(() => disposed.release(), released)
  })

  test('dispose never throws', () => {
    const limiter = make()
    const lease = limiter.acquire('k', 3)
    const refused = limiter.acquire('k')
    limiter.close()
    for (const end of [lease, refused, lease]) expect(() => end[Symbol.dispose]()).not.toThrow()
  })

  test('release of a closed limiter is ERR_SLUICE_CLOSED', () => {
    const limiter = make()
    const lease = limiter.acquire('k')
    limiter.close()
    expectComplaint(() => lease.release(), { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
  })

  test('a refused one has nothing to give back', () => {
    const limiter = make()
    limiter.acquire('k', 3)
    const refused = limiter.acquire('k')
    expect(refused.release()).toBe(false)
    expectComplaint(() => refused.release(), released)
    refused[Symbol.dispose]()
    expect(free(limiter)).toBe(0)
  })

  test('by itself, after holdMs and up to a twelfth of it, to the microsecond that was told', () => {
    for (const [atMs, lapsesMs] of [
      [0, PAST_RING_MS],
      [83.333, PAST_RING_MS],
      [83.334, 1166.667],
      [1000, 2083.334],
      [1083.333, 2083.334],
      [1083.334, 2166.667],
    ] as const) {
      clock.set(atMs)
      const limiter = make()
      const lease = limiter.acquire('k', 3)
      const { retryAfterMs } = limiter.acquire('k')
      expect(retryAfterMs).toBeCloseTo(lapsesMs - atMs, 9)
      expect(retryAfterMs).toBeGreaterThanOrEqual(1000)
      clock.set(lapsesMs - 0.001)
      expect(free(limiter)).toBe(0)
      clock.set(lapsesMs)
      expect(free(limiter)).toBe(3)
      expect(lease.release()).toBe(false)
      expect(free(limiter)).toBe(3)
      limiter.close()
    }
  })

  test('a lapsed one takes no later one’s place with it', () => {
    const limiter = make()
    const first = limiter.acquire('k', 3)
    clock.set(PAST_RING_MS)
    const second = limiter.acquire('k', 2)
    expect(first.release()).toBe(false)
    expect(free(limiter)).toBe(1)
    expect(second.release()).toBe(true)
    expect(free(limiter)).toBe(3)
  })

  test('one of an age does not take those of another with it', () => {
    const limiter = make()
    const early = limiter.acquire('k')
    clock.set(500)
    const late = limiter.acquire('k', 2)
    expect(early.release()).toBe(true)
    clock.set(PAST_RING_MS)
    expect(free(limiter)).toBe(1)
    clock.set(1583.333)
    expect(free(limiter)).toBe(1)
    expect(late.release()).toBe(true)
    expect(free(limiter)).toBe(3)
  })

  test('after reset its release gives nothing back of what came later', () => {
    const limiter = make()
    const lost = limiter.acquire('k', 2)
    expect(limiter.reset('k')).toBe(true)
    const later = limiter.acquire('k', 2)
    expect(lost.release()).toBe(false)
    expect(free(limiter)).toBe(1)
    expect(later.release()).toBe(true)
  })

  test('a clock that is set back: it still ends, and once', () => {
    clock.set(100_000)
    const limiter = make()
    const lease = limiter.acquire('k', 3)
    clock.set(99_000)
    expect(free(limiter)).toBe(0)
    expect(lease.release()).toBe(true)
    expect(free(limiter)).toBe(3)
    limiter.acquire('k', 3)
    clock.set(1000)
    expect(limiter.acquire('k').retryAfterMs).toBeLessThanOrEqual(PAST_RING_MS)
    clock.advance(PAST_RING_MS)
    expect(free(limiter)).toBe(3)
  })
})

test('a cost of 0 asks, and has nothing to give back', () => {
  const limiter = make()
  const lease = limiter.acquire('k', 0)
  expect(lease).toMatchObject({ allowed: true, consumed: 0, remaining: 3 })
  expect(limiter.stats().keys).toBe(0)
  limiter.acquire('k', 3)
  expect(lease.release()).toBe(false)
  expect(limiter.acquire('k', 0).allowed).toBe(true)
  expect(free(limiter)).toBe(0)
})

test('allow and consume take places too, and refund gives them back', () => {
  const limiter = make()
  expect([limiter.allow('k'), limiter.consume('k').allowed]).toEqual([true, true])
  const lease = limiter.acquire('k')
  expect(limiter.allow('k')).toBe(false)
  expect(limiter.refund('k', 2, 0)).toBe(2)
  expect(lease.release()).toBe(true)
  expect(free(limiter)).toBe(3)
})

test('while a key is blocked none is given; those that are held can be released', () => {
  const limiter = make()
  const lease = limiter.acquire('k', 2)
  limiter.block('k', 500)
  expect(limiter.acquire('k')).toMatchObject({ allowed: false, reason: 'blocked', retryAfterMs: 500 })
  expect(lease.release()).toBe(true)
  clock.set(500)
  expect(free(limiter)).toBe(3)
})

test('another user of the limiter has the same places; each releases its own', () => {
  const limiter = make()
  const other = kept(Limiter.attach(limiter.handle(), { clock }))
  const [mine, theirs] = [limiter.acquire('k', 2), other.acquire('k')]
  expect(other.acquire('k').allowed).toBe(false)
  expect(mine.release()).toBe(true)
  expect(free(other)).toBe(2)
  expect(theirs.release()).toBe(true)
  expect(limiter.stats()).toMatchObject({ allowed: 2, denied: 1 })
})

test('tiers share the places', () => {
  const limiter = make({ tiers: { paid: { limit: 5 } } })
  const leases: Lease[] = [limiter.acquire('k', 3), limiter.tier('paid').acquire('k', 2)]
  expect(limiter.tier('paid').acquire('k').allowed).toBe(false)
  expect(leases[0]?.release()).toBe(true)
  expect(free(limiter)).toBe(1)
  expect(leases[1]?.release()).toBe(true)
  expect(limiter.tier('paid').peek('k').remaining).toBe(5)
})

test.each(ALGORITHMS.filter((name) => name !== 'concurrency'))('%s gives none', (algorithm) => {
  const limiter = open(tenOf(algorithm, { clock }))
  expectComplaint(() => limiter.acquire('k'), {
    type: 'RangeError',
    code: 'ERR_SLUICE_UNSUPPORTED',
    says: ['acquire', `'${algorithm}'`, 'use consume'],
  })
  expect(limiter.stats().keys).toBe(0)
})

test('bad arguments take no place', () => {
  const limiter = make()
  for (const cost of [-1, 1.5, Number.NaN, 2 ** 53])
    expectComplaint(() => limiter.acquire('k', cost), {
      type: 'RangeError',
      code: 'ERR_SLUICE_ARGUMENT_RANGE',
      says: ['cost', String(cost)],
    })
  for (const cost of [null, '1', {}])
    expectComplaint(() => limiter.acquire('k', cost as never), {
      type: 'TypeError',
      code: 'ERR_SLUICE_ARGUMENT_TYPE',
    })
  expectComplaint(() => limiter.acquire(null as never), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE' })
  expectComplaint(() => limiter.acquire(1.5), { type: 'RangeError', code: 'ERR_SLUICE_KEY_RANGE' })
  expect(limiter.stats().keys).toBe(0)
})

test('a key of any kind can be held, and a byte array may change afterwards', () => {
  const limiter = make()
  for (const key of ['', 'ключ', 7, -7, new Uint8Array([1, 2])]) {
    expect(limiter.acquire(key, 3).release()).toBe(true)
  }
  const bytes = new Uint8Array([1, 2])
  const lease = limiter.acquire(bytes, 3)
  bytes.fill(9)
  expect(lease.release()).toBe(true)
  expect(limiter.peek(new Uint8Array([1, 2])).remaining).toBe(3)
})

test('a clock function that comes back in the middle of a release gives nothing back twice', () => {
  let again: (() => unknown) | undefined
  const limiter = kept(
    new Limiter({
      algorithm: 'concurrency',
      limit: 10,
      holdMs: 1e6,
      maxKeys: 10,
      clock: () => {
        const comeBack = again
        again = undefined
        if (comeBack !== undefined) expect(comeBack).toThrow()
        return 0
      },
    }),
  )
  limiter.acquire('k', 5)
  const lease = limiter.acquire('k', 5)
  again = () => lease.release()
  expect(lease.release()).toBe(true)
  expect(limiter.peek('k').remaining).toBe(5)
})
