import { afterEach, describe, expect, test } from 'vitest'
import { Denials, type DenialsOptions } from '../../lib/redis/denials'
import type { Reply } from '../../lib/redis/scripts'
import { ManualClock } from '../../lib/testing'
import { expectComplaint } from './coded'

const opened: Denials[] = []
afterEach(() => {
  for (const denials of opened.splice(0)) denials.close()
})

function open(options: Partial<DenialsOptions> = {}): Denials {
  const denials = new Denials({ maxKeys: 1000, maxAgeMs: 1000, ...options })
  opened.push(denials)
  return denials
}

function limited(retryAfterMs: number, resetAfterMs = retryAfterMs): Reply {
  return { outcome: 1, remaining: 0, retryAfterMs, resetAfterMs, delayMs: 0, amount: 0 }
}

function blocked(retryAfterMs: number, resetAfterMs = retryAfterMs): Reply {
  return { ...limited(retryAfterMs, resetAfterMs), outcome: 3 }
}

describe('what is noted', () => {
  test('a denial is known until it is over, to the microsecond', () => {
    const clock = new ManualClock(5000)
    const denials = open({ clock })
    denials.note(0, 1, 'k', limited(600.007, 59_000.25))
    expect(denials.find(0, 1, 'k', 100)).toEqual({
      allowed: false,
      limit: 100,
      remaining: 0,
      retryAfterMs: 600.007,
      resetAfterMs: 59_000.25,
      consumed: 0,
      delayMs: 0,
      reason: 'limited',
      source: 'cache',
    })
    clock.advance(600.006)
    expect(denials.find(0, 1, 'k', 100)).toMatchObject({ retryAfterMs: 0.001, resetAfterMs: 58_400.244 })
    expect(denials.isDenied(0, 1, 'k')).toBe(true)
    clock.advance(0.001)
    expect(denials.find(0, 1, 'k', 100)).toBeUndefined()
    expect(denials.isDenied(0, 1, 'k')).toBe(false)
  })

  test('a block says so', () => {
    const clock = new ManualClock()
    const denials = open({ clock })
    denials.note(0, 1, 'k', blocked(500, 700))
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({
      reason: 'blocked',
      retryAfterMs: 500,
      resetAfterMs: 700,
    })
    denials.note(0, 1, 'k', limited(400, 900))
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({
      reason: 'limited',
      retryAfterMs: 400,
      resetAfterMs: 900,
    })
  })

  test('what lasts longer than maxAgeMs is believed for maxAgeMs, and tells the whole wait', () => {
    const clock = new ManualClock()
    const denials = open({ clock, maxAgeMs: 250 })
    denials.note(0, 1, 'k', blocked(1e12, 2e12))
    clock.advance(249.999)
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({
      retryAfterMs: 1e12 - 249.999,
      resetAfterMs: 2e12 - 249.999,
    })
    clock.advance(0.001)
    expect(denials.find(0, 1, 'k', 1)).toBeUndefined()
    denials.note(0, 1, 'k', blocked(10_000))
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({ retryAfterMs: 10_000 })
  })

  test('a reply that was long under way is not believed for longer than it is true', () => {
    const clock = new ManualClock()
    const denials = open({ clock })
    denials.note(0, 1, 'k', limited(50, 80), 20)
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({ retryAfterMs: 30, resetAfterMs: 60 })
    denials.note(0, 1, 'old', limited(50), 49.5)
    expect(denials.find(0, 1, 'old', 1)).toBeUndefined()
    denials.note(0, 1, 'aged', limited(60_000), 400)
    clock.advance(599)
    expect(denials.isDenied(0, 1, 'aged')).toBe(true)
    clock.advance(1)
    expect(denials.isDenied(0, 1, 'aged')).toBe(false)
  })

  test.each([
    ['admitted', { ...limited(100), outcome: 0 }],
    ['too costly', { ...limited(Number.POSITIVE_INFINITY), outcome: 2 }],
    ['unreadable', { ...limited(100), outcome: 6 }],
    ['shorter than a millisecond', limited(0.999)],
    ['not a time', limited(Number.NaN)],
  ])('nothing that is %s', (_, reply) => {
    const denials = open({ clock: new ManualClock() })
    denials.note(0, 1, 'k', reply)
    expect(denials.find(0, 1, 'k', 1)).toBeUndefined()
  })

  test('a millisecond is enough', () => {
    const denials = open({ clock: new ManualClock() })
    denials.note(0, 1, 'k', limited(1))
    expect(denials.isDenied(0, 1, 'k')).toBe(true)
  })
})

describe('whose denial it is', () => {
  const keys = ['5', 5, Uint8Array.of(5), '', '{5}', 'n{5}', '\ud83d', '0:1:{5}']

  test('of one key, one policy and one cost', () => {
    const denials = open({ clock: new ManualClock() })
    for (const [key, policy, cost] of [
      ['5', 0, 1],
      [5, 1, 1],
      ['5', 0, 2],
      [keys[2], 2, 1],
      ['\ud83d', 12, 3],
    ] as [string, number, number][]) {
      denials.note(policy, cost, key, limited(100))
      for (const other of keys) {
        for (const [otherPolicy, otherCost] of [
          [0, 1],
          [1, 1],
          [0, 2],
          [2, 1],
          [12, 3],
          [1, 23],
          [0, 0],
        ] as const) {
          const isIt = key === other && policy === otherPolicy && cost === otherCost
          expect(denials.isDenied(otherPolicy, otherCost, other as string)).toBe(isIt)
        }
      }
      denials.forget(key)
    }
  })

  test('forget knows all policies and costs of a key, and leaves others alone', () => {
    const denials = open({ clock: new ManualClock() })
    const variants = [
      [0, 1],
      [0, 7],
      [3, 1],
      [3, 7],
    ] as const
    for (const key of keys)
      for (const [policy, cost] of variants) denials.note(policy, cost, key, limited(100))
    for (const [i, key] of keys.entries()) {
      denials.forget(key)
      for (const [j, other] of keys.entries()) {
        for (const [policy, cost] of variants) expect(denials.isDenied(policy, cost, other)).toBe(j > i)
      }
    }
    denials.forget('never seen')
  })

  test('forgetAll forgets all, and then notes again', () => {
    const denials = open({ clock: new ManualClock() })
    denials.forgetAll()
    for (const key of keys) for (const policy of [0, 1]) denials.note(policy, 1, key, limited(100))
    denials.forgetAll()
    for (const key of keys) for (const policy of [0, 1]) expect(denials.isDenied(policy, 1, key)).toBe(false)
    denials.note(0, 1, '5', limited(100))
    expect(denials.isDenied(0, 1, '5')).toBe(true)
    expect(denials.isDenied(0, 1, 5)).toBe(false)
  })

  test('any number of different costs: late ones are known, and forgotten with the key', () => {
    const denials = open({ clock: new ManualClock() })
    denials.note(0, 1, 'k', limited(100))
    for (let cost = 2; cost < 1000; cost++) {
      denials.note(0, cost, 'k', limited(100 + cost))
      expect(denials.find(0, cost, 'k', 1)).toMatchObject({ retryAfterMs: 100 + cost })
    }
    expect(denials.isDenied(0, 1, 'k')).toBe(true)
    denials.forget('k')
    for (let cost = 1; cost < 1000; cost++) expect(denials.isDenied(0, cost, 'k')).toBe(false)
    // Costs that were too many to be forgotten one by one do not come back with another key.
    for (let cost = 2; cost < 1000; cost++) {
      denials.note(0, cost, 'other', limited(100))
      expect(denials.isDenied(0, cost, 'k')).toBe(false)
    }
  })
})

test('more denials than maxKeys: the latest are known, and none as that of another key', () => {
  const denials = open({ clock: new ManualClock(), maxKeys: 100 })
  for (let i = 0; i < 5000; i++) {
    denials.note(0, 1, i, limited(10 + i))
    expect(denials.find(0, 1, i, 1)?.retryAfterMs).toBe(10 + i)
  }
  let known = 0
  for (let i = 0; i < 5000; i++) {
    const decision = denials.find(0, 1, i, 1)
    if (decision === undefined) continue
    known++
    expect(decision.retryAfterMs).toBe(10 + i)
  }
  expect(known).toBeGreaterThan(50)
  expect(known).toBeLessThanOrEqual(100)
})

test('in flight together, the calls of one key take one place', () => {
  const denials = open({ clock: new ManualClock(), maxKeys: 100 })
  denials.note(0, 1, 'first', limited(100))
  for (let i = 0; i < 1000; i++) denials.note(0, 1, 'hot', limited(100))
  expect(denials.isDenied(0, 1, 'first')).toBe(true)
})

test('without a clock, real time passes', async () => {
  const denials = open({ maxAgeMs: 30 })
  denials.note(0, 1, 'k', limited(60_000))
  const decision = denials.find(0, 1, 'k', 1)
  expect(decision === undefined || decision.retryAfterMs <= 60_000).toBe(true)
  await new Promise((resolve) => setTimeout(resolve, 35))
  expect(denials.isDenied(0, 1, 'k')).toBe(false)
})

describe('what may go wrong', () => {
  test('a bad key is refused as by the engine, once anything is noted', () => {
    const denials = open({ clock: new ManualClock() })
    denials.note(0, 1, 'k', limited(100))
    denials.note(1, 1, 'k', limited(100))
    for (const policy of [0, 1]) {
      expectComplaint(() => denials.find(policy, 1, null as never, 1), {
        type: 'TypeError',
        code: 'ERR_SLUICE_KEY_TYPE',
      })
      expectComplaint(() => denials.isDenied(policy, 1, 0.5), {
        type: 'RangeError',
        code: 'ERR_SLUICE_KEY_RANGE',
      })
    }
  })

  test('a clock that fails does so in find, not in note', () => {
    let fails = false
    const denials = open({
      clock: () => {
        if (fails) throw new Error('no time')
        return 0
      },
    })
    denials.note(0, 1, 'k', limited(100))
    fails = true
    denials.note(0, 1, 'other', limited(100))
    expect(() => denials.find(0, 1, 'k', 1)).toThrow('no time')
    fails = false
    expect(denials.isDenied(0, 1, 'k')).toBe(true)
    expect(denials.isDenied(0, 1, 'other')).toBe(false)
  })

  test('a clock that steps back makes no denial longer than it was', () => {
    const clock = new ManualClock(100_000)
    const denials = open({ clock })
    denials.note(0, 1, 'k', limited(500))
    clock.set(95_000)
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({ retryAfterMs: 500 })
    clock.set(0)
    expect(denials.find(0, 1, 'k', 1)).toMatchObject({ retryAfterMs: 500 })
    clock.advance(500)
    expect(denials.isDenied(0, 1, 'k')).toBe(false)
  })

  test('closed, it knows and notes nothing', () => {
    const denials = open({ clock: new ManualClock() })
    denials.note(0, 1, 'k', limited(100))
    denials.close()
    denials.note(0, 1, 'k', limited(100))
    denials.note(1, 1, 'k', limited(100))
    denials.forget('k')
    denials.forgetAll()
    expect(denials.find(0, 1, 'k', 1)).toBeUndefined()
    expect(denials.isDenied(1, 1, 'k')).toBe(false)
    denials.close()
  })
})

/** What is known, told in the plainest way. */
class Model {
  readonly notes = new Map<
    string,
    { at: number; retry: number; reset: number; reason: string; since: number }
  >()
  constructor(readonly maxAgeMs: number) {}

  note(id: string, now: number, reply: Reply): void {
    if ((reply.outcome !== 1 && reply.outcome !== 3) || reply.retryAfterMs < 1) return
    const { retryAfterMs, resetAfterMs } = reply
    const reason = reply.outcome === 3 ? 'blocked' : 'limited'
    const since = this.find(id, now) === undefined ? now : (this.notes.get(id)?.since ?? now)
    this.notes.set(id, { at: now, retry: now + retryAfterMs, reset: now + resetAfterMs, reason, since })
  }

  find(id: string, now: number) {
    const note = this.notes.get(id)
    return note !== undefined && now < Math.min(note.retry, note.at + this.maxAgeMs) ? note : undefined
  }
}

test.each([1, 2, 3])('random schedule %i, against a model', (seed) => {
  let state = seed
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const clock = new ManualClock(-5000)
  const denials = open({ clock })
  const model = new Model(1000)
  const keys = ['a', 'b', 7, '7', Uint8Array.of(7), '']
  const variants = [
    [0, 1],
    [0, 1],
    [0, 2],
    [1, 1],
    [2, 5],
  ] as const
  let hits = 0
  for (let step = 0; step < 8000; step++) {
    clock.advance(next(4) === 0 ? next(400) : next(40) / 8)
    const now = clock.now()
    const keyIndex = next(keys.length)
    const key = keys[keyIndex] as string
    const [policy, cost] = variants[next(variants.length)] as readonly [number, number]
    const id = `${keyIndex}/${policy}/${cost}`
    const action = next(100)
    if (action < 35) {
      const retry = next(next(3) === 0 ? 5000 : 300) / 8
      const reply = {
        ...limited(retry, retry + next(5000) / 8),
        outcome: [0, 1, 1, 1, 2, 3][next(6)] as number,
      }
      denials.note(policy, cost, key, reply)
      model.note(id, now, reply)
    } else if (action < 38) {
      denials.forget(key)
      for (const known of model.notes.keys()) if (known.startsWith(`${keyIndex}/`)) model.notes.delete(known)
    } else if (action === 38) {
      denials.forgetAll()
      model.notes.clear()
    }
    const decision = denials.find(policy, cost, key, 9)
    const expected = model.find(id, now)
    expect(denials.isDenied(policy, cost, key)).toBe(decision !== undefined)
    // What is noted again and again, while it is in force, is forgotten at some time after ten seconds.
    if (decision === undefined && expected !== undefined && now - expected.since >= 10_000) continue
    if (decision !== undefined) hits++
    expect(decision && [decision.retryAfterMs, decision.resetAfterMs, decision.reason]).toEqual(
      expected && [expected.retry - now, expected.reset - now, expected.reason],
    )
  }
  expect(hits).toBeGreaterThan(800)
})
