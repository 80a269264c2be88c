import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Algorithm, Limiter, ManualClock } from '../../lib'
import { makePolicy, type PolicyVariant } from '../../lib/policy/policy'
import type { Kind } from '../../lib/redis/calls'
import { type IndexedPolicy, LocalShare, type LocalShareOptions, shareOf } from '../../lib/redis/local-share'
import { SpentRecord } from '../../lib/redis/spent-record'
import { expectComplaint } from './coded'
import { ALGORITHMS } from './every-algorithm'

let clock: ManualClock
let hosts = 1
const opened: LocalShare[] = []

beforeEach(() => {
  clock = new ManualClock(1000)
  hosts = 1
})

afterEach(() => {
  for (const share of opened.splice(0)) share.close()
})

interface Scene {
  share: LocalShare
  base: IndexedPolicy
  policyOf(options: PolicyVariant): IndexedPolicy
}

function open(algorithm: Algorithm, options: PolicyVariant, more: Partial<LocalShareOptions> = {}): Scene {
  let index = 0
  const policyOf = (own: PolicyVariant) => ({ index: index++, policy: makePolicy(algorithm, own) })
  const base = policyOf(options)
  const share = new LocalShare({
    algorithm,
    policy: base.policy,
    hosts: () => hosts,
    maxKeys: 1000,
    clock,
    ...more,
  })
  opened.push(share)
  return { share, base, policyOf }
}

/** How many calls are admitted at once. */
function countAdmitted({ share, base }: Scene, key: string, under = base, kind: Kind = 'consume'): number {
  for (let count = 0; ; count++) if (!share.decide(under, key, 1, kind).allowed) return count
}

function windowOf(algorithm: Algorithm): PolicyVariant {
  return algorithm === 'concurrency' ? { holdMs: 1200 } : { windowMs: 1200 }
}

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const most = (limit: number) => (algorithm === 'leaky-bucket' ? limit + 1 : limit)

  test.each([
    [1, 10, 10],
    [2, 10, 5],
    [3, 10, 3],
    [4, 10, 2],
    [10, 10, 1],
    [11, 10, 1],
    [1000, 1, 1],
  ])('of %i hosts sharing %i, each admits %i at once', (count, limit, share) => {
    hosts = count
    const scene = open(algorithm, { limit, ...windowOf(algorithm) })
    expect(scene.share.decide(scene.base, 'k', 1, 'peek')).toMatchObject({
      allowed: true,
      limit: most(share),
      remaining: most(share),
      source: 'local',
      reason: 'ok',
    })
    expect(countAdmitted(scene, 'k')).toBe(most(share))
    expect(scene.share.decide(scene.base, 'k', 1, 'consume')).toMatchObject({
      allowed: false,
      remaining: 0,
      consumed: 0,
      source: 'local',
      reason: 'limited',
    })
  })

  test('the number of hosts is looked at again and again, and a change mints nothing', () => {
    hosts = 4
    const scene = open(algorithm, { limit: 40, ...windowOf(algorithm) })
    const tier = scene.policyOf({ limit: 20, ...windowOf(algorithm) })
    expect(countAdmitted(scene, 'k')).toBe(most(10))
    hosts = 8
    expect(countAdmitted(scene, 'k')).toBe(0)
    expect(countAdmitted(scene, 'new')).toBe(most(5))
    expect(countAdmitted(scene, 'of the tier', tier)).toBe(most(2))
    hosts = 2
    expect(countAdmitted(scene, 'newer')).toBe(most(20))
    // Buckets of the limiter's own policy keep what they have left, all else what it has spent.
    const rises = algorithm === 'token-bucket' || algorithm === 'leaky-bucket' ? 0 : 10
    expect(countAdmitted(scene, 'k')).toBe(rises)
    // What a queue has booked stays booked until then.
    expect(countAdmitted(scene, 'of the tier', tier)).toBe(algorithm === 'leaky-bucket' ? 0 : 8)
  })

  test('however often connection and hosts come and go, no key gets more than one host of all would', () => {
    const scene = open(algorithm, { limit: 30, ...windowOf(algorithm) })
    const tier = scene.policyOf({ limit: 12, ...windowOf(algorithm) })
    let state = 7
    const next = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    let [admitted, ofTier] = [0, 0]
    for (let step = 0; step < 2000; step++) {
      hosts = 1 + next(40)
      scene.share.takeSpent()
      if (scene.share.decide(scene.base, 'k', 1, 'consume').allowed) admitted++
      if (scene.share.decide(tier, 't', 1, 'consume').allowed) ofTier++
    }
    expect(admitted).toBeLessThanOrEqual(most(30))
    expect(ofTier).toBeLessThanOrEqual(most(12))
    expect(ofTier).toBeGreaterThan(1)
  })

  test('after some thousand different numbers of hosts it still decides', () => {
    const limit = algorithm === 'sliding-log' ? 64 : 100_000
    const scene = open(algorithm, { limit, ...windowOf(algorithm) }, { maxKeys: 20_000 })
    const tier = scene.policyOf({ limit: limit - 1, ...windowOf(algorithm) })
    for (hosts = 1; hosts < 1500; hosts++) {
      expect(scene.share.decide(scene.base, hosts, 1, 'consume').allowed).toBe(true)
      expect(scene.share.decide(tier, `tier ${hosts}`, 1, 'consume').allowed).toBe(true)
    }
  })

  test('bad keys and costs are refused as by a limiter', () => {
    const { share, base } = open(algorithm, { limit: 10, ...windowOf(algorithm) })
    for (const kind of ['allow', 'consume', 'partial', 'wait', 'peek'] as const) {
      expectComplaint(() => share.decide(base, null as never, 1, kind), {
        type: 'TypeError',
        code: 'ERR_SLUICE_KEY_TYPE',
      })
    }
    for (const kind of ['allow', 'consume', 'wait'] as const) {
      expectComplaint(() => share.decide(base, 'k', -1, kind), {
        type: 'RangeError',
        code: 'ERR_SLUICE_ARGUMENT_RANGE',
      })
    }
    expect(share.decide(base, 'k', 1, 'peek').remaining).toBe(most(10))
    expect(share.takeSpent()).toEqual({ spent: [], lostTokens: 0 })
  })

  test('a cost above the share can never fit, but for a part of it', () => {
    hosts = 2
    const { share, base } = open(algorithm, { limit: 10, ...windowOf(algorithm) })
    expect(share.decide(base, 'k', 7, 'consume')).toMatchObject({ allowed: false, reason: 'too-costly' })
    if (algorithm === 'concurrency') return
    expect(share.decide(base, 'k', 7, 'partial')).toMatchObject({ allowed: true, consumed: most(5) })
  })
})

describe('what a share is', () => {
  const of = (algorithm: Algorithm, options: PolicyVariant, count: number) =>
    shareOf(algorithm, makePolicy(algorithm, options), count)

  test('burst, queue and initial are divided like the limit', () => {
    const bucket = { limit: 100, windowMs: 1000, burst: 20, initial: 9, rememberMs: 5000 }
    expect(of('token-bucket', bucket, 3)).toEqual({
      limit: 33,
      windowMs: 1000,
      burst: 6,
      initial: 3,
      rememberMs: 5000,
    })
    expect(of('token-bucket', bucket, 50)).toEqual({
      limit: 2,
      windowMs: 1000,
      burst: 1,
      initial: 1,
      rememberMs: 5000,
    })
    expect(of('leaky-bucket', { limit: 100, windowMs: 1000, queue: 7 }, 3)).toEqual({
      limit: 33,
      windowMs: 1000,
      queue: 2,
    })
    expect(of('leaky-bucket', { limit: 1, windowMs: 1000, queue: 1 }, 3)).toEqual({
      limit: 1,
      windowMs: 1000,
      queue: 1,
    })
    expect(of('fixed-window', { limit: 10, windowMs: 1000, initial: 50 }, 4)).toMatchObject({
      limit: 2,
      initial: 12,
    })
    expect(of('fixed-window', { limit: 10, windowMs: 1000, evenly: true }, 4)).toMatchObject({
      limit: 2,
      evenly: true,
    })
    expect(of('concurrency', { limit: 10, holdMs: 1000 }, 4)).toEqual({ limit: 2, holdMs: 1000 })
  })

  test.each([
    ['token-bucket', { limit: 3, windowMs: 1e9, burst: 13_835 }, 2],
    ['token-bucket', { limit: 3, windowMs: 1e9, burst: 13_835 }, 5],
    ['token-bucket', { limit: 199, windowMs: 1e12, burst: 900 }, 100],
    ['token-bucket', { limit: 1, windowMs: 2_300_000_000_000 }, 7],
    ['token-bucket', { limit: 2 ** 53 - 1, windowMs: 4_611_686_018_427 }, 3],
    ['leaky-bucket', { limit: 3, windowMs: 1e9, queue: 13_834 }, 2],
    ['leaky-bucket', { limit: 1, windowMs: 2_300_000_000_000, queue: 1 }, 7],
  ] as const)('a share can always be made: %s %j among %i', (algorithm, options, count) => {
    hosts = count
    const scene = open(algorithm, options)
    expect(scene.share.decide(scene.base, 'k', 1, 'consume')).toMatchObject({ allowed: true })
  })

  test('refilling takes as long as the share says', () => {
    hosts = 3
    const { share, base } = open('token-bucket', { limit: 60, windowMs: 1000, burst: 6 })
    for (let i = 0; i < 2; i++) expect(share.decide(base, 'k', 1, 'consume').allowed).toBe(true)
    expect(share.decide(base, 'k', 1, 'consume')).toMatchObject({
      allowed: false,
      retryAfterMs: 50,
      resetAfterMs: 100,
    })
    clock.advance(50)
    expect(share.decide(base, 'k', 1, 'consume').allowed).toBe(true)
  })
})

describe('a leaky bucket', () => {
  test('lets calls out as far apart as the share says', () => {
    hosts = 2
    const { share, base } = open('leaky-bucket', { limit: 10, windowMs: 1000, queue: 6 })
    const delays = [0, 1, 2, 3].map(() => share.decide(base, 'k', 1, 'consume').delayMs)
    expect(delays).toEqual([0, 200, 400, 600])
    expect(share.decide(base, 'k', 1, 'consume').allowed).toBe(false)
  })

  test('admits what must go out at once only if it may', () => {
    const { share, base } = open('leaky-bucket', { limit: 10, windowMs: 1000 })
    expect(share.decide(base, 'k', 1, 'allow').allowed).toBe(true)
    expect(share.decide(base, 'k', 1, 'allow')).toMatchObject({ allowed: false, retryAfterMs: 100 })
    expect(share.decide(base, 'k', 1, 'wait', 99)).toMatchObject({ allowed: false })
    expect(share.decide(base, 'k', 1, 'wait', 100)).toMatchObject({ allowed: true, delayMs: 100 })
    expect(share.decide(base, 'k', 1, 'wait')).toMatchObject({ allowed: true, delayMs: 200 })
    clock.advance(300)
    expect(share.decide(base, 'k', 1, 'allow').allowed).toBe(true)
  })
})

describe('concurrency', () => {
  test('a place is given back once, and lapses', () => {
    hosts = 2
    const scene = open('concurrency', { limit: 4, holdMs: 1200 })
    const { share, base } = scene
    const first = share.decide(base, 'k', 1, 'consume')
    const second = share.decide(base, 'k', 1, 'wait')
    const denied = share.decide(base, 'k', 1, 'consume')
    expect([first.allowed, second.allowed, denied.allowed]).toEqual([true, true, false])
    expect(share.release(denied)).toBe(false)
    expect(share.release(first)).toBe(true)
    expectComplaint(() => share.release(first), { type: 'TypeError', code: 'ERR_SLUICE_RELEASED' })
    expect(countAdmitted(scene, 'k')).toBe(1)
    clock.advance(1300)
    expect(share.release(second)).toBe(false)
    expect(countAdmitted(scene, 'k')).toBe(2)
    expect(share.takeSpent().spent).toEqual([])
  })

  test('what is no lease is not released', () => {
    const { share, base } = open('concurrency', { limit: 4, holdMs: 1200 })
    expect(share.release(share.decide(base, 'k', 1, 'peek'))).toBe(false)
  })
})

describe('policies', () => {
  test('a tier has its own share, and what is spent under one counts under all', () => {
    hosts = 2
    const scene = open(
      'fixed-window',
      { limit: 10, windowMs: 1000 },
      { tiers: { big: { limit: 1_000_000 } } },
    )
    const big = scene.policyOf({ limit: 1_000_000, windowMs: 1000 })
    expect(scene.share.decide(big, 'k', 499_998, 'consume').allowed).toBe(true)
    expect(scene.share.decide(big, 'k', 1, 'peek')).toMatchObject({ limit: 500_000, remaining: 2 })
    expect(scene.share.decide(scene.base, 'k', 1, 'consume').allowed).toBe(false)
    expect(countAdmitted(scene, 'k', big)).toBe(2)
  })

  test('one that is greater than the table can count to is cut, not refused', () => {
    const scene = open('fixed-window', { limit: 10, windowMs: 3_600_000 })
    const late = scene.policyOf({ limit: 2 ** 40, windowMs: 3_600_000, initial: 2 ** 41 })
    expect(scene.share.decide(late, 'k', 1, 'consume')).toMatchObject({ allowed: true })
  })

  test("the limiter's own may change: nobody's bucket is refilled", () => {
    hosts = 2
    const scene = open('token-bucket', { limit: 10, windowMs: 1000 })
    expect(countAdmitted(scene, 'k')).toBe(5)
    const next = scene.policyOf({ limit: 40, windowMs: 1000 })
    scene.share.setPolicy(next)
    expect(countAdmitted(scene, 'k', next)).toBe(0)
    expect(countAdmitted(scene, 'new', next)).toBe(20)
    clock.advance(100)
    expect(countAdmitted(scene, 'k', next)).toBe(2)
  })

  test('offenders are blocked, and windows aligned, as the limiter says', () => {
    const escalating = open(
      'fixed-window',
      { limit: 1, windowMs: 100 },
      { escalation: { blockMs: [5000], forgetMs: 60_000 } },
    )
    expect(countAdmitted(escalating, 'k')).toBe(1)
    expect(escalating.share.decide(escalating.base, 'k', 1, 'consume')).toMatchObject({
      reason: 'blocked',
      retryAfterMs: 5000,
    })
    clock.set(10_030)
    const aligned = open('fixed-window', { limit: 1, windowMs: 100 }, { align: 'epoch' })
    expect(aligned.share.decide(aligned.base, 'k', 1, 'consume')).toMatchObject({ resetAfterMs: 70 })
  })
})

describe('what was spent', () => {
  const taken = (share: LocalShare) =>
    share.takeSpent().spent.map(({ index, key, tokens }) => [index, key, tokens])

  test('is told once, by policy and key', () => {
    const scene = open('fixed-window', { limit: 10, windowMs: 1000 })
    const tier = scene.policyOf({ limit: 5, windowMs: 1000 })
    const { share, base } = scene
    const bytes = Uint8Array.of(1)
    for (const key of ['k', 'k', 5, '5', bytes]) share.decide(base, key, 2, 'consume')
    bytes[0] = 9
    share.decide(base, 'partly', 12, 'partial')
    share.decide(base, 'partly', 1, 'consume')
    share.decide(base, 'only looked at', 1, 'peek')
    share.decide(base, 'free', 0, 'consume')
    share.decide(tier, 'k', 1, 'allow')
    expect(taken(share)).toEqual([
      [0, 'k', 4],
      [0, 5, 2],
      [0, '5', 2],
      [0, Uint8Array.of(1), 2],
      [0, 'partly', 10],
      [1, 'k', 1],
    ])
    expect(taken(share)).toEqual([])
    share.decide(base, 'k', 3, 'consume')
    expect(taken(share)).toEqual([[0, 'k', 3]])
  })

  test('less what has come back since', () => {
    hosts = 2
    const { share, base } = open('token-bucket', { limit: 20, windowMs: 1000 })
    for (let i = 0; i < 30; i++) {
      expect(share.decide(base, 'k', 1, 'consume').allowed).toBe(true)
      clock.advance(100)
    }
    share.decide(base, 'k', 6, 'consume')
    expect(taken(share)).toEqual([[0, 'k', 6]])
    share.decide(base, 'long ago', 6, 'consume')
    clock.advance(10_000)
    expect(taken(share)).toEqual([])
  })

  test('less what was given back', () => {
    const { share, base } = open('fixed-window', { limit: 10, windowMs: 1000 })
    for (const key of ['k', 'all']) share.decide(base, key, 4, 'consume')
    share.refund(base, 'k', 3)
    share.refund(base, 'all', 4)
    share.refund(base, 'never seen', 4)
    expect(share.decide(base, 'k', 1, 'peek').remaining).toBe(9)
    expect(taken(share)).toEqual([[0, 'k', 1]])
    share.refund(base, 'k', 1)
    expect(taken(share)).toEqual([])
  })

  test('may be put back, if it could not be told after all', () => {
    const { share, base } = open('fixed-window', { limit: 10, windowMs: 1000 })
    share.decide(base, 'k', 4, 'consume')
    const { spent } = share.takeSpent()
    share.decide(base, 'k', 2, 'consume')
    for (const entry of spent) share.record(entry, entry.key, entry.tokens)
    expect(taken(share)).toEqual([[0, 'k', 6]])
  })

  test('all of it, where a new key begins with something else than a limit', () => {
    const { share, base } = open('fixed-window', { limit: 10, windowMs: 1000, initial: 50 })
    for (let i = 0; i < 20; i++) share.decide(base, 'k', 1, 'consume')
    expect(taken(share)).toEqual([[0, 'k', 20]])
  })

  test('of many keys, those that have spent most; the rest is counted', () => {
    const { policy } = open('fixed-window', { limit: 10, windowMs: 1000 }).base
    const record = new SpentRecord(100)
    let total = 0
    const add = (key: string, tokens: number) => {
      record.add(0, policy, key, tokens)
      total += tokens
    }
    for (let i = 0; i < 20; i++) add(`heavy ${i}`, 500)
    for (let i = 0; i < 50_000; i++) add(`spray ${i}`, 1 + (i % 3))
    // A heavy one that comes when it is full.
    for (let i = 0; i < 50; i++) {
      add('late', 1)
      add(`more ${i}`, 1)
    }
    const { spent, lostTokens } = record.take()
    expect(spent).toHaveLength(100)
    expect(spent.filter(({ key }) => String(key).startsWith('heavy'))).toHaveLength(20)
    expect(spent.find(({ key }) => key === 'late')?.tokens).toBe(50)
    expect(spent.reduce((sum, { tokens }) => sum + tokens, 0) + lostTokens).toBe(total)
    expect(record.take()).toEqual({ spent: [], lostTokens: 0 })
  })
})

test('processes of one machine have one share together', () => {
  const name = `sluice-test-share-${process.pid}`
  try {
    hosts = 2
    const scenes = [0, 1].map(() => open('token-bucket', { limit: 20, windowMs: 1000 }, { shared: name }))
    const [one, other] = scenes as [Scene, Scene]
    expect(one.share.decide(one.base, 'k', 6, 'consume').allowed).toBe(true)
    expect(other.share.decide(other.base, 'k', 1, 'peek').remaining).toBe(4)
    hosts = 4
    expect(other.share.decide(other.base, 'k', 1, 'peek')).toMatchObject({ limit: 5, remaining: 0 })
    expect(one.share.decide(one.base, 'new', 1, 'consume')).toMatchObject({ limit: 5 })
  } finally {
    for (const share of opened.splice(0)) share.close()
    Limiter.remove(`${name}.s`)
  }
})

test('closed, it says so', () => {
  const { share, base } = open('fixed-window', { limit: 10, windowMs: 1000 })
  share.close()
  expectComplaint(() => share.decide(base, 'k', 1, 'consume'), {
    type: 'TypeError',
    code: 'ERR_SLUICE_CLOSED',
  })
})
