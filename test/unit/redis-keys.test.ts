import { afterAll, describe, expect, test } from 'vitest'
import { Limiter } from '../../lib'
import { checkPrefix, keyOf, redisKey } from '../../lib/redis/keys'
import { hashSlot } from '../../lib/redis/slots'
import { expectComplaint } from './coded'

const lone = (...units: number[]) => String.fromCharCode(...units)

describe('how keys look in Redis', () => {
  test.each([
    ['a string', 'user:42', 'sluice:{user:42}'],
    ['an empty string', '', 'sluice:{}'],
    ['braces', 'a}b{c', 'sluice:u{0061007d0062007b0063}'],
    ['what looks like an integer', '5', 'sluice:{5}'],
    ['other scripts', 'Zoë 日本 😀', 'sluice:{Zoë 日本 😀}'],
    ['NUL and control characters', '\0\r\n', 'sluice:{\0\r\n}'],
    ['a high surrogate', `a${lone(0xd83d)}`, 'sluice:u{0061d83d}'],
    ['a low surrogate', lone(0xde00), 'sluice:u{de00}'],
    ['surrogates the wrong way round', lone(0xde00, 0xd83d), 'sluice:u{de00d83d}'],
    ['an integer', 5, 'sluice:n{5}'],
    ['a negative integer', -5, 'sluice:n{-5}'],
    ['minus zero, which is zero', -0, 'sluice:n{0}'],
    ['the greatest integer', Number.MAX_SAFE_INTEGER, 'sluice:n{9007199254740991}'],
    ['the least integer', Number.MIN_SAFE_INTEGER, 'sluice:n{-9007199254740991}'],
    ['bytes', Uint8Array.of(0, 1, 254, 255), 'sluice:b{0001feff}'],
    ['no bytes', new Uint8Array(0), 'sluice:b{}'],
    ['a Buffer', Buffer.from('hi'), 'sluice:b{6869}'],
    ['a part of a buffer', new Uint8Array(Uint8Array.of(1, 2, 3, 4).buffer, 1, 2), 'sluice:b{0203}'],
    ['shared bytes', new Uint8Array(new SharedArrayBuffer(2)), 'sluice:b{0000}'],
  ])('%s', (_, key, text) => {
    expect(redisKey('sluice', key)).toBe(text)
  })

  test('a key that has braces of its own still has a slot, and so has its prefix', () => {
    expect(hashSlot(redisKey('a', 'user'))).toBe(hashSlot('user'))
    expect(hashSlot(redisKey('a', 7))).toBe(hashSlot('7'))
    expect(hashSlot(redisKey('app:{eu}', 'user'))).toBe(hashSlot('eu'))
    expect(hashSlot(redisKey('app:{eu}', 'b}{c'))).toBe(hashSlot('eu'))
  })
})

/** Strings of characters that matter: braces, digits, the letters in front, colons, whole and half characters. */
function randomKeys(count: number): (string | number | Uint8Array)[] {
  let state = 12345
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const alphabet = [
    '{',
    '}',
    ':',
    'n',
    'b',
    'u',
    '0',
    '5',
    'd8',
    '3d',
    '-',
    'é',
    '😀',
    lone(0xd83d),
    lone(0xde00),
    '\0',
  ]
  return Array.from({ length: count }, () => {
    const kind = next(6)
    if (kind === 0) return next(200) - 100
    if (kind === 1) return Uint8Array.from({ length: next(4) }, () => next(256))
    return Array.from({ length: next(6) }, () => alphabet[next(alphabet.length)]).join('')
  })
}

const identity = (key: string | number | Uint8Array) =>
  typeof key === 'object' ? `bytes ${[...key].join()}` : `${typeof key} ${JSON.stringify(key)}`

test('different keys have different Redis keys, also in the bytes that are sent, and each can be read back', () => {
  const seen = new Map<string, string>()
  for (const key of randomKeys(50_000)) {
    const text = redisKey('p', key)
    const sent = Buffer.from(text, 'utf8')
    const known = seen.get(sent.toString('hex'))
    if (known !== undefined && known !== identity(key))
      expect.unreachable(`${known} and ${identity(key)}: ${text}`)
    seen.set(sent.toString('hex'), identity(key))
    const back = keyOf('p', sent.toString('utf8'))
    if (back === undefined || identity(back) !== identity(key))
      expect.unreachable(`${identity(key)}: ${text}`)
  }
  expect(seen.size).toBeGreaterThan(15_000)
})

test.each([
  'p:hosts',
  'p:denials',
  'p:',
  '',
  'p',
  'q:{a}',
  'p:{a',
  'p{a}',
  'p:n{}',
  'p:n{05}',
  'p:n{-0}',
  'p:n{1e3}',
  'p:n{ 5}',
  'p:n{5.5}',
  'p:n{9007199254740992}',
  'p:b{0}',
  'p:b{0A}',
  'p:b{zz}',
  'p:u{0061}',
  'p:u{d83}',
  'p:u{d83dde00}',
  'p:u{D83D}',
  'p:x{a}',
])('%j is the Redis key of no key', (text) => {
  expect(keyOf('p', text)).toBeUndefined()
})

describe('a bad key is refused as the engine refuses it', () => {
  const limiter = new Limiter({ limit: 1, windowMs: 1000, maxKeys: 10 })
  afterAll(() => limiter.close())
  const bad: unknown[] = [
    undefined,
    null,
    true,
    5n,
    Symbol('k'),
    () => 'k',
    {},
    [],
    ['k'],
    Object('k'),
    Object(5),
    new Uint8ClampedArray(1),
    new Int8Array(1),
    new Uint16Array(1),
    new ArrayBuffer(1),
    new DataView(new ArrayBuffer(1)),
    Object.create(Uint8Array.prototype),
    1.5,
    2 ** 53,
    -(2 ** 53),
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.MIN_VALUE,
    1e300,
  ]
  test.each(bad.map((value) => [typeof value, value] as const))('%s %#', (_, value) => {
    const complaint = (call: () => unknown) => {
      try {
        call()
      } catch (error) {
        const { name, message, code } = error as Error & { code: string }
        return { name, message, code }
      }
      return undefined
    }
    const expected = complaint(() => limiter.peek(value as string))
    expect(expected?.code).toMatch(/^ERR_SLUICE_KEY_(TYPE|RANGE)$/)
    expect(complaint(() => redisKey('p', value as string))).toEqual(expected)
  })
})

describe('prefix', () => {
  test.each(['sluice', 'a', 'app:v1', 'app:{eu}', '{eu}', '{eu}:app', 'é 日本', 'x'.repeat(128)])(
    '%j',
    (prefix) => {
      expect(checkPrefix(prefix)).toBe(prefix)
    },
  )

  test.each([undefined, null, 5, {}, ['a'], Object('a')])('%j is no prefix', (prefix) => {
    expectComplaint(() => checkPrefix(prefix), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_TYPE',
      says: ['prefix', 'string'],
    })
  })

  test.each(['', 'x'.repeat(129), lone(0xd83d), '{', '}', '{}', 'a}b{c', '{a}{b}', '{{a}}', '{a', 'a}'])(
    '%j is refused',
    (prefix) => {
      expectComplaint(() => checkPrefix(prefix), {
        type: 'RangeError',
        code: 'ERR_SLUICE_OPTION_RANGE',
        says: ['prefix'],
      })
    },
  )
})
