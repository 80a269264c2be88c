import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type ErrorCode,
  type Limiter,
  LimitSet,
  ManualClock,
  type SetCosts,
  type SetKeys,
} from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, closeAll, open, tenOf } from './every-algorithm'

let clock: ManualClock
let members: Limiter[]
let set: LimitSet

beforeEach(() => {
  clock = new ManualClock()
  members = ALGORITHMS.slice(0, 3).map((algorithm) => open(tenOf(algorithm, { clock })))
  set = new LimitSet(members)
})

afterEach(closeAll)

/** Every operation throws that, and nothing is charged anywhere. */
function expectRefused(
  keys: unknown,
  costs: unknown,
  type: 'TypeError' | 'RangeError',
  code: ErrorCode,
  ...says: (string | RegExp)[]
): void {
  const [anyKeys, anyCosts] = [keys as SetKeys, costs as SetCosts]
  for (const call of [
    () => set.allow(anyKeys, anyCosts),
    () => set.consume(anyKeys, anyCosts),
    () => set.peek(anyKeys, anyCosts),
  ])
    expectComplaint(call, { type, code, says })
  expectUntouched()
}

function expectUntouched(): void {
  for (const limiter of members) expect(limiter.stats()).toMatchObject({ keys: 0, allowed: 0, denied: 0 })
}

describe('as many as members', () => {
  test.each([0, 1, 2, 4, 9, 1000])('%i keys', (count) => {
    const says = ['keys must be one for all limits of the set, or 3', `got ${count}`] as const
    expectRefused(Array(count).fill('k'), 1, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE', ...says)
    expectRefused(Array(count).fill('k'), [1, 1, 1], 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE', ...says)
  })

  test.each([0, 1, 2, 4, 1000])('%i costs', (count) => {
    const says = ['costs must be one for all limits of the set, or 3', `got ${count}`] as const
    expectRefused('k', Array(count).fill(1), 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE', ...says)
    expectRefused(['k', 'k', 'k'], Array(count).fill(1), 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE', ...says)
  })
})

describe('a bad one, wherever it stands, charges nothing anywhere', () => {
  test.each<[unknown, 'TypeError' | 'RangeError', ErrorCode]>([
    [undefined, 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [null, 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [true, 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [{}, 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [5n, 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [Symbol('k'), 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [new Uint16Array(2), 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [new ArrayBuffer(2), 'TypeError', 'ERR_SLUICE_KEY_TYPE'],
    [1.5, 'RangeError', 'ERR_SLUICE_KEY_RANGE'],
    [Number.NaN, 'RangeError', 'ERR_SLUICE_KEY_RANGE'],
    [2 ** 53, 'RangeError', 'ERR_SLUICE_KEY_RANGE'],
  ])('key %s', (bad, type, code) => {
    expectRefused(bad, undefined, type, code)
    expectRefused(bad, [1, 1, 1], type, code)
    for (const place of [0, 1, 2]) {
      const keys: unknown[] = ['a', 'b', 'c']
      keys[place] = bad
      expectRefused(keys, undefined, type, code)
      expectRefused(keys, 1, type, code)
    }
    expectRefused([[bad], 'b', 'c'], 1, 'TypeError', 'ERR_SLUICE_KEY_TYPE')
  })

  test.each<[unknown, 'TypeError' | 'RangeError', ErrorCode]>([
    ['1', 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [null, 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [true, 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [{}, 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [1n, 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [new Float64Array(3), 'TypeError', 'ERR_SLUICE_ARGUMENT_TYPE'],
    [-1, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE'],
    [0.5, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE'],
    [Number.NaN, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE'],
    [Number.POSITIVE_INFINITY, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE'],
    [2 ** 53, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE'],
  ])('cost %s', (bad, type, code) => {
    expectRefused('k', bad, type, code, 'cost')
    expectRefused(['a', 'b', 'c'], bad, type, code, 'cost')
    for (const place of [0, 1, 2]) {
      const costs: unknown[] = [1, 1, 1]
      costs[place] = bad
      expectRefused('k', costs, type, code, 'cost')
      expectRefused(['a', 'b', 'c'], costs, type, code, 'cost')
    }
  })

  test('refund takes its number like a limiter', () => {
    set.consume('k', 5)
    for (const bad of [-1, 0.5, Number.NaN])
      expectComplaint(() => set.refund('k', bad), { type: 'RangeError', code: 'ERR_SLUICE_ARGUMENT_RANGE' })
    for (const ago of [-1, Number.NaN, 1e13])
      expectComplaint(() => set.refund('k', 1, ago), {
        type: 'RangeError',
        code: 'ERR_SLUICE_ARGUMENT_RANGE',
      })
    expectComplaint(() => set.refund(['k'], 1), { type: 'RangeError', code: 'ERR_SLUICE_ARGUMENT_RANGE' })
    expect(members.map((limiter) => limiter.peek('k').remaining)).toEqual([5, 5, 5])
  })

  test('a bad last one is found before the first is refunded', () => {
    set.consume('k', 5)
    const keys = ['k', 'k', null] as unknown as string[]
    expectComplaint(() => set.refund(keys, 1), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE' })
    const costs = [1, 1, -1]
    expectComplaint(() => set.refund('k', costs), { type: 'RangeError', code: 'ERR_SLUICE_ARGUMENT_RANGE' })
    expect(members.map((limiter) => limiter.peek('k').remaining)).toEqual([5, 5, 5])
  })
})

describe('arrays that are not what they seem', () => {
  /** An array whose places are computed. */
  function computed<T>(length: number, at: (place: number) => T): T[] {
    const array: T[] = new Array(length)
    for (let i = 0; i < length; i++) Object.defineProperty(array, i, { get: () => at(i), enumerable: true })
    return array
  }

  test('getters are asked once each', () => {
    const asked = [0, 0, 0]
    const keys = computed(3, (place) => {
      asked[place] = (asked[place] as number) + 1
      return `key-${place}`
    })
    expect(
      set.consume(
        keys,
        computed(3, (place) => place + 1),
      ).allowed,
    ).toBe(true)
    expect(asked).toEqual([1, 1, 1])
    expect(members.map((limiter, i) => limiter.peek(`key-${i}`).remaining)).toEqual([9, 8, 7])
  })

  test('a getter that throws charges nothing', () => {
    const keys = computed(3, (place) => {
      if (place === 2) throw new Error('of the user')
      return 'k'
    })
    for (const call of [() => set.allow(keys), () => set.consume(keys), () => set.peek(keys)])
      expect(call).toThrow('of the user')
    const costs = computed(3, (place) => {
      if (place === 1) throw new Error('of the user')
      return 1
    })
    expect(() => set.allow('k', costs)).toThrow('of the user')
    expectUntouched()
  })

  test('a getter that spends is only one that came before', () => {
    const keys = computed(3, (place) => {
      if (place === 1) set.consume('k', 6)
      return 'k'
    })
    expect(set.consume(keys, 6)).toMatchObject({ allowed: false, reason: 'limited' })
    expect(members.map((limiter) => limiter.peek('k').remaining)).toEqual([4, 4, 4])
  })

  test('a getter that closes a member, or shortens the array', () => {
    const shrinking: string[] = ['k', 'k', 'k']
    Object.defineProperty(shrinking, 0, {
      get: () => {
        shrinking.length = 1
        return 'k'
      },
    })
    expectComplaint(() => set.allow(shrinking), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE' })
    expectUntouched()
    const closing = computed(3, (place) => {
      if (place === 2) members[0]?.close()
      return 'k'
    })
    expectComplaint(() => set.allow(closing), { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
    for (const limiter of members.slice(1)) expect(limiter.stats().keys).toBe(0)
  })

  test('a proxy is the array that it shows', () => {
    const shows = (name: string, value: unknown) =>
      new Proxy(['a', 'b', 'c'], {
        get: (target, asked) => (asked === name ? value : Reflect.get(target, asked)),
      })
    expectRefused(shows('length', 8), 1, 'RangeError', 'ERR_SLUICE_ARGUMENT_RANGE', 'got 8')
    expect(set.allow(shows('1', 'other'))).toBe(true)
    expect(members[1]?.peek('other').remaining).toBe(9)
  })

  test('subclasses and arrays of other realms are arrays', async () => {
    class Keys extends Array<string> {}
    expect(set.allow(Keys.from(['a', 'b', 'c']))).toBe(true)
    const { runInNewContext } = await import('node:vm')
    expect(set.allow(runInNewContext("['a', 'b', 'c']"), runInNewContext('[1, 2, 3]'))).toBe(true)
    expect(members[2]?.peek('c').remaining).toBe(6)
  })

  test('the engine’s own functions are not to be had', () => {
    const { allow } = set
    expect(() => allow.call({} as LimitSet, 'k')).toThrow(TypeError)
    expect(Object.keys(set)).toEqual(['names'])
  })
})
