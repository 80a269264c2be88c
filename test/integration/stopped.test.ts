import type { ChildProcess } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter } from '../../lib/index'
import { expectComplaint } from '../unit/coded'
import { freshName, lockFor, removeRegions } from '../unit/regions'
import { ask, kill, killAll, startProcess } from './fixtures/children'

const DAYS_MS = 30 * 86_400_000
const busy = { type: 'RangeError', code: 'ERR_SLUICE_SHARED_BUSY' } as const

let name: string
let limiter: Limiter
let child: ChildProcess

beforeEach(async () => {
  name = freshName()
  limiter = new Limiter({ limit: 100, windowMs: DAYS_MS, maxKeys: 50, shared: name })
  limiter.allow('old', 10)
  child = await startProcess('process.mjs')
  expect(await ask(child, { do: 'spend', source: name, key: 'theirs' })).toBe(1)
})

afterEach(async () => {
  await killAll()
  limiter.close()
  removeRegions()
})

/** As if the child had been stopped, or were killed later, in the middle of a change. */
function stopHolding(...locks: ('policies' | 'keys')[]): void {
  child.kill('SIGSTOP')
  lockFor(name, 1, locks)
}

describe('a process is stopped while it changes the table', () => {
  test('new keys are refused as busy, and not for long; those that are present are decided as always', () => {
    stopHolding('keys')
    const start = performance.now()
    expect(limiter.consume('new')).toMatchObject({ allowed: false, reason: 'busy', remaining: 0 })
    expect(limiter.consume('new').retryAfterMs).toBeGreaterThan(0)
    for (let i = 0; i < 100; i++) expect(limiter.allow(`new-${i}`)).toBe(false)
    expect(limiter.block('new', 1000)).toBe(false)
    expect(limiter.penalize('new', 5)).toBe(0)
    expect(performance.now() - start).toBeLessThan(5000)
    expect(limiter.peek('new')).toMatchObject({ allowed: true, remaining: 100 })
    expect(limiter.consume('old', 10)).toMatchObject({ allowed: true, remaining: 80 })
    expect(limiter.refund('old', 5)).toBe(5)
    expect(limiter.penalize('theirs', 9)).toBe(9)
    expect([...limiter.consumeMany(['old', 'new', 'theirs']).allowed]).toEqual([1, 0, 1])
    expect(limiter.stats()).toMatchObject({ keys: 2, allowed: 5, refusedFull: 0 })
  })

  test('reset says that it cannot', () => {
    stopHolding('keys')
    expectComplaint(() => limiter.reset('old'), busy)
    expect(limiter.peek('old').remaining).toBe(90)
  })

  test('when it dies, the next call finishes what it left', async () => {
    stopHolding('keys')
    expect(limiter.allow('new')).toBe(false)
    await kill(child)
    expect(limiter.consume('new')).toMatchObject({ allowed: true, remaining: 99 })
    expect(limiter.reset('old')).toBe(true)
    expect(limiter.peek('theirs').remaining).toBe(99)
    expect(limiter.stats().keys).toBe(2)
  })
})

describe('a process is stopped while it adds a policy', () => {
  test('what needs another policy is a coded error and changes nothing; decisions go on', () => {
    stopHolding('policies')
    const attempts = [
      () => limiter.setPolicy({ limit: 500 }),
      () => limiter.with({ limit: 500 }),
      () => Limiter.attach(name, { tiers: { paid: { limit: 500 } } }),
    ]
    for (const attempt of attempts) expectComplaint(attempt, busy)
    expect(limiter.policy.limit).toBe(100)
    expect(limiter.consume('new')).toMatchObject({ allowed: true, limit: 100 })
    const second = Limiter.attach(name)
    expect(second.peek('old').remaining).toBe(90)
    second.close()
    expect(limiter.stats({ perProcess: true }).processes).toHaveLength(2)
  })

  test('when it dies, all is as before', async () => {
    stopHolding('policies')
    await kill(child)
    limiter.setPolicy({ limit: 500 })
    expect(limiter.peek('old')).toMatchObject({ limit: 500, remaining: 90 })
  })
})
