import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Key, Limiter, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'

let limiter: Limiter

beforeEach(() => {
  limiter = new Limiter({ limit: 1, windowMs: 1000, maxKeys: 10_000, clock: new ManualClock() })
})

afterEach(() => limiter.close())

/** Different keys: each has its own token. */
function expectDistinct(keys: Key[]): void {
  expect(keys.map((key) => limiter.allow(key))).toEqual(keys.map(() => true))
  expect(keys.map((key) => limiter.allow(key))).toEqual(keys.map(() => false))
}

/** Names of one key: they share a token. */
function expectSame(keys: Key[]): void {
  expect(keys.map((key) => limiter.allow(key))).toEqual(keys.map((_, index) => index === 0))
}

describe('strings', () => {
  test.each([
    ['one byte a character', ['a', 'b', 'ab', 'ba', '']],
    ['Latin-1 above ASCII', ['é', 'è', 'e', 'Ã©']],
    ['two bytes a character', ['鍵', '键', '\u{1f511}', '\u{1f512}']],
    ['composed and decomposed', ['é', 'e\u0301']],
    ['lone surrogates', ['\ud800', '\ud801', '\udc00', '\ufffd', '\ud800\udc00', '\udc00\ud800']],
    ['a lone surrogate beside text', ['a\ud800', 'a\ud801', 'a\ufffd', 'a?']],
    ['NUL', ['\0', '\0\0', '', 'a\0', 'a', 'a\0b', 'ab']],
    [
      'bytes that could be swapped or padded',
      ['\u0100', '\u0001', '\u0001\u0000', 'A', '\u4100', '\u0041\u0000'],
    ],
    ['names of Object.prototype', ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty']],
    ['white space', [' ', '  ', '\n', '\t', '']],
  ])('%s: all different', (_, keys) => {
    expectDistinct(keys)
  })

  test.each([10_000, 100_000])('%i characters that differ only in the last', (length) => {
    const stem = 'x'.repeat(length - 1)
    expectDistinct([`${stem}a`, `${stem}b`, `${stem}\u0161`, `${stem}\ud800`, `${stem}\ud801`, stem])
  })

  test.each([254, 255, 256, 257, 511, 512])('%i characters, first and last', (length) => {
    const filler = 'y'.repeat(length - 1)
    expectDistinct([`a${filler}`, `b${filler}`, `${filler}a`, `${filler}b`, `${filler}\0`])
  })

  test('however the string is represented', () => {
    const flat = 'key-of-a-client'
    const rope = ['key-of', '-a-', 'client'].reduce((text, part) => text + part, '')
    const slice = `__${flat}__`.slice(2, -2)
    const twoByteSlice = `\u0161${flat}`.slice(1)
    expectSame([flat, rope, slice, twoByteSlice])
  })
})

describe('numbers', () => {
  test('are not their digits', () => {
    expectDistinct([5, '5', '5.0', ' 5'])
  })

  test('the whole range of safe integers, negative ones too', () => {
    const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER } = Number
    expectDistinct([
      0,
      1,
      -1,
      2 ** 31,
      -(2 ** 31),
      2 ** 32,
      2 ** 32 + 1,
      MAX_SAFE_INTEGER,
      MAX_SAFE_INTEGER - 1,
      MIN_SAFE_INTEGER,
    ])
  })

  test('-0 is 0, and 5.0 is 5', () => {
    expectSame([0, -0])
    expectSame([5, Number('5.0')])
  })
})

describe('bytes', () => {
  test('are not text, nor numbers', () => {
    expectDistinct(['5', 5, Uint8Array.of(53), Uint8Array.of(53, 0), Uint8Array.of(5)])
  })

  test('of a text are not the text', () => {
    for (const text of ['abc', 'é', '鍵', '']) {
      expectDistinct([
        text,
        Buffer.from(text, 'utf8'),
        ...(text === '' ? [] : [Buffer.from(text, 'utf16le')]),
      ])
      limiter.reset(text)
      limiter.reset(Buffer.from(text, 'utf8'))
    }
  })

  test('are those of the view, wherever it lies', () => {
    const whole = Uint8Array.of(9, 1, 2, 3, 9, 1, 2, 3)
    expectSame([Uint8Array.of(1, 2, 3), whole.subarray(1, 4), whole.subarray(5), Buffer.from([1, 2, 3])])
    expectDistinct([whole, whole.subarray(0, 4), whole.subarray(1, 3)])
  })

  test('may be none, and then are not the empty string', () => {
    expectDistinct([new Uint8Array(0), ''])
    expect(limiter.allow(new Uint8Array(5).subarray(5))).toBe(false)
    expect(limiter.allow(Buffer.alloc(0))).toBe(false)
  })

  test('are read at the call: a buffer that is reused is another key', () => {
    const reused = Uint8Array.of(1)
    expect(limiter.allow(reused)).toBe(true)
    reused[0] = 2
    expect(limiter.allow(reused)).toBe(true)
    expect(limiter.allow(Uint8Array.of(1))).toBe(false)
  })

  test('come from shared memory and from other realms too', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(2))
    shared.set([7, 8])
    const foreign: unknown = runInNewContext('Uint8Array.of(7, 8)')
    expectSame([Uint8Array.of(7, 8), shared, foreign as Uint8Array])
  })

  test('a million of them that differ in the last', () => {
    const long = new Uint8Array(1_000_000)
    const other = long.slice()
    other[other.length - 1] = 1
    expectDistinct([long, other, long.subarray(1)])
  })
})

describe('whatever is no key', () => {
  const wrongType: [string, unknown][] = [
    ['null', null],
    ['undefined', undefined],
    ['true', true],
    ['an object', {}],
    ['an array', ['a']],
    ['a String object', Object('a')],
    ['a Number object', Object(5)],
    ['a function', () => 'a'],
    ['a symbol', Symbol('a')],
    ['a bigint', 5n],
    ['a Date', new Date(0)],
    ['an Int8Array', new Int8Array(1)],
    ['a Uint8ClampedArray', new Uint8ClampedArray(1)],
    ['a Uint16Array', new Uint16Array(1)],
    ['a Float64Array', new Float64Array(1)],
    ['an ArrayBuffer', new ArrayBuffer(1)],
    ['a DataView', new DataView(new ArrayBuffer(1))],
    ['a fake Uint8Array', Object.create(Uint8Array.prototype)],
  ]
  const outOfRange: [string, unknown][] = [
    ['1.5', 1.5],
    ['2^53', 2 ** 53],
    ['-2^53', -(2 ** 53)],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['-Infinity', Number.NEGATIVE_INFINITY],
    ['5e-324', Number.MIN_VALUE],
  ]
  const operations: [string, (key: Key) => unknown][] = [
    ['allow', (key) => limiter.allow(key)],
    ['consume', (key) => limiter.consume(key)],
    ['peek', (key) => limiter.peek(key)],
    ['refund', (key) => limiter.refund(key, 1)],
    ['penalize', (key) => limiter.penalize(key, 1)],
    ['block', (key) => limiter.block(key, 1000)],
    ['reset', (key) => limiter.reset(key)],
    ['consumeMany', (key) => limiter.consumeMany(['good', key])],
  ]

  test.each(operations)('%s refuses it, says what it got, and nothing is charged', (_, operation) => {
    for (const [name, value] of wrongType) {
      const says = [/key/, /string/, /safe integer/, /Uint8Array/, ...(value == null ? [name] : [])]
      expectComplaint(() => operation(value as Key), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE', says })
    }
    for (const [name, value] of outOfRange) {
      const says = [
        /key/,
        /safe integer/,
        value === 2 ** 53 ? '9007199254740992' : name.replace('-2^53', '-9007199254740992'),
      ]
      expectComplaint(() => operation(value as Key), {
        type: 'RangeError',
        code: 'ERR_SLUICE_KEY_RANGE',
        says,
      })
    }
    expect(limiter.stats()).toMatchObject({ keys: 0, allowed: 0, denied: 0 })
    expect(limiter.allow('good')).toBe(true)
  })

  test('a missing key is refused too', () => {
    const allow = limiter.allow as () => boolean
    expectComplaint(() => allow(), { type: 'TypeError', code: 'ERR_SLUICE_KEY_TYPE', says: ['undefined'] })
  })
})

test('keys are not looked up in objects: nothing is found that was not put there', () => {
  for (const key of ['__proto__', 'constructor', 'valueOf']) expect(limiter.reset(key)).toBe(false)
  expect(limiter.allow('__proto__')).toBe(true)
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  expect(limiter.peek('constructor').remaining).toBe(1)
})
