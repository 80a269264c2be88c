import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BatchResult, type Key, Limiter, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

let limiter: Limiter
let twin: Limiter

beforeEach(() => {
  const options = { limit: 3, windowMs: 1000, maxKeys: 50_000, clock: new ManualClock() }
  limiter = new Limiter(options)
  twin = new Limiter(options)
})

afterEach(() => {
  limiter.close()
  twin.close()
})

/** What single calls answer on a limiter of the same policy. */
function oneByOne(keys: readonly Key[], costOf: (index: number) => number = () => 1) {
  const decisions = keys.map((key, index) => twin.consume(key, costOf(index)))
  return {
    allowed: decisions.map(({ allowed }) => (allowed ? 1 : 0)),
    remaining: decisions.map(({ remaining }) => remaining),
    retryAfterMs: decisions.map(({ retryAfterMs }) => retryAfterMs),
    allowedCount: decisions.filter(({ allowed }) => allowed).length,
  }
}

function flat({ length, allowed, remaining, retryAfterMs, allowedCount }: BatchResult) {
  return {
    allowed: [...allowed.subarray(0, length)],
    remaining: [...remaining.subarray(0, length)],
    retryAfterMs: [...retryAfterMs.subarray(0, length)],
    allowedCount,
  }
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const range = (length: number): number[] => Array.from({ length }, (_, index) => index)

describe('agrees with single calls', () => {
  const batches: [string, Key[]][] = [
    ['no keys', []],
    ['one string', ['a']],
    ['strings', ['a', 'b', 'a', 'a', 'a', 'b']],
    [
      'strings with characters that could separate',
      ['a\0b', 'a', 'b', '\0', '', 'a\n', '\nb', 'a\nb', 'ab', ',', 'a,b', '\0\0'],
    ],
    ['strings that join to the same text', ['ab', 'c', 'a', 'bc', '', 'abc', '', '']],
    ['two-byte strings', ['鍵', '键', '鍵', '\u0100', '\u0001\u0000', '\u0000\u0001']],
    ['one-byte and two-byte strings', ['a', '鍵', 'é', 'a', '\u{1f511}']],
    ['surrogates at the joints', ['\ud83d', '\udd11', '\u{1f511}', '\ud83d', '\udd11', 'a\ud83d', '\udd11a']],
    ['integers', [1, 2, -1, 0, -0, 1, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 32, 0]],
    [
      'bytes',
      [
        bytes(1, 2),
        bytes(1),
        bytes(2),
        bytes(),
        bytes(1, 2),
        Buffer.from([1, 2]),
        bytes(9, 1, 2).subarray(1),
      ],
    ],
    ['bytes of another realm', [bytes(1, 2), runInNewContext('Uint8Array.of(1, 2)'), 'a']],
    ['all kinds', ['5', 5, bytes(53), '5', 5, bytes(53), '', 0, bytes(), '鍵']],
    ['names of Object.prototype', ['__proto__', 'constructor', '__proto__', 'length', 'toString']],
    ['10,000 strings', range(10_000).map((i) => `client-${i % 4000}`)],
    ['10,000 integers', range(10_000).map((i) => i % 4000)],
    [
      '10,000 of all kinds',
      range(10_000).map((i) => ([`k${i % 777}`, i % 777, bytes(i % 77, i % 7)] as const)[i % 3] ?? ''),
    ],
    [
      'strings, then an integer after the first thousand',
      [...range(1500).map((i) => `k${i % 400}`), 7, 7, 7, 7],
    ],
    ['exactly 1024 and one more', [...range(1024).map((i) => `k${i % 200}`), 'k0']],
    ['long strings', [`${'x'.repeat(600_000)}a`, `${'x'.repeat(600_000)}b`, `${'x'.repeat(600_000)}a`]],
  ]

  test.each(batches)('%s', (_, keys) => {
    const result = limiter.consumeMany(keys)
    expect(result.length).toBe(keys.length)
    expect(flat(result)).toEqual(oneByOne(keys))
  })

  test('with one cost for all, and with one for each', () => {
    const keys = ['a', 'b', 'a', 'c', 'a', 'd']
    const costs = [1, 3, 2, 4, 1, 0]
    expect(flat(limiter.consumeMany(keys, undefined, { cost: 2 }))).toEqual(oneByOne(keys, () => 2))
    for (const cost of [
      costs,
      Float64Array.from(costs),
      Uint8Array.from(costs),
      Object.assign({ length: 6 }, costs),
    ]) {
      expect(flat(limiter.consumeMany(keys, undefined, { cost }))).toEqual(
        oneByOne(keys, (index) => costs[index] ?? 0),
      )
    }
    const mixed = ['a', 1, bytes(1), 'a', 1, bytes(1)]
    expect(flat(limiter.consumeMany(mixed, undefined, { cost: costs }))).toEqual(
      oneByOne(mixed, (index) => costs[index] ?? 0),
    )
  })

  test('with a cost for each of many thousand keys', () => {
    const keys = range(5000).map((i) => i % 1300)
    const costs = range(5000).map((i) => (i * 7) % 5)
    expect(flat(limiter.consumeMany(keys, undefined, { cost: costs }))).toEqual(
      oneByOne(keys, (index) => costs[index] ?? 0),
    )
  })

  test('under a tier, and for windows', () => {
    const clock = new ManualClock()
    const make = () =>
      new Limiter({
        algorithm: 'fixed-window',
        limit: 2,
        windowMs: 1000,
        maxKeys: 100,
        clock,
        tiers: { paid: { limit: 5 } },
      })
    const [windows, singles] = [make(), make()]
    const keys = range(20).map((i) => `k${i % 3}`)
    const decisions = keys.map((key) => singles.tier('paid').consume(key))
    const result = windows.tier('paid').consumeMany(keys)
    expect(flat(result).remaining).toEqual(decisions.map(({ remaining }) => remaining))
    expect(flat(result).retryAfterMs).toEqual(decisions.map(({ retryAfterMs }) => retryAfterMs))
  })

  test('for blocked keys and costs that never fit', () => {
    limiter.block('blocked', 500)
    const result = limiter.consumeMany(['blocked', 'free', 'free'], undefined, { cost: [1, 4, 3] })
    expect(flat(result)).toEqual({
      allowed: [0, 0, 1],
      remaining: [0, 3, 0],
      retryAfterMs: [500, Number.POSITIVE_INFINITY, 0],
      allowedCount: 1,
    })
  })

  test('counts in stats', () => {
    limiter.consumeMany(['a', 'a', 'a', 'a', 'b'])
    expect(limiter.stats()).toMatchObject({ keys: 2, allowed: 4, denied: 1 })
  })
})

describe('out', () => {
  test('is returned, reused, and grows', () => {
    const out = new BatchResult()
    expect(limiter.consumeMany(['a', 'b', 'c'], out)).toBe(out)
    expect(flat(out)).toMatchObject({ remaining: [2, 2, 2], allowedCount: 3 })
    const { allowed, remaining, retryAfterMs } = out
    limiter.consumeMany(['a'], out)
    expect(out).toMatchObject({ length: 1, allowedCount: 1 })
    expect([out.allowed, out.remaining, out.retryAfterMs]).toEqual([allowed, remaining, retryAfterMs])
    expect(out.remaining).toBe(remaining)
    limiter.consumeMany(range(100), out)
    expect(out).toMatchObject({ length: 100, allowedCount: 100 })
    limiter.consumeMany([], out)
    expect(out).toMatchObject({ length: 0, allowedCount: 0 })
  })

  test('without one every batch has its own', () => {
    const first = limiter.consumeMany(['a'])
    const second = limiter.consumeMany(['a'])
    expect([first.remaining[0], second.remaining[0]]).toEqual([2, 1])
  })

  test('must be a BatchResult', () => {
    for (const out of [{}, null, [], 5, new Float64Array(3)]) {
      expectComplaint(() => limiter.consumeMany(['a'], out as BatchResult), {
        type: 'TypeError',
        code: 'ERR_SLUICE_ARGUMENT_TYPE',
        says: ['out', 'BatchResult'],
      })
    }
    expect(limiter.stats().keys).toBe(0)
  })
})

describe('bad input names its index, and nothing at all is charged', () => {
  const badKeys: [string, unknown, 'TypeError' | 'RangeError'][] = [
    ['null', null, 'TypeError'],
    ['undefined', undefined, 'TypeError'],
    ['an object', {}, 'TypeError'],
    ['a symbol', Symbol('a'), 'TypeError'],
    ['a bigint', 1n, 'TypeError'],
    ['a Uint16Array', new Uint16Array(1), 'TypeError'],
    ['a fake Uint8Array', Object.create(Uint8Array.prototype), 'TypeError'],
    ['1.5', 1.5, 'RangeError'],
    ['NaN', Number.NaN, 'RangeError'],
    ['2^53', 2 ** 53, 'RangeError'],
  ]

  test.each(badKeys)('a key that is %s', (_, bad, type) => {
    const code = type === 'TypeError' ? 'ERR_SLUICE_KEY_TYPE' : 'ERR_SLUICE_KEY_RANGE'
    const surroundings: Key[][] = [['a', 'b'], [1, 2], [bytes(1), 'a'], range(3000).map((i) => `k${i}`)]
    for (const good of surroundings) {
      const keys = [...good, bad, ...good] as Key[]
      expectComplaint(() => limiter.consumeMany(keys), { type, code, says: [`keys[${good.length}]`] })
    }
    expect(limiter.stats()).toMatchObject({ keys: 0, allowed: 0, denied: 0 })
  })

  test('holes', () => {
    const sparse: Key[] = ['a']
    sparse[2] = 'c'
    const code = 'ERR_SLUICE_KEY_TYPE'
    expectComplaint(() => limiter.consumeMany(sparse), {
      type: 'TypeError',
      code,
      says: ['keys[1]', 'undefined'],
    })
    const empty: Key[] = new Array(3)
    expectComplaint(() => limiter.consumeMany(empty), { type: 'TypeError', code, says: ['keys[0]'] })
    expect(limiter.stats().keys).toBe(0)
  })

  test('keys that are no array', () => {
    for (const keys of [
      'abc',
      null,
      undefined,
      5,
      {},
      new Set(['a']),
      new Float64Array(2),
      { length: 1, 0: 'a' },
    ]) {
      expectComplaint(() => limiter.consumeMany(keys as unknown as Key[]), {
        type: 'TypeError',
        code: 'ERR_SLUICE_ARGUMENT_TYPE',
        says: ['keys', 'array'],
      })
    }
  })

  test.each([
    [-1, 'RangeError', '-1'],
    [0.5, 'RangeError', '0.5'],
    [Number.NaN, 'RangeError', 'NaN'],
    [2 ** 53, 'RangeError', '9007199254740992'],
    ['1', 'TypeError', '"1"'],
    [null, 'TypeError', 'null'],
    [1n, 'TypeError', '1n'],
  ] as const)('a cost of %s', (bad, type, shown) => {
    const code = type === 'TypeError' ? 'ERR_SLUICE_ARGUMENT_TYPE' : 'ERR_SLUICE_ARGUMENT_RANGE'
    const cost = bad as unknown as number
    expectComplaint(() => limiter.consumeMany(['a', 'b'], undefined, { cost }), {
      type,
      code,
      says: ['cost', shown],
    })
    expectComplaint(() => limiter.consumeMany(['a', 'b'], undefined, { cost: [1, cost] }), {
      type,
      code,
      says: ['cost[1]', shown],
    })
    expect(limiter.stats().keys).toBe(0)
  })

  test('costs that are not one for each key', () => {
    for (const cost of [[1], [1, 1, 1], [], {}]) {
      expectComplaint(() => limiter.consumeMany(['a', 'b'], undefined, { cost: cost as number[] }), {
        type: 'TypeError',
        code: 'ERR_SLUICE_ARGUMENT_TYPE',
        says: ['cost', '2'],
      })
    }
    expect(limiter.stats().keys).toBe(0)
  })

  test('a bad batch leaves out as it was', () => {
    const out = limiter.consumeMany(['a', 'b'])
    expect(() => limiter.consumeMany(['a', null as unknown as Key], out)).toThrow(TypeError)
    expect(flat(out)).toMatchObject({ remaining: [2, 2], allowedCount: 2 })
  })
})

test('costs and keys are read once: a getter cannot change them after they were checked', () => {
  let reads = 0
  const cost = {
    length: 1,
    get 0() {
      reads++
      return reads === 1 ? 1 : -1
    },
  }
  expect(limiter.consumeMany(['a'], undefined, { cost }).remaining[0]).toBe(2)
  expect(reads).toBe(1)
})
