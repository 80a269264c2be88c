import { rmSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ManualClock } from '../../lib/index'
import type { Decision } from '../../lib/limiter/decision'
import type { Key } from '../../lib/limiter/view'
import type { Algorithm } from '../../lib/policy/algorithms'
import type { Call } from '../../lib/redis/calls'
import { redisKey } from '../../lib/redis/keys'
import { Leases } from '../../lib/redis/leases'
import type { RedisCore } from '../../lib/redis/redis-core'
import { fileOf, freshName } from './regions'

const LEASE_MS = 100
const ORIGIN = 7
const MAX_WATCHED = 10_000

interface Granting {
  granted?: number
  validMs?: number
  origin?: number
  outcome?: number
}

/** Stands for the limiter and for Redis: keeps what is sent, until the test answers it. */
class FakeCore {
  readonly clock = new ManualClock(1000)
  readonly settings: { algorithm: Algorithm; timeoutMs: number } = {
    algorithm: 'token-bucket',
    timeoutMs: 80,
  }
  readonly hosts = { count: 2 }
  readonly script = { name: '', text: '', sha: '' }
  base = { index: 0, text: '', policy: { limit: 100_000, capacity: 100_000, windowMs: 10_000 } }
  sent: Call[] = []
  readonly items: string[] = []
  readonly sources: string[] = []
  failsToTell = false

  now(): string {
    return String(this.nowMs() * 1000)
  }

  nowMs(): number {
    if (this.failsToTell) throw new Error('no time')
    return this.clock.now()
  }

  nameOf(key: Key): string {
    return redisKey('t', key)
  }

  send(call: Call): void {
    this.sent.push(call)
    this.items.push(call.item)
  }

  count(source: string): void {
    this.sources.push(source)
  }

  succeeded(): void {}
  failed(): void {}
  noteDenial(): void {}

  withoutRedis(): Partial<Decision> {
    return { allowed: false, source: 'closed' }
  }

  /** The next one that waits for an answer. */
  take(): Call {
    const call = this.sent.shift()
    if (call === undefined) throw new Error('nothing was sent')
    return call
  }

  /** Answers the next one. */
  answer({ granted = 0, validMs = LEASE_MS, origin = ORIGIN, outcome = 0 }: Granting = {}): void {
    const buffer = Buffer.alloc(72)
    const numbers = [outcome, 5, 0, 0, 0, 1, granted, validMs * 1000, origin]
    numbers.forEach((number, i) => {
      buffer.writeDoubleLE(number, 8 * i)
    })
    this.take().answer(buffer, 0)
  }

  /** The items that were sent since the last time. */
  news(): string[] {
    return this.items.splice(0)
  }
}

let core: FakeCore
let leases: Leases
let decisions: Decision[]

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  core = new FakeCore()
  leases = open()
  decisions = []
})

afterEach(async () => {
  core.failsToTell = false
  const closing = leases.close()
  while (core.sent.length > 0) core.answer()
  await closing
  vi.useRealTimers()
})

function open(shared?: string): Leases {
  const options = { leaseMs: LEASE_MS, maxKeys: 1000, shared, clock: core.clock }
  return new Leases(core as unknown as RedisCore, options)
}

/** As a view does it. */
function ask(cost = 1, key: Key = 'key'): void {
  if (leases.take(key, cost)) core.count('purse')
  else leases.decide(key, core.nameOf(key), cost, (decision) => decisions.push(decision))
}

/** So many calls that are decided one by one, in so many ms each. */
function askExactly(count: number, everyMs: number, key: Key = 'key'): void {
  for (let i = 0; i < count; i++) {
    ask(1, key)
    core.answer()
    pass(everyMs)
  }
}

function pass(ms: number): void {
  core.clock.advance(ms)
  vi.advanceTimersByTime(ms)
}

/** A key that has borrowed. */
function borrow(granting: Granting): void {
  askExactly(3, 5)
  ask()
  core.answer(granting)
  core.news()
}

function spend(count: number): void {
  for (let i = 0; i < count; i++) expect(leases.take('key', 1)).toBe(true)
}

describe('demand', () => {
  test('the fourth call within a lease borrows what the key needs until it lapses', () => {
    askExactly(3, 10)
    ask()
    // Four in 30 ms, so 14 in 100; to a purse without origin, among two hosts.
    expect(core.news()).toEqual(['1', '1', '1', 'l 1 14 0 100000 2 0'])
  })

  test('a key that is asked for less often is always decided exactly', () => {
    for (let i = 0; i < 20; i++) askExactly(1, 34)
    expect(new Set(core.news())).toEqual(new Set(['1']))
  })

  test('one burst does not borrow more than 32 tokens, the next at most eight times as much as there was', () => {
    askExactly(3, 0)
    ask()
    core.answer({ granted: 32 })
    expect(core.news().at(-1)).toBe('l 1 32 0 100000 2 0')
    spend(32)
    ask()
    expect(core.news()).toEqual([`l 1 256 0 100000 2 ${ORIGIN}`])
  })

  test('costs count as tokens; what can never be admitted counts for nothing', () => {
    for (let i = 0; i < 10; i++) {
      ask(100_001)
      core.answer({ outcome: 2 })
    }
    expect(new Set(core.news())).toEqual(new Set(['100001']))
    for (let i = 0; i < 3; i++) {
      ask(3)
      core.answer()
    }
    pass(50)
    ask(3)
    expect(core.news().at(-1)).toBe('l 3 24 0 100000 2 0')
  })

  test('of a short window a twelfth is borrowed for; of a very short one nothing', () => {
    core.base = { ...core.base, policy: { limit: 100, capacity: 50, windowMs: 1200 } }
    askExactly(3, 1)
    ask()
    expect(core.news().at(-1)).toMatch(/^l 1 32 0 50000 2 0$/)
    core.answer()
    core.base = { ...core.base, policy: { limit: 100, capacity: 50, windowMs: 50 } }
    for (let i = 0; i < 20; i++) askExactly(1, 0, 'other')
    expect(core.items.filter((item) => item.startsWith('l'))).toEqual([])
  })

  test('where nothing is to be had, calls are decided exactly for a while', () => {
    borrow({ granted: 0 })
    for (let i = 0; i < 5; i++) askExactly(1, 4)
    expect(core.news()).toEqual(['1', '1', '1', '1', '1'])
    pass(4)
    ask()
    expect(core.news()).toEqual(['1'])
    pass(1)
    // Five in 25 ms.
    expect(core.news()).toEqual([`l 0 24 0 100000 2 0`])
  })

  test('a spray of keys: what is watched is bounded, and a key in demand borrows all the same', () => {
    for (let i = 0; i < 3 * MAX_WATCHED; i++) {
      ask(1, `cold ${i}`)
      core.sent.length = 0
    }
    expect(leases.size).toBe(MAX_WATCHED)
    core.news()
    borrow({ granted: 10 })
    for (let i = 0; i < 2 * MAX_WATCHED; i++) ask(1, `other ${i}`)
    core.sent.length = 0
    expect(leases.size).toBe(MAX_WATCHED + 1)
    expect(leases.balance('key')).toBe(10)
  })

  test('bytes that the caller changes afterwards are not what was asked for', () => {
    const bytes = new Uint8Array([1, 2])
    askExactly(3, 5, bytes)
    ask(1, bytes)
    bytes[0] = 9
    core.answer({ granted: 10 })
    expect([leases.balance(new Uint8Array([1, 2])), leases.balance(bytes)]).toEqual([10, 0])
  })
})

describe('a loan', () => {
  test('is spent, and no further than it goes', () => {
    borrow({ granted: 10 })
    expect(leases.balance('key')).toBe(10)
    spend(10)
    expect(leases.take('key', 1)).toBe(false)
  })

  test('is valid from when it was asked for', () => {
    askExactly(3, 5)
    ask()
    pass(60)
    core.answer({ granted: 10 })
    core.clock.advance(38)
    expect(leases.balance('key')).toBe(10)
    core.clock.advance(2)
    expect(leases.balance('key')).toBe(0)
  })

  test('that comes too late is given back unspent', () => {
    askExactly(3, 5)
    ask()
    core.clock.advance(LEASE_MS)
    core.news()
    core.answer({ granted: 10 })
    expect(leases.balance('key')).toBe(0)
    expect(core.news()).toEqual([`u 10 ${ORIGIN}`])
    expect(decisions.at(-1)).toMatchObject({ allowed: true, source: 'exact' })
  })

  test('of a key that was forgotten meanwhile is not spent, nor given back', () => {
    askExactly(3, 5)
    ask()
    leases.forget('key')
    core.news()
    core.answer({ granted: 10 })
    expect(leases.balance('key')).toBe(0)
    expect(core.news()).toEqual([])
    expect(decisions).toHaveLength(4)
  })

  test('that comes after the end is given back, and who has waited for it is decided in Redis', async () => {
    askExactly(3, 5)
    ask()
    ask()
    await leases.close()
    core.news()
    core.answer({ granted: 10 })
    expect(core.news()).toEqual([`u 10 ${ORIGIN}`, '1'])
    core.answer()
    core.answer()
    expect(decisions).toHaveLength(5)
  })

  test('of more than a purse holds is given back in part', () => {
    borrow({ granted: 2 ** 33 })
    expect(leases.balance('key')).toBe(2 ** 32 - 2)
    expect(core.items).toEqual([])
    expect(core.sent.map(({ item }) => item)).toEqual([`u ${2 ** 33 - (2 ** 32 - 2)} ${ORIGIN}`])
  })

  test('beside what others of this machine have borrowed meanwhile has no known origin any more', async () => {
    const shared = freshName()
    const [mine, others] = [open(shared), open(shared)]
    leases = mine
    borrow({ granted: 10 })
    expect(others.balance('key')).toBe(10)
    spend(10)
    ask()
    const loan = core.take()
    leases = others
    borrow({ granted: 20 })
    core.sent.unshift(loan)
    core.answer({ granted: 10, origin: ORIGIN })
    leases = mine
    expect(leases.balance('key')).toBe(30)
    spend(30)
    ask()
    // So what is held is charged again, and what is left is not given back.
    expect(core.news()).toEqual([expect.stringMatching(/^l 1 \d+ 0 100000 2 0$/)])
    core.answer({ granted: 10 })
    leases = others
    ask(11)
    expect(core.news()).toEqual([expect.stringMatching(/^l 11 \d+ 10 100000 2 7$/)])
    core.answer()
    const closing = [mine.close(), others.close()]
    while (core.sent.length > 0) core.answer()
    await Promise.all(closing)
    rmSync(fileOf(`${shared}.p`))
    leases = open()
  })

  test('whose decision was a denial leaves what the purse holds', () => {
    borrow({ granted: 10 })
    ask(20)
    expect(core.news()).toEqual([expect.stringMatching(/^l 20 \d+ 10 /)])
    core.answer({ outcome: 1, validMs: 0, origin: 0 })
    expect(leases.balance('key')).toBe(10)
    expect(decisions.at(-1)).toMatchObject({ allowed: false, reason: 'limited', source: 'exact' })
  })
})

describe('those who wait for a loan', () => {
  beforeEach(() => {
    askExactly(3, 5)
    decisions.length = 0
    for (let i = 0; i < 4; i++) ask()
    core.news()
  })

  test('spend it, and the rest are decided in Redis, together', () => {
    expect(core.sent).toHaveLength(1)
    core.answer({ granted: 2 })
    expect(decisions.map(({ source }) => source)).toEqual(['exact', 'lease', 'lease'])
    expect(core.news()).toEqual(['1'])
    core.answer()
    expect(decisions).toHaveLength(4)
  })

  test('have only what is left of their time', () => {
    pass(35)
    core.answer({ granted: 0 })
    // 45 of 80 ms, in steps of an eighth.
    expect(core.sent.map(({ timeoutMs }) => timeoutMs)).toEqual([40, 40, 40])
    while (core.sent.length > 0) core.answer()
  })

  test('are answered at once if no time is left', () => {
    pass(75)
    core.answer({ granted: 0 })
    expect(decisions.map(({ source }) => source)).toEqual(['exact', 'closed', 'closed', 'closed'])
  })

  test('are answered at once if Redis has not answered', () => {
    core.take().fail(new Error('timeout'))
    expect(decisions.map(({ source }) => source)).toEqual(['closed', 'closed', 'closed', 'closed'])
    expect(core.news()).toEqual([])
  })

  test('are answered even if the clock fails meanwhile', () => {
    const loan = core.take()
    core.failsToTell = true
    core.sent.push(loan)
    core.answer({ granted: 10 })
    expect(decisions.map(({ source }) => source)).toEqual(['exact', 'closed', 'closed', 'closed'])
  })
})

describe('as time goes by', () => {
  test('a loan that is half spent is renewed', () => {
    borrow({ granted: 100 })
    spend(60)
    pass(25)
    // 60 in 25 ms, so 240 in 100, of which 40 are there.
    expect(core.news()).toEqual([`l 0 200 40 100000 2 ${ORIGIN}`])
    core.answer({ granted: 200 })
    expect(leases.balance('key')).toBe(240)
  })

  test('one that will lapse is renewed, if only a little more is needed', () => {
    borrow({ granted: 40 })
    spend(15)
    pass(25)
    expect(core.news()).toEqual([])
    pass(25)
    // 15 in 50 ms: 30 in 100; 25 are there.
    expect(core.news()).toEqual([`l 0 5 25 100000 2 ${ORIGIN}`])
    core.answer({ granted: 5 })
    core.clock.advance(95)
    expect(leases.balance('key')).toBe(30)
  })

  test('what nobody has asked for in half a lease is given back, and the key is watched no more', () => {
    borrow({ granted: 40 })
    pass(25)
    expect(core.news()).toEqual([])
    pass(25)
    expect(core.news()).toEqual([`u 40 ${ORIGIN}`])
    expect([leases.size, leases.balance('key'), vi.getTimerCount()]).toEqual([0, 0, 0])
  })

  test('what will not be spent in time is given back before it lapses', () => {
    borrow({ granted: 100 })
    spend(1)
    pass(75)
    expect(core.news()).toEqual([`u 99 ${ORIGIN}`])
  })

  test('two ms before the window ends, what is left of it is given back', () => {
    borrow({ granted: 100, validMs: 40 })
    spend(10)
    pass(24)
    spend(10)
    pass(12)
    expect(core.news()).toEqual([])
    pass(2)
    expect(core.news()).toEqual([`u 80 ${ORIGIN}`])
  })

  test('no more is borrowed than the key needs until the window ends', () => {
    borrow({ granted: 40, validMs: 40 })
    pass(10)
    spend(40)
    ask()
    // 41 in 10 ms, and 30 ms are left, less what the clocks may differ.
    expect(core.news()).toEqual([expect.stringMatching(/^l 1 12[0-3] 0 /)])
  })

  test('nothing that has lapsed counts as spent', () => {
    borrow({ granted: 100, validMs: 20 })
    core.clock.advance(60)
    vi.advanceTimersByTime(25)
    expect(core.news()).toEqual([])
    expect(leases.size).toBe(0)
  })

  test('while Redis is away nothing is lost but what lapses', () => {
    borrow({ granted: 40 })
    spend(30)
    pass(25)
    core.take().fail(new Error('timeout'))
    expect(leases.balance('key')).toBe(10)
    spend(10)
    decisions.length = 0
    ask()
    core.take().fail(new Error('timeout'))
    expect(decisions).toEqual([{ allowed: false, source: 'closed' }])
  })

  test('a clock that fails ends nothing, and does not keep the end from coming', async () => {
    borrow({ granted: 40 })
    core.failsToTell = true
    vi.advanceTimersByTime(25)
    core.failsToTell = false
    pass(50)
    expect(core.news()).toEqual([`u 40 ${ORIGIN}`])
    borrow({ granted: 40 })
    core.failsToTell = true
    await leases.close()
    leases = open()
  })
})

test('at the end all loans are given back', async () => {
  borrow({ granted: 40 })
  spend(7)
  const closing = leases.close()
  expect(core.news()).toEqual([`u 33 ${ORIGIN}`])
  core.answer()
  await closing
  expect(vi.getTimerCount()).toBe(0)
})

test('no timer keeps the process alive', () => {
  const set = vi.spyOn(globalThis, 'setTimeout')
  borrow({ granted: 40, validMs: 50 })
  expect(set.mock.results.map(({ value }) => value.hasRef())).toEqual([false, false])
})

test('of all keys at once nothing is left', () => {
  borrow({ granted: 40 })
  leases.forgetAll()
  expect([leases.size, leases.balance('key')]).toEqual([0, 0])
  expect(core.news()).toEqual([])
})
