import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { BatchResult, type Key, Limiter, ManualClock } from '../../lib/index'

function open(limit = 10): Limiter {
  return new Limiter({ limit, windowMs: 1000, maxKeys: 1000, clock: new ManualClock() })
}

describe('a batch whose arrays have a life of their own', () => {
  test('keys that grow while they are read', () => {
    const limiter = open()
    const keys: Key[] = ['a', 'b']
    Object.defineProperty(keys, 0, {
      get() {
        for (let i = 0; i < 100; i++) keys.push('grown')
        return 'a'
      },
    })
    const out = limiter.consumeMany(keys)
    expect(out.allowed.length).toBe(out.length)
    expect(limiter.stats().allowed).toBe(out.allowedCount)
    limiter.close()
  })

  test('a key that is fine when checked and none when used is read once only', () => {
    const limiter = open()
    let reads = 0
    const keys: Key[] = ['a', 1, 'c']
    Object.defineProperty(keys, 2, { get: () => (reads++ === 0 ? 'c' : {}) })
    expect(limiter.consumeMany(keys).allowedCount).toBe(3)
    expect(reads).toBe(1)
    limiter.close()
  })

  test('a key that calls the limiter again', () => {
    const limiter = open()
    const keys: Key[] = ['a', 'b']
    Object.defineProperty(keys, 1, {
      get: () => (limiter.consumeMany(['inner', 'and', 'longer ones']).allowedCount === 3 ? 'b' : 'never'),
    })
    expect(limiter.consumeMany(keys).allowedCount).toBe(2)
    expect(limiter.stats().allowed).toBe(5)
    limiter.close()
  })

  test.each(['allowed', 'remaining', 'retryAfterMs', 'delayMs'] as const)(
    'out.%s transferred away is replaced',
    (name) => {
      const limiter = open()
      const out = new BatchResult()
      limiter.consumeMany(['a', 'b'], out)
      structuredClone(out[name], { transfer: [out[name].buffer as ArrayBuffer] })
      expect(out[name].length).toBe(0)
      expect(limiter.consumeMany(['a', 'b'], out).allowedCount).toBe(2)
      expect([...out.remaining.slice(0, 2)]).toEqual([8, 8])
      limiter.close()
    },
  )
})

test('a spray does not reset a key that limits under a stricter tier than it was charged under', () => {
  const clock = new ManualClock()
  const tiers = { free: { limit: 10 } }
  const limiter = new Limiter({ limit: 1000, windowMs: 3_600_000, maxKeys: 10, tiers, clock })
  expect(limiter.allow('victim', 10)).toBe(true)
  for (let i = 0; i < 2000; i++) limiter.tier('free').allow(`spray-${i}`)
  expect(limiter.tier('free').allow('victim')).toBe(false)
  limiter.close()
})

describe('workers', () => {
  const library = join(__dirname, '..', '..', 'dist', 'index.js')

  // Whatever the worker is doing at that moment, the process lives on: this test runs in it.
  test.each([
    ['opens limiters', 'new Limiter({ limit: 1, windowMs: 1, maxKeys: 10 }).allow(1)'],
    [
      'adds policies',
      'limiter ??= new Limiter({ limit: 1, windowMs: 1 }), limiter.with({ limit: 1 + (n++ % 999) }).allow(n)',
    ],
    [
      'throws errors',
      'limiter ??= new Limiter({ limit: 1, windowMs: 1 }); try { limiter.allow(1.5) } catch {}',
    ],
    ['decides batches', 'limiter ??= new Limiter({ limit: 1, windowMs: 1 }), limiter.consumeMany([1, 2, 3])'],
    [
      'makes sets and decides by them',
      'const each = () => new Limiter({ limit: 1, windowMs: 1, maxKeys: 10 }); new LimitSet([each(), each()]).consume(n)',
    ],
    [
      'holds leases',
      "limiter ??= new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: 1 }), limiter.acquire(n++ % 9).release()",
    ],
    [
      'dumps and restores',
      'limiter ??= new Limiter({ limit: 1, windowMs: 1, maxKeys: 99 }), Limiter.restore(limiter.dump()).allow(n++)',
    ],
  ])(
    'terminated while one %s',
    async (_name, work) => {
      const code = `const { Limiter, LimitSet } = require(${JSON.stringify(library)}); let limiter, n = 0
      require('node:worker_threads').parentPort.postMessage('up'); for (;;) { ${work} }`
      for (let i = 0; i < 15; i++) {
        const worker = new Worker(code, { eval: true })
        await once(worker, 'message')
        expect(await worker.terminate()).toBe(1)
      }
    },
    60_000,
  )
})
