import { afterEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { MAX_BALANCE, Purse, type PurseOptions } from '../../lib/limiter/purse'
import { loadNative } from '../../lib/native/load'
import { expectComplaint } from './coded'
import { freshName, held, regionsLeft, removeRegions } from './regions'

const opened: { close(): void }[] = []

afterEach(() => {
  for (const each of opened.splice(0)) each.close()
  removeRegions()
})

function kept<T extends { close(): void }>(made: T): T {
  opened.push(made)
  return made
}

function open(more: Partial<PurseOptions> = {}): Purse {
  return kept(new Purse({ maxKeys: 100, leaseMs: 100, clock: new ManualClock(), ...more }))
}

describe('a purse', () => {
  test('gives what was granted, and no more', () => {
    const purse = open()
    expect(purse.balance('a')).toBe(0)
    expect(purse.take('a')).toBe(false)
    expect(purse.grant('a', 5, 100)).toBe(5)
    expect(purse.take('a', 6)).toBe(false)
    expect(purse.take('a', 3)).toBe(true)
    expect(purse.balance('a')).toBe(2)
    expect(purse.take('b')).toBe(false)
    expect([purse.take('a'), purse.take('a'), purse.take('a')]).toEqual([true, true, false])
    expect(purse.drain('a')).toBe(0)
  })

  test('lapses when the grant does', () => {
    const clock = new ManualClock(1e12)
    const purse = open({ clock })
    purse.grant('a', 5, 40)
    clock.advance(39.999)
    expect(purse.balance('a')).toBe(5)
    expect(purse.take('a')).toBe(true)
    clock.advance(0.001)
    expect(purse.balance('a')).toBe(0)
    expect(purse.take('a')).toBe(false)
    expect(purse.drain('a')).toBe(0)
    purse.grant('a', 3, 100)
    expect(purse.balance('a')).toBe(3)
  })

  test('adds up grants, which lapse together at the latest time', () => {
    const clock = new ManualClock()
    const purse = open({ clock })
    purse.grant('a', 5, 80)
    clock.set(50)
    purse.grant('a', 2, 10)
    clock.set(79.5)
    expect(purse.balance('a')).toBe(7)
    purse.grant('a', 1, 100)
    clock.set(179)
    expect(purse.balance('a')).toBe(8)
    clock.set(179.5)
    expect(purse.balance('a')).toBe(0)
  })

  test('is never valid for too long, and at most half a millisecond too short', () => {
    const clock = new ManualClock()
    const purse = open({ clock })
    for (let i = 0; i < 2000; i++) {
      const startMs = i * 100 + (i % 997) / 1000
      const validMs = ((i * 37) % 100_000) / 1000
      clock.set(startMs)
      const isValid = purse.grant(i, 1, validMs) === 1
      expect(isValid || validMs < 0.5).toBe(true)
      clock.set(startMs + Math.max(validMs - 0.501, 0))
      expect(purse.balance(i)).toBe(isValid ? 1 : 0)
      clock.set(startMs + validMs)
      expect(purse.balance(i)).toBe(0)
    }
  })

  test.each([0, -1, -1e9, Number.NEGATIVE_INFINITY])('takes no grant that is valid for %d ms', (validMs) => {
    const purse = open()
    expect(purse.grant('a', 5, validMs)).toBe(0)
    expect(purse.balance('a')).toBe(0)
    purse.grant('a', 5, 100)
    expect(purse.grant('a', 5, validMs)).toBe(0)
    expect(purse.balance('a')).toBe(5)
  })

  test.each([100, 101, 1e300, Number.POSITIVE_INFINITY])('takes a grant of %d ms for leaseMs', (validMs) => {
    const clock = new ManualClock()
    const purse = open({ clock })
    purse.grant('a', 5, validMs)
    clock.set(99.999)
    expect(purse.balance('a')).toBe(5)
    clock.set(100)
    expect(purse.balance('a')).toBe(0)
  })

  test('drains all of it, and says how much that was', () => {
    const purse = open()
    purse.grant('a', 7, 100)
    purse.take('a')
    expect(purse.drain('a')).toBe(6)
    expect(purse.drain('a')).toBe(0)
    expect(purse.take('a', 0)).toBe(false)
    expect(purse.grant('a', 2 ** 53 - 1, 100)).toBe(MAX_BALANCE)
    expect(purse.grant('a', 1, 100)).toBe(0)
    expect(purse.balance('a')).toBe(MAX_BALANCE)
    expect(purse.take('a', MAX_BALANCE + 1)).toBe(false)
    expect(purse.drain('a')).toBe(MAX_BALANCE)
  })

  test('tells keys apart as a limiter does', () => {
    const purse = open()
    const keys = ['5', 5, Uint8Array.of(5), '\ud800', '\ufffd', '', -0.5 + 0.5]
    for (const [i, key] of keys.entries()) purse.grant(key, i + 1, 100)
    expect(keys.map((key) => purse.balance(key))).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(keys.map((key) => purse.drain(key))).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  test('claims no place for a key without tokens', () => {
    const name = freshName()
    const clock = new ManualClock()
    const purse = open({ shared: name, clock })
    for (let i = 0; i < 1000; i++) {
      expect(purse.take(`key-${i}`)).toBe(false)
      expect(purse.balance(i)).toBe(0)
      expect(purse.drain(i)).toBe(0)
      expect(purse.grant(i, 5, 0)).toBe(0)
    }
    expect(kept(Limiter.attachTool(name, { clock })).stats()).toMatchObject({ keys: 0, allowed: 0 })
  })

  test('makes room for new keys, of what has lapsed and then of the poorest', () => {
    const clock = new ManualClock()
    const purse = open({ maxKeys: 1, clock })
    for (let i = 0; i < 1000; i++) {
      if (i % 50 === 0) clock.advance(100)
      expect(purse.grant(i, 10, 100)).toBe(10)
      expect(purse.balance(i)).toBe(10)
    }
    clock.advance(100)
    purse.grant('rich', 1000, 100)
    for (let i = 0; i < 1000; i++) expect(purse.grant(i, 10, 100)).toBe(10)
    expect(purse.balance('rich')).toBe(1000)
  })

  test('runs on the clock of the machine', () => {
    const purse = open({ clock: undefined, leaseMs: 3_600_000 })
    purse.grant('a', 100_000, 3_600_000)
    let taken = 0
    while (purse.take('a', 7)) taken += 7
    expect(taken).toBe(99_995)
    expect(purse.drain('a')).toBe(5)
  })

  test('asks a clock function at each call', () => {
    let nowMs = 5
    const calls: ((purse: Purse) => unknown)[] = [
      (purse) => purse.take('a'),
      (purse) => purse.balance('a') > 0,
      (purse) => purse.drain('a') > 0,
    ]
    for (const call of calls) {
      nowMs = 5
      const purse = open({ clock: () => nowMs })
      purse.grant('a', 5, 100)
      nowMs = 104
      expect(call(purse)).toBe(true)
      purse.grant('a', 5, 100)
      nowMs = 204
      expect(call(purse)).toBe(false)
      nowMs = 300
      expect(purse.grant('a', 5, 100)).toBe(5)
      nowMs = 399
      expect(call(purse)).toBe(true)
    }
    for (const call of [...calls, (purse: Purse) => purse.grant('a', 1, 100)]) {
      nowMs = 5
      const purse = open({ clock: () => nowMs })
      nowMs = Number.NaN
      expectComplaint(() => call(purse), { type: 'RangeError', code: 'ERR_SLUICE_CLOCK' })
    }
  })

  test('is of no use once it is closed', () => {
    const purse = open()
    purse.close()
    purse.close()
    const calls = [
      () => purse.take('a'),
      () => purse.balance('a'),
      () => purse.drain('a'),
      () => purse.grant('a', 1, 1),
    ]
    for (const call of calls) expectComplaint(call, { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
  })

  test('refuses what is no key and no number', () => {
    const purse = open()
    expectComplaint(() => purse.take({} as never), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE' })
    expectComplaint(() => purse.take('a', 0.5), { type: 'RangeError', code: 'ERR_SLUICE_ARGUMENT_RANGE' })
    for (const tokens of [-1, 0.5, Number.NaN, 2 ** 53])
      expectComplaint(() => purse.grant('a', tokens, 1), {
        type: 'RangeError',
        code: 'ERR_SLUICE_ARGUMENT_RANGE',
      })
    expectComplaint(() => purse.grant('a', 1, Number.NaN), {
      type: 'RangeError',
      code: 'ERR_SLUICE_ARGUMENT_RANGE',
    })
    expectComplaint(() => open({ leaseMs: 0.4 }), { type: 'RangeError', code: 'ERR_SLUICE_POLICY' })
    expectComplaint(() => open({ shared: '.' }), { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' })
    expect(purse.balance('a')).toBe(0)
  })
})

describe('purses under one name', () => {
  test('are one', () => {
    const clock = new ManualClock()
    const shared = freshName()
    const [one, other] = [open({ shared, clock }), open({ shared, clock })]
    one.grant('a', 5, 100)
    expect(other.take('a', 2)).toBe(true)
    expect(one.balance('a')).toBe(3)
    other.close()
    expect(one.drain('a')).toBe(3)
  })

  test.each<[Partial<PurseOptions>, string]>([
    [{ maxKeys: 101 }, 'maxKeys is 100, not 101 ('],
    [{ leaseMs: 99.5 }, 'leaseMs is 100, not 99.5 ('],
    [{ leaseMs: 5, maxKeys: 5 }, 'maxKeys is 100, not 5; leaseMs is 100, not 5 ('],
  ])('must be made with the same options: %j', (more, says) => {
    const clock = new ManualClock()
    const shared = freshName()
    open({ shared, clock })
    const before = held()
    expectComplaint(() => new Purse({ maxKeys: 100, leaseMs: 100, shared, clock, ...more }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: [says, `npx sluice remove ${shared}`],
    })
    expect(held()).toEqual(before)
  })

  const clock = new ManualClock()
  const options: LimiterOptions = { limit: 1, windowMs: 100, maxKeys: 100, clock }
  const mismatch = { type: 'RangeError', code: 'ERR_SLUICE_SHARED_MISMATCH' } as const

  test('are no limiters, and limiters are no purses', () => {
    const shared = freshName()
    open({ shared, clock }).grant('a', 5, 100)
    const before = held()
    const left = regionsLeft()
    for (const algorithm of ['token-bucket', 'fixed-window', 'sliding-log'] as const)
      expectComplaint(() => new Limiter({ ...options, algorithm, shared }), mismatch)
    const changing = {
      ...options,
      algorithm: 'fixed-window',
      shared: { name: shared, changePolicy: true },
    } as const
    expectComplaint(() => new Limiter(changing), mismatch)
    expectComplaint(() => Limiter.attach(shared, { clock }), { ...mismatch, says: [shared, 'is no limiter'] })
    expect(held()).toEqual(before)
    expect(regionsLeft()).toEqual(left)
    expect(open({ shared, clock }).balance('a')).toBe(5)

    const name = freshName()
    const limiter = kept(new Limiter({ ...options, algorithm: 'fixed-window', shared: name }))
    expectComplaint(() => open({ shared: name, clock }), {
      ...mismatch,
      says: ['it is a fixed-window, not a purse'],
    })
    expect(limiter.allow('a')).toBe(true)
  })

  test('is no algorithm that a limiter can be made with or restored as', () => {
    for (const algorithm of ['purse', 'purses']) {
      expectComplaint(() => new Limiter({ ...options, algorithm: algorithm as never }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_OPTION_RANGE',
        says: ["algorithm must be 'token-bucket' or", `got "${algorithm}"`],
      })
    }
    const spec = Float64Array.of(8, 100, 1, 0, 1, 1e8, 1, 0, 0, 0, 0)
    const purse = kept(loadNative().open(spec, undefined, undefined))
    expectComplaint(() => Limiter.restore(new Uint8Array(purse.dump())), {
      type: 'RangeError',
      code: 'ERR_SLUICE_DUMP',
    })
  })
})

describe('at random', () => {
  test('many keys behave as a model does', () => {
    const clock = new ManualClock()
    const purse = open({ clock, maxKeys: 1000 })
    const model = new Map<number, { balance: number; untilMs: number }>()
    let seed = 20_250_101
    const below = (bound: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
      return Math.floor((seed / 2 ** 32) * bound)
    }
    const left = (key: number): number => {
      const { balance, untilMs } = model.get(key) ?? { balance: 0, untilMs: 0 }
      return clock.now() < untilMs ? balance : 0
    }
    const done = { granted: 0, taken: 0, refused: 0, drained: 0 }
    for (let i = 0; i < 50_000; i++) {
      if (below(4) === 0) clock.advance(below(60) / 2)
      const key = below(50)
      const had = left(key)
      const untilMs = Math.max(had > 0 ? (model.get(key)?.untilMs ?? 0) : 0, 0)
      const amount = below(12)
      const kind = below(8)
      if (kind < 2) {
        const validMs = below(240) / 2 - 10
        const lapsesMs = clock.now() + Math.min(validMs, 100)
        const added = validMs > 0 ? amount : 0
        expect(purse.grant(key, amount, validMs)).toBe(added)
        if (added > 0) model.set(key, { balance: had + added, untilMs: Math.max(untilMs, lapsesMs) })
        done.granted += added
      } else if (kind === 2) {
        expect(purse.drain(key)).toBe(had)
        model.delete(key)
        done.drained += had
      } else {
        const isTaken = had > 0 && amount <= had
        expect(purse.take(key, amount)).toBe(isTaken)
        if (isTaken) model.set(key, { balance: had - amount, untilMs })
        done.taken += isTaken ? amount : 0
        done.refused += isTaken ? 0 : 1
      }
      expect(purse.balance(key)).toBe(left(key))
    }
    for (const count of Object.values(done)) expect(count).toBeGreaterThan(1000)
  })
})
