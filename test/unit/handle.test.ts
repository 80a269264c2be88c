import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ErrorCode,
  Limiter,
  type LimiterHandle,
  type LimiterOptions,
  LimiterView,
  ManualClock,
} from '../../lib/index'
import { expectComplaint } from './coded'
import { freshName, held, removeRegions } from './regions'

const library = join(__dirname, '..', '..', 'dist', 'index.js')
const opened: Limiter[] = []

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(more: Partial<LimiterOptions> = {}): Limiter {
  return kept(new Limiter({ limit: 100, windowMs: 60_000, maxKeys: 100, ...more }))
}

function kept(limiter: Limiter): Limiter {
  opened.push(limiter)
  return limiter
}

/** Both ways to be attached to what `make` makes, each as its test needs it: private, and under a name. */
const KINDS: [string, () => Partial<LimiterOptions>][] = [
  ['a private limiter', () => ({})],
  ['a shared one', () => ({ shared: freshName() })],
]

describe.each(KINDS)('attached to %s by its handle', (_, options) => {
  test('sees the same keys, counts and policy', () => {
    const clock = new ManualClock()
    const first = open({ ...options(), burst: 50, clock })
    const second = kept(Limiter.attach(first.handle(), { clock }))
    expect(second.policy).toEqual({ algorithm: 'token-bucket', limit: 100, windowMs: 60_000, burst: 50 })
    expect(first.consume('key', 30).remaining).toBe(20)
    expect(second.consume('key', 15)).toMatchObject({ allowed: true, remaining: 5, limit: 50 })
    expect(first.consume('key', 6)).toMatchObject({ allowed: false, remaining: 5 })
    expect(second.block('other', 1000)).toBe(true)
    expect(first.peek('other').reason).toBe('blocked')
    expect(first.reset('other')).toBe(true)
    expect(second.peek('other').reason).toBe('ok')
    expect(first.refund('key', 10)).toBe(10)
    expect(second.penalize('key', 100)).toBe(15)
    expect(first.consumeMany(['key', 'fresh']).allowedCount).toBe(1)
    const { processes, ...whole } = first.stats({ perProcess: true })
    expect(second.stats()).toEqual(whole)
    expect(whole).toMatchObject({ allowed: 3, denied: 2 })
    expect(processes).toEqual([{ pid: process.pid, limiters: 2, allowed: 3, denied: 2, isSelf: true }])
  })

  test('a handle is plain data that survives copying', () => {
    const handle = open(options()).handle()
    expect(JSON.parse(JSON.stringify(handle))).toEqual(handle)
    expect(structuredClone(handle)).toEqual(handle)
    expect(kept(Limiter.attach(JSON.parse(JSON.stringify(handle)))).allow('key')).toBe(true)
  })

  test('tiers travel with it, unless others are given', () => {
    const first = open({
      ...options(),
      tiers: { paid: { limit: 1000, burst: 2000 }, slow: { windowMs: 120_000 } },
    })
    const handle = first.handle()
    expect(handle.tiers).toEqual({
      paid: { limit: 1000, burst: 2000, windowMs: 60_000 },
      slow: { limit: 100, burst: 100, windowMs: 120_000 },
    })
    const second = kept(Limiter.attach(handle))
    expect(second.tier('paid').consume('key', 1500)).toMatchObject({ limit: 2000, remaining: 500 })
    expect(first.tier('paid').peek('key').remaining).toBe(500)
    expect(second.handle()).toEqual(handle)
    const third = kept(Limiter.attach(handle, { tiers: { free: { limit: 10 } } }))
    expect(third.tier('free').peek('new').limit).toBe(10)
    expectComplaint(() => third.tier('paid'), { type: 'RangeError', code: 'ERR_SLUICE_TIER_UNKNOWN' })
  })

  test('tiers of a fixed window travel without burst', () => {
    const first = open({ ...options(), algorithm: 'fixed-window', tiers: { paid: { limit: 1000 } } })
    expect(first.handle().tiers).toEqual({ paid: { limit: 1000, windowMs: 60_000 } })
    expect(kept(Limiter.attach(first.handle())).tier('paid').peek('key').limit).toBe(1000)
  })

  test('views made by one are policies like any other’s', () => {
    const first = open(options())
    const second = kept(Limiter.attach(first.handle()))
    expect(first.with({ limit: 500 }).consume('key', 300).remaining).toBe(200)
    expect(second.with({ limit: 500 }).peek('key').remaining).toBe(200)
    expect(second.with({ limit: 400 }).peek('key').remaining).toBe(100)
    expect(second.peek('key').remaining).toBe(0)
    expect(second.with({ limit: 500 })).toBeInstanceOf(LimiterView)
  })

  test('who closes leaves the others as they are, whoever came first', () => {
    const first = open(options())
    const [second, third] = [kept(Limiter.attach(first.handle())), kept(Limiter.attach(first.handle()))]
    first.consume('key', 60)
    first.close()
    expectComplaint(() => first.allow('key'), { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
    expect(second.peek('key').remaining).toBe(40)
    const fourth = kept(Limiter.attach(second.handle()))
    third.close()
    second.close()
    expect(fourth.consume('key', 41).allowed).toBe(false)
    expect(fourth.stats({ perProcess: true })).toMatchObject({
      allowed: 1,
      denied: 1,
      processes: [{ limiters: 1, allowed: 0, denied: 1, isSelf: true }],
    })
  })

  test('after close every call of its own is ERR_SLUICE_CLOSED', () => {
    const limiter = open({ ...options(), tiers: { paid: { limit: 5 } } })
    const paid = limiter.tier('paid')
    limiter.close()
    limiter.close()
    const calls = [
      () => limiter.handle(),
      () => limiter.policy,
      () => limiter.setPolicy({ limit: 5 }),
      () => limiter.stats(),
      () => limiter.stats({ perProcess: true }),
      () => limiter.tier('paid'),
      () => limiter.with({ limit: 5 }),
      () => paid.allow('key'),
    ]
    for (const call of calls) expectComplaint(call, { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' })
  })

  test('a failed attempt takes no place and keeps nothing open', () => {
    const clock = new ManualClock()
    const limiter = open({ ...options(), clock })
    const handle = limiter.handle()
    const before = held()
    const attempts = [
      () => Limiter.attach(handle),
      () => Limiter.attach(handle, { clock, tiers: { paid: { limit: 0 } } }),
      () => Limiter.attach(handle, { clock, tiers: 5 as unknown as Record<string, object> }),
      () => Limiter.attach(handle, { clock: new ManualClock(Number.NaN) }),
      () => Limiter.attach(handle, { clock: new ManualClock(9e12) }),
      () => Limiter.attach({ ...handle, tiers: { paid: { limit: 1, windowMs: -5 } } }, { clock }),
    ]
    for (const attempt of attempts) expect(attempt).toThrow()
    expect(held()).toEqual(before)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
  })

  test('a tier for which the table has no room left takes no place either', () => {
    const limiter = open(options())
    for (let limit = 1; limit <= 1023; limit++) limiter.with({ limit })
    const before = held()
    for (let i = 0; i < 3; i++) {
      expectComplaint(() => Limiter.attach(limiter.handle(), { tiers: { paid: { limit: 5000 } } }), {
        type: 'RangeError',
        code: 'ERR_SLUICE_POLICY',
      })
    }
    expect(held()).toEqual(before)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
  })

  test('so many attached, and no more: the one that leaves makes room', () => {
    const limiter = open({ ...options(), maxKeys: 1 })
    const handle = limiter.handle()
    for (let i = 1; i < 1024; i++) kept(Limiter.attach(handle))
    const before = held()
    expectComplaint(() => Limiter.attach(handle), { type: 'RangeError', code: 'ERR_SLUICE_SHARED_FULL' })
    expect(held()).toEqual(before)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1024 }])
    opened.pop()?.close()
    expect(kept(Limiter.attach(handle)).allow('key')).toBe(true)
    expectComplaint(() => Limiter.attach(handle), { type: 'RangeError', code: 'ERR_SLUICE_SHARED_FULL' })
  })
})

describe('handles that lead nowhere', () => {
  const gone = { type: 'RangeError', code: 'ERR_SLUICE_HANDLE' } as const

  test('of a limiter that is closed everywhere', () => {
    const first = open()
    const handle = first.handle()
    const second = Limiter.attach(handle)
    first.close()
    Limiter.attach(handle).close()
    second.close()
    expectComplaint(() => Limiter.attach(handle), { ...gone, says: ['closed everywhere', 'shared'] })
  })

  test('of another process', () => {
    const code = `const { Limiter } = require(${JSON.stringify(library)})
      console.log(JSON.stringify(new Limiter({ limit: 1, windowMs: 1000, maxKeys: 1 }).handle()))`
    const { stdout, status } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' })
    expect(status).toBe(0)
    expectComplaint(() => Limiter.attach(JSON.parse(stdout)), { ...gone, says: ['another process'] })
  })

  test.each(['', 'x', '1.2.3.4.', 'x'.repeat(10_000), '\0'])('made up: %j', (id) => {
    open().handle()
    expectComplaint(() => Limiter.attach({ sluice: 'thread', id, tiers: {} }), gone)
  })

  test('of a shared limiter that has been removed', () => {
    const handle = open({ shared: freshName() }).handle()
    removeRegions()
    expectComplaint(() => Limiter.attach(handle), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_NOT_FOUND',
      says: [handle.id],
    })
  })

  test.each<[unknown, 'TypeError' | 'RangeError', ErrorCode]>([
    [undefined, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [null, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [5, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [[], 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [{}, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [{ sluice: 'thread', id: 5 }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [{ sluice: 'cluster', id: 'x' }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE'],
    [{ sluice: 'thread', id: 'x', extra: 1 }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN'],
    [{ sluice: 'machine', id: 'a/b', tiers: {} }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE'],
  ])('%o is no handle', (value, type, code) => {
    expectComplaint(() => Limiter.attach(value as LimiterHandle), { type, code })
  })

  test('attach knows no other options, and needs no others', () => {
    const handle = open().handle()
    for (const options of [{ shared: 'x' }, { limit: 5 }, { maxKeys: 5 }]) {
      expectComplaint(() => Limiter.attach(handle, options as object), {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_UNKNOWN',
        says: ['clock, tiers'],
      })
    }
    expectComplaint(() => Limiter.attach(handle, null as unknown as object), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_TYPE',
    })
    expect(kept(Limiter.attach(handle, {})).allow('key')).toBe(true)
  })
})

test('stats takes no other options', () => {
  expectComplaint(() => open().stats({ perprocess: true } as object), {
    type: 'TypeError',
    code: 'ERR_SLUICE_OPTION_UNKNOWN',
    says: ["'perProcess'"],
  })
})

test('a handle stays the same for as long as its limiter lives, and is never given twice', () => {
  const limiter = open()
  const handle = limiter.handle()
  expect(limiter.handle()).toEqual(handle)
  expect(kept(Limiter.attach(handle)).handle()).toEqual(handle)
  expect(open().handle().id).not.toBe(handle.id)
})

test('a handle with a name means what has that name when it is used', () => {
  const clock = new ManualClock(1000)
  const shared = freshName()
  const handle = open({ shared, clock }).handle()
  opened.pop()?.close()
  removeRegions()
  open({ shared, clock, limit: 7 })
  expect(kept(Limiter.attach(handle, { clock })).policy.limit).toBe(7)
})
