import { describe, expect, test } from 'vitest'
import { Limiter } from '../../lib/index'

const HOUR_MS = 3_600_000
const YEAR_MS = 365.25 * 24 * HOUR_MS

/** The machine's clock cannot be moved, so these limits are such that no test lasts long enough to matter. */
describe.each(['token-bucket', 'fixed-window'] as const)('%s by the machine’s clock', (algorithm) => {
  test.each([
    ['an hour', HOUR_MS],
    ['a day', 24 * HOUR_MS],
    ['a year, longer than most machines run', YEAR_MS],
    ['fifty years, nearly as long as the epoch', 50 * YEAR_MS],
  ])('allow admits exactly the limit in %s, and agrees with peek', (_name, windowMs) => {
    const limiter = new Limiter({ algorithm, limit: 10, windowMs, maxKeys: 100 })
    for (let left = 10; left > 0; left--) {
      expect(limiter.peek('k')).toMatchObject({ allowed: true, remaining: left })
      expect(limiter.allow('k')).toBe(true)
    }
    for (let i = 0; i < 3; i++) expect(limiter.allow('k')).toBe(false)
    expect(limiter.peek('k')).toMatchObject({ allowed: false, remaining: 0, reason: 'limited' })
    limiter.close()
  })

  test('allow, consume and consumeMany share one count', () => {
    const limiter = new Limiter({ algorithm, limit: 9, windowMs: 24 * HOUR_MS, maxKeys: 100 })
    for (let i = 0; i < 3; i++) {
      expect(limiter.allow('k')).toBe(true)
      expect(limiter.consume('k').allowed).toBe(true)
      expect([...limiter.consumeMany(['k']).allowed]).toEqual([1])
    }
    expect(limiter.allow('k')).toBe(false)
    expect(limiter.consume('k').allowed).toBe(false)
    expect([...limiter.consumeMany(['k']).allowed]).toEqual([0])
    limiter.close()
  })
})
