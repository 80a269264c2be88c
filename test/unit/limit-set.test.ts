import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, kept, open, tenOf } from './every-algorithm'
import { freshName, removeRegions } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  closeAll()
  removeRegions()
})

function make(more: Partial<LimiterOptions> = {}): Limiter {
  return open({ limit: 10, windowMs: 1000, maxKeys: 100, clock, ...more })
}

/** Three that differ in what they let pass and for how long they refuse. */
function three(): { second: Limiter; minute: Limiter; all: Limiter; set: LimitSet } {
  const second = make({ algorithm: 'fixed-window', limit: 5, windowMs: 1000 })
  const minute = make({ algorithm: 'fixed-window', limit: 8, windowMs: 60_000 })
  const all = make({ limit: 100, windowMs: 10_000, maxKeys: 1 })
  const set = new LimitSet([
    { name: 'second', limiter: second },
    { name: 'minute', limiter: minute },
    { name: 'all', limiter: all },
  ])
  return { second, minute, all, set }
}

describe('decisions', () => {
  test('of an admitted call: the member with least left speaks, all are there', () => {
    const { set } = three()
    const decision = set.consume('k', 3)
    expect(decision).toMatchObject({ allowed: true, limit: 5, remaining: 2, consumed: 3, reason: 'ok' })
    expect(decision).not.toHaveProperty('limitedBy')
    const { decisions, ...spoken } = decision
    expect(decisions['second']).toEqual(spoken)
    expect(decisions).toMatchObject({
      second: { limit: 5, remaining: 2, consumed: 3, resetAfterMs: 1000 },
      minute: { limit: 8, remaining: 5, consumed: 3, resetAfterMs: 60_000 },
      all: { limit: 100, remaining: 97, consumed: 3, resetAfterMs: 300 },
    })
  })

  test('of a refused call: who refuses longest speaks; the others have spent nothing', () => {
    const { set, second, all } = three()
    set.consume('k', 5)
    const refused = set.consume('k')
    expect(refused).toMatchObject({
      allowed: false,
      limitedBy: 'second',
      reason: 'limited',
      retryAfterMs: 1000,
    })
    expect(refused.consumed).toBe(0)
    expect(refused.decisions).toMatchObject({
      second: { allowed: false, remaining: 0, retryAfterMs: 1000, consumed: 0 },
      minute: { allowed: true, remaining: 3, retryAfterMs: 0, consumed: 0, reason: 'ok' },
      all: { allowed: true, remaining: 95, consumed: 0 },
    })
    expect([second.peek('k').remaining, all.peek('k').remaining]).toEqual([0, 95])
    clock.set(999.999)
    expect(set.allow('k')).toBe(false)
    clock.set(1000)
    expect(set.consume('k', 3).allowed).toBe(true)
    const both = set.consume('k', 3)
    expect(both).toMatchObject({ allowed: false, limitedBy: 'minute', retryAfterMs: 59_000 })
    expect(both.decisions['second']).toMatchObject({ allowed: false, retryAfterMs: 1000 })
    clock.set(59_999.999)
    expect(set.allow('k', 3)).toBe(false)
    clock.set(60_000)
    expect(set.allow('k', 3)).toBe(true)
  })

  test('what can never fit, a block, and a full table are told as by a limiter', () => {
    const { set, minute, all } = three()
    const never = { allowed: false, limitedBy: 'second', reason: 'too-costly', retryAfterMs: Infinity }
    expect(set.consume('k', 6)).toMatchObject(never)
    minute.block('k', 70)
    expect(set.consume('k')).toMatchObject({ limitedBy: 'minute', reason: 'blocked', retryAfterMs: 70 })
    expect(set.consume('k', 0)).toMatchObject({ limitedBy: 'minute', reason: 'blocked' })
    const tiny = make({ maxKeys: 1, limit: 1 })
    const crowd = new LimitSet([tiny, make()])
    const { capacity } = tiny.stats()
    for (let i = 0; i < capacity; i++) tiny.allow(`other-${i}`)
    const answers = Array.from({ length: 100 }, (_, i) => crowd.consume(`late-${i}`))
    const full = answers.filter(({ reason }) => reason === 'table-full')
    expect(full.length).toBeGreaterThan(0)
    for (const { allowed, limitedBy, decisions } of full) {
      expect([allowed, limitedBy, decisions['1']?.consumed]).toEqual([false, '0', 0])
    }
    expect(all.peek('k').remaining).toBe(100)
  })

  test('peek answers as consume would, and spends nothing', () => {
    const { set } = three()
    for (const cost of [1, 5, 6, 9]) {
      const looked = set.peek('k', cost)
      expect(looked.consumed).toBe(0)
      const { allowed, reason, retryAfterMs, limitedBy } = set.consume('k', cost)
      expect({ allowed, reason, retryAfterMs, limitedBy }).toEqual({
        allowed: looked.allowed,
        reason: looked.reason,
        retryAfterMs: looked.retryAfterMs,
        limitedBy: looked.limitedBy,
      })
      set.refund('k', allowed ? cost : 0)
    }
    expect(set.peek('k')).toMatchObject({ allowed: true, remaining: 5, limit: 5, consumed: 0 })
  })

  test('are counted: an admission by all, a refusal by who refused', () => {
    const { set, second, minute, all } = three()
    set.consume('k', 5)
    set.allow('k')
    set.consume('k')
    set.peek('k')
    expect([second, minute, all].map((limiter) => limiter.stats())).toMatchObject([
      { allowed: 1, denied: 2 },
      { allowed: 1, denied: 0 },
      { allowed: 1, denied: 0 },
    ])
  })
})

describe('keys and costs', () => {
  test('one for all, or one each, in the order of the members', () => {
    const { set, second, minute, all } = three()
    const left = (): number[] =>
      [second.peek('a'), minute.peek('b'), all.peek('c')].map(({ remaining }) => remaining)
    expect(set.consume(['a', 'b', 'c'], [1, 2, 30])).toMatchObject({ allowed: true, consumed: 1 })
    expect(left()).toEqual([4, 6, 70])
    expect(set.allow(['a', 'b', 'c'], 2)).toBe(true)
    expect(left()).toEqual([2, 4, 68])
    expect(set.allow(['a', 'b', 'c'])).toBe(true)
    expect(left()).toEqual([1, 3, 67])
    expect(set.consume('a', [1, 0, 0]).allowed).toBe(true)
    expect(left()).toEqual([0, 3, 67])
    expect(set.allow(['a', 'b', 'c'])).toBe(false)
    expect(left()).toEqual([0, 3, 67])
    expect(set.peek(['z', 'b', 'c'], [5, 3, 67]).allowed).toBe(true)
    expect(set.peek(['z', 'b', 'c'], [5, 4, 67])).toMatchObject({ allowed: false, limitedBy: 'minute' })
  })

  test('undefined costs are 1, also one by one', () => {
    const { set, second, minute } = three()
    set.consume('k', undefined)
    set.consume('k', [undefined as never, 2, 3])
    expect([second.peek('k').remaining, minute.peek('k').remaining]).toEqual([3, 5])
  })

  test('any kind of key, each what it is to a limiter', () => {
    const { set, second, minute, all } = three()
    const bytes = new Uint8Array([1, 2, 3])
    expect(set.allow([7, '7', bytes])).toBe(true)
    expect([second.peek(7), minute.peek('7'), all.peek(bytes)].map(({ remaining }) => remaining)).toEqual([
      4, 7, 99,
    ])
    expect([second.peek('7'), minute.peek(7)].map(({ remaining }) => remaining)).toEqual([5, 8])
    for (const key of [-1, '', '\0', '😀', bytes, new Uint8Array(0)]) {
      const fresh = three()
      expect(fresh.set.consume(key).allowed).toBe(true)
      expect([fresh.second.peek(key).remaining, fresh.all.peek(key).remaining]).toEqual([4, 99])
    }
  })

  test('a cost of 0 asks, and is admitted unless a key is blocked', () => {
    const { set, second } = three()
    set.consume('k', 5)
    expect(set.consume('k', 0)).toMatchObject({ allowed: true, consumed: 0, remaining: 0 })
    expect(set.allow('k', [0, 1, 1])).toBe(true)
    second.block('k', 5)
    expect(set.allow('k', 0)).toBe(false)
  })

  test('refund gives back to each what it has spent', () => {
    const { set, second, minute, all } = three()
    set.consume(['a', 'b', 'c'], [5, 4, 3])
    set.refund(['a', 'b', 'c'], [2, 4, 1])
    expect([second.peek('a'), minute.peek('b'), all.peek('c')].map(({ remaining }) => remaining)).toEqual([
      2, 8, 98,
    ])
    set.refund(['a', 'b', 'c'])
    expect(second.peek('a').remaining).toBe(3)
    clock.set(1500)
    set.consume('a', 1)
    set.refund('a', 1, 1000)
    expect(second.peek('a').remaining).toBe(4)
    // That long ago, 'a' had no window open in either.
    expect(minute.peek('a').remaining).toBe(7)
  })
})

describe('of every algorithm', () => {
  test.each(ALGORITHMS)('%s beside a bucket refuses both or neither', (algorithm) => {
    const [limiter, other] = [open(tenOf(algorithm, { clock })), make({ limit: 1000, windowMs: 1e9 })]
    const set = new LimitSet([limiter, other])
    expect(set.consume('k', 10)).toMatchObject({ allowed: true, limit: 10, remaining: 0, consumed: 10 })
    const refused = set.consume('k')
    expect(refused).toMatchObject({ allowed: false, limitedBy: '0', ...AFTER_TEN[algorithm] })
    expect(other.peek('k').remaining).toBe(990)
    clock.set(refused.retryAfterMs - 0.001)
    expect(set.peek('k').allowed).toBe(false)
    expect(set.allow('k')).toBe(false)
    clock.set(refused.retryAfterMs)
    expect(set.consume('k').allowed).toBe(true)
    expect(other.peek('k').remaining).toBe(989)
  })

  test('all at once, and the other way round', () => {
    for (const names of [ALGORITHMS, [...ALGORITHMS].reverse()]) {
      clock = new ManualClock()
      const set = new LimitSet(names.map((name) => ({ name, limiter: open(tenOf(name, { clock })) })))
      expect(set.consume('k', 10).allowed).toBe(true)
      const { decisions, retryAfterMs, limitedBy } = set.consume('k')
      expect([retryAfterMs, limitedBy]).toEqual([1100, 'sliding-window'])
      for (const name of names) expect(decisions[name]).toMatchObject(AFTER_TEN[name])
      clock.set(1099.999)
      expect(set.allow('k')).toBe(false)
      clock.set(1100)
      expect(set.allow('k')).toBe(true)
    }
  })

  test('allow admits of a leaky bucket only whose turn it is', () => {
    const [leaky, other] = [open(tenOf('leaky-bucket', { clock })), make()]
    const set = new LimitSet([leaky, other])
    expect([set.allow('k'), set.allow('k'), set.allow('k')]).toEqual([true, false, false])
    expect(other.peek('k').remaining).toBe(9)
    clock.set(100)
    expect(set.allow('k')).toBe(true)
    expect(set.consume('k')).toMatchObject({ allowed: true, delayMs: 100 })
  })
})

describe('clocks', () => {
  test('of different kinds, each member by its own', () => {
    let now = 5_000_000
    const [manual, own, machine] = [
      make(),
      make({ clock: () => now, algorithm: 'fixed-window' }),
      open({ limit: 10, windowMs: 1e9, maxKeys: 10 }),
    ]
    const set = new LimitSet([manual, own, machine])
    expect(set.consume('k', 10).allowed).toBe(true)
    expect(set.consume('k').limitedBy).toBe('2')
    machine.reset('k')
    expect(set.consume('k')).toMatchObject({ limitedBy: '1', retryAfterMs: 1000 })
    now += 1000
    expect(set.consume('k')).toMatchObject({ limitedBy: '0', retryAfterMs: 100 })
    clock.advance(100)
    expect(set.consume('k').allowed).toBe(true)
  })

  test('a clock function is asked once a call, and its error charges nothing', () => {
    let asked = 0
    let answer: unknown = 0
    const own = () => {
      asked++
      return answer as number
    }
    const members = [make({ clock: own }), make()]
    const set = new LimitSet(members)
    asked = 0
    for (const call of [() => set.allow('k'), () => set.consume(['k', 'k']), () => set.peek('k')]) call()
    expect(asked).toBe(3)
    for (const bad of ['5', undefined, Number.NaN]) {
      answer = bad
      for (const call of [() => set.allow('k'), () => set.consume('k')])
        expectComplaint(call, { type: 'RangeError', code: 'ERR_SLUICE_CLOCK' })
    }
    expect(members[1]?.peek('k').remaining).toBe(8)
  })
})

describe('others at the same tables', () => {
  test('shared limiters, and other users of them: what one spends the other sees', () => {
    const names = [freshName(), freshName()]
    const [mine, theirs] = [0, 1].map(() => names.map((shared) => make({ shared }))) as [Limiter[], Limiter[]]
    const [one, other] = [new LimitSet(mine), new LimitSet([...theirs].reverse())]
    for (let i = 0; i < 5; i++) expect([one.allow('k'), other.consume('k').allowed]).toEqual([true, true])
    expect([one.allow('k'), other.allow('k')]).toEqual([false, false])
    expect(mine.map((limiter) => limiter.peek('k').remaining)).toEqual([0, 0])
  })

  test('an own limiter with another user, too', () => {
    const members = [make(), make()]
    const set = new LimitSet(members)
    for (let i = 0; i < 4; i++) expect(set.allow('k')).toBe(true)
    const other = kept(Limiter.attach((members[0] as Limiter).handle(), { clock }))
    for (let i = 0; i < 4; i++) expect(set.allow('k')).toBe(true)
    expect(other.consume('k', 2).remaining).toBe(0)
    expect(set.allow('k')).toBe(false)
    other.close()
    expect(set.allow('k')).toBe(false)
    expect(members[1]?.peek('k').remaining).toBe(2)
  })

  test('a policy that is changed is that of the set', () => {
    const members = [make(), make({ limit: 1000 })]
    const set = new LimitSet(members)
    set.consume('k', 5)
    members[0]?.setPolicy({ limit: 5 })
    expect(set.peek('k')).toMatchObject({ allowed: false, limit: 5 })
    expect(set.allow('k')).toBe(false)
  })
})
