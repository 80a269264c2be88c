import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, closeAll, kept, open, tenOf } from './every-algorithm'
import { checksumOf } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(closeAll)

const corrupt = { type: 'RangeError', code: 'ERR_SLUICE_DUMP' } as const
const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const

function dumped(more: Partial<LimiterOptions> = {}): Uint8Array {
  const limiter = open(tenOf('token-bucket', { clock, ...more }))
  for (let i = 0; i < 20; i++) limiter.consume(`key-${i}`, 1 + (i % 10))
  return limiter.dump()
}

function expectRefused(bytes: Uint8Array): void {
  expectComplaint(() => Limiter.restore(bytes, { clock }), corrupt)
}

test('the bytes that these tests change are fine as long as they are not changed', () => {
  const bytes = dumped()
  for (const copy of [bytes, Uint8Array.from(bytes), Buffer.from(bytes), new Uint8Array(bytes.buffer)])
    expect(kept(Limiter.restore(copy, { clock })).peek('key-3').remaining).toBe(6)
})

test('they may lie anywhere in memory', () => {
  const bytes = dumped()
  for (let offset = 1; offset < 9; offset++) {
    const memory = new Uint8Array(bytes.length + 16)
    memory.set(bytes, offset)
    const part = memory.subarray(offset, offset + bytes.length)
    expect(kept(Limiter.restore(part, { clock })).peek('key-3').remaining).toBe(6)
  }
})

test('a dump is the user’s own: changing it changes no limiter', () => {
  const limiter = open(tenOf('token-bucket', { clock }))
  limiter.consume('k', 4)
  const bytes = limiter.dump()
  const heir = kept(Limiter.restore(bytes, { clock }))
  bytes.fill(0)
  expect([limiter.peek('k').remaining, heir.peek('k').remaining]).toEqual([6, 6])
})

describe('refused', () => {
  test('cut off anywhere', () => {
    const bytes = dumped()
    for (let length = 0; length < bytes.length; length += length < 64 ? 1 : 13)
      expectRefused(bytes.slice(0, length))
  })

  test('grown', () => {
    const bytes = dumped()
    for (const more of [1, 7, 8, 16, 4096]) {
      const grown = new Uint8Array(bytes.length + more)
      grown.set(bytes)
      expectRefused(grown)
    }
  })

  test('any one bit turned over', () => {
    const bytes = dumped()
    for (let bit = 0; bit < bytes.length * 8; bit += 11) {
      const changed = Uint8Array.from(bytes)
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(() => Limiter.restore(changed, { clock }), `bit ${bit}`).toThrow(
        expect.objectContaining({ code: 'ERR_SLUICE_DUMP' }),
      )
    }
  })

  test('two words exchanged', () => {
    const bytes = dumped()
    const words = new BigUint64Array(bytes.slice().buffer)
    for (let i = 0; i + 1 < words.length; i++) {
      if (words[i] === words[i + 1]) continue
      const changed = words.slice()
      changed[i] = words[i + 1] as bigint
      changed[i + 1] = words[i] as bigint
      expectRefused(new Uint8Array(changed.buffer))
    }
  })

  test('what is no dump', () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(4096), Buffer.from('text '.repeat(1000))])
      expectRefused(bytes)
    expectRefused(new Uint8Array(4096).fill(0xff))
  })

  test.each([
    undefined,
    null,
    5,
    'bytes',
    {},
    [],
    new ArrayBuffer(64),
    new Uint16Array(64),
    new DataView(new ArrayBuffer(64)),
  ])('%o is not even bytes', (value) => {
    expectComplaint(() => Limiter.restore(value as never), { ...type, says: ['dump must be a Uint8Array'] })
  })

  test('memory that has been transferred away', () => {
    const bytes = dumped()
    structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] })
    expectRefused(bytes)
  })

  test('options that are none', () => {
    const bytes = dumped()
    for (const options of [null, 5, 'x', []])
      expectComplaint(() => Limiter.restore(bytes, options as never), { ...type, says: ['options'] })
    expectComplaint(() => Limiter.restore(bytes, { clok: clock } as never), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says: ["did you mean 'clock'"],
    })
    expectComplaint(() => Limiter.restore(bytes, { clock: 5 as never }), { ...type, says: ['clock'] })
    expectComplaint(() => Limiter.restore(bytes, { clock, tiers: 5 as never }), { ...type, says: ['tiers'] })
    expectComplaint(() => Limiter.restore(bytes, { clock, maxWaiters: 0 }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_OPTION_RANGE',
    })
  })

  test('a clock where there was none, and none where there was one', () => {
    const mismatch = { type: 'RangeError', code: 'ERR_SLUICE_SHARED_MISMATCH', says: ['clock'] } as const
    expectComplaint(() => Limiter.restore(dumped()), mismatch)
    const machines = open(tenOf('token-bucket')).dump()
    expectComplaint(() => Limiter.restore(machines, { clock }), mismatch)
  })

  test('a clock that shows no time', () => {
    const bytes = dumped()
    for (const bad of [new ManualClock(Number.NaN), new ManualClock(9e12), () => 'now'])
      expectComplaint(() => Limiter.restore(bytes, { clock: bad as ManualClock }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_CLOCK',
      })
  })
})

test.each(ALGORITHMS)('noise behind a sound beginning is refused: %s', (algorithm) => {
  const limiter = open(tenOf(algorithm, { clock }))
  for (let i = 0; i < 20; i++) limiter.consume(i, 1)
  const bytes = limiter.dump()
  let state = 1
  for (let round = 0; round < 50; round++) {
    const changed = Uint8Array.from(bytes)
    for (let i = 16 + round; i < changed.length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      changed[i] = state >>> 24
    }
    expectRefused(changed)
  }
})

/** The bytes with some words changed, and a checksum that is right all the same. */
function forged(bytes: Uint8Array, change: (words: BigUint64Array) => void): Uint8Array {
  const words = new BigUint64Array(bytes.slice().buffer)
  change(words)
  words[words.length - 1] = checksumOf(words.subarray(0, -1))
  return new Uint8Array(words.buffer)
}

describe('with a checksum that is right', () => {
  test('unchanged it is sound', () => {
    const bytes = dumped()
    expect(forged(bytes, () => undefined)).toEqual(bytes)
  })

  test.each([
    ['magic', 0, [0n, 5n]],
    ['version', 1, [0n, 2n, 2n ** 63n]],
    ['algorithm', 2, [0n, 8n, 2n ** 32n + 1n]],
    ['maxKeys', 3, [0n, 2n ** 31n + 1n, 2n ** 64n - 1n]],
    ['wordsPerSlot', 4, [1n, 65n, 2n ** 60n]],
  ] as const)('a %s that cannot be is refused', (_, index, values) => {
    for (const value of values) {
      expectRefused(
        forged(dumped(), (words) => {
          words[index] = value
        }),
      )
    }
  })

  test.each(ALGORITHMS)(
    'words of it are noise: it is refused, or every call comes back (%s)',
    (algorithm) => {
      const source = open(tenOf(algorithm, { clock }))
      for (let i = 0; i < 20; i++) source.consume(i, 1 + (i % 9))
      const bytes = source.dump()
      let state = ALGORITHMS.indexOf(algorithm)
      const random = (): number => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        return state
      }
      let sound = 0
      for (let round = 0; round < 300; round++) {
        const changed = forged(bytes, (words) => {
          // The size of the table stays, so that no test asks for all the memory there is.
          const at = 5 + (random() % (words.length - 6))
          const isSmall = random() % 3 === 0
          words[at] = isSmall ? BigInt(random() % 70) : (BigInt(random()) << 32n) | BigInt(random())
        })
        const limiter = restoredOr(changed)
        if (limiter === undefined) continue
        sound++
        for (let i = 0; i < 30; i++) {
          expect(typeof limiter.allow(i)).toBe('boolean')
          limiter.consume(i, 3)
          limiter.refund(i, 2)
          limiter.peek(i)
          limiter.reset(i)
        }
        expect(limiter.dump().length).toBeGreaterThan(0)
        limiter.close()
      }
      expect(sound).toBeGreaterThan(0)
    },
  )

  function restoredOr(bytes: Uint8Array): Limiter | undefined {
    try {
      return Limiter.restore(bytes, { clock })
    } catch (error) {
      expect((error as { code: string }).code).toMatch(/^ERR_SLUICE_(DUMP|CLOCK|SHARED_MISMATCH)$/)
      return undefined
    }
  }
})
