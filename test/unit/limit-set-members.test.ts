import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, LimitSet, type LimitSetMember, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { closeAll, kept, open } from './every-algorithm'
import { freshName, removeRegions } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  closeAll()
  removeRegions()
})

const range = { type: 'RangeError', code: 'ERR_SLUICE_OPTION_RANGE' } as const
const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
const closed = { type: 'TypeError', code: 'ERR_SLUICE_CLOSED' } as const

function make(more: Partial<LimiterOptions> = {}): Limiter {
  return open({ limit: 10, windowMs: 1000, maxKeys: 100, clock, ...more })
}

function setOf(...members: unknown[]): LimitSet {
  return new LimitSet(members as LimitSetMember[])
}

describe('members', () => {
  test('are limiters, tiers and views, with or without a name', () => {
    const [a, b, c, d] = [make(), make({ tiers: { paid: { limit: 20 } } }), make(), make()]
    const set = setOf(a, b.tier('paid'), { limiter: c.with({ limit: 5 }) }, { name: 'day', limiter: d })
    expect(set.names).toEqual(['0', '1', '2', 'day'])
    const { decisions } = set.consume('k')
    expect(Object.keys(decisions)).toEqual(['0', '1', '2', 'day'])
    expect(Object.values(decisions).map(({ limit }) => limit)).toEqual([10, 20, 5, 10])
    expect([a, b, c, d].map((limiter) => limiter.peek('k').remaining)).toEqual([9, 9, 9, 9])
  })

  test.each([undefined, null, 5, 'ab', {}, new Set(), { length: 2 }])('are an array, not %o', (members) => {
    expectComplaint(() => new LimitSet(members as never), { ...type, says: ['must be an array'] })
  })

  test('are two to eight', () => {
    const eight = Array.from({ length: 9 }, () => make())
    for (const count of [0, 1, 9])
      expectComplaint(() => new LimitSet(eight.slice(0, count)), {
        ...range,
        says: ['2 to 8', `got ${count}`],
      })
    for (const count of [2, 8]) {
      expect(new LimitSet(eight.slice(0, count)).allow(`k${count}`)).toBe(true)
      expect(eight.map((limiter) => limiter.peek(`k${count}`).remaining)).toEqual(
        eight.map((_, i) => (i < count ? 9 : 10)),
      )
    }
  })

  test.each<[unknown, string]>([
    [undefined, 'limit 1 of the set must be an object'],
    [null, 'limit 1 of the set must be an object'],
    [5, 'limit 1 of the set must be an object'],
    [{}, 'limit 1 of the set must be a Limiter'],
    [{ name: 'x' }, 'limit 1 of the set must be a Limiter'],
    [{ limiter: { allow: () => true } }, 'limit 1 of the set must be a Limiter'],
    [{ limiter: null }, 'limit 1 of the set must be a Limiter'],
  ])('%o is none', (member, says) => {
    expectComplaint(() => setOf(make(), member), { ...type, says: [says] })
  })

  test('holes are none', () => {
    const holed = [make()]
    holed.length = 2
    expectComplaint(() => new LimitSet(holed), { ...type, says: ['limit 1 of the set'] })
  })

  test('have options that are known', () => {
    expectComplaint(() => setOf(make(), { limitter: make() }), {
      type: 'TypeError',
      code: 'ERR_SLUICE_OPTION_UNKNOWN',
      says: ["did you mean 'limiter'"],
    })
  })
})

describe('names', () => {
  test('are strings', () => {
    for (const name of [5, null, Symbol('x'), {}])
      expectComplaint(() => setOf(make(), { name, limiter: make() }), {
        ...type,
        says: ['the name of limit 1'],
      })
  })

  test('are one each, given or not', () => {
    const twice = () => setOf({ name: 'a', limiter: make() }, { name: 'a', limiter: make() })
    expectComplaint(twice, { ...range, says: ['two limits of a set have the name "a"'] })
    expectComplaint(() => setOf({ name: '1', limiter: make() }, make()), { ...range, says: ['"1"'] })
  })

  test('may be any', () => {
    const names = ['__proto__', 'constructor', '', 'a b']
    const set = setOf(...names.map((name) => ({ name, limiter: make() })))
    const { decisions } = set.consume('k')
    expect(Object.keys(decisions)).toEqual(names)
    expect(Object.values(decisions).map(({ remaining }) => remaining)).toEqual([9, 9, 9, 9])
    expect('toString' in decisions).toBe(false)
  })
})

describe('each is of another limiter', () => {
  const says = ['of the same limiter', 'tiers and views']

  test('the same twice', () => {
    const limiter = make()
    expectComplaint(() => setOf(limiter, limiter), { ...range, says })
    expectComplaint(() => setOf(limiter, make(), { name: 'again', limiter }), { ...range, says })
  })

  test('a limiter and its tier or view, or two of them', () => {
    const limiter = make({ tiers: { paid: { limit: 20 } } })
    const views = [limiter, limiter.tier('paid'), limiter.with({ limit: 3 })]
    for (const [a, b] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const)
      expectComplaint(() => setOf(views[a], views[b]), { ...range, says })
  })

  test('two users of one limiter', () => {
    const limiter = make()
    expectComplaint(() => setOf(limiter, kept(Limiter.attach(limiter.handle(), { clock }))), {
      ...range,
      says,
    })
  })

  test('two users of one shared limiter', () => {
    const shared = freshName()
    const pair = [make({ shared }), make({ shared })]
    expectComplaint(() => setOf(...pair), { ...range, says })
    expect(setOf(pair[0], make({ shared: freshName() })).allow('k')).toBe(true)
  })

  test('but two with the same options are two', () => {
    expect(setOf(make(), make()).consume('k').allowed).toBe(true)
    const bytes = make().dump()
    const twins = [1, 2].map(() => kept(Limiter.restore(bytes, { clock })))
    expect(setOf(...twins).consume('k', 10).allowed).toBe(true)
    expect(twins.map((twin) => twin.peek('k').remaining)).toEqual([0, 0])
  })
})

describe('close', () => {
  test('a closed limiter is no member', () => {
    const limiter = make()
    limiter.close()
    expectComplaint(() => setOf(make(), limiter), closed)
  })

  test('if one member is closed the set is, and changes nothing', () => {
    for (const gone of [0, 1]) {
      const members = [make(), make()]
      const set = setOf(...members)
      set.consume('k')
      members[gone]?.close()
      for (const call of [
        () => set.allow('k'),
        () => set.allow(['k', 'k'], [1, 1]),
        () => set.consume('k'),
        () => set.peek('k'),
        () => set.refund('k'),
      ])
        expectComplaint(call, closed)
      expect(members[1 - gone]?.peek('k').remaining).toBe(9)
    }
  })

  test('a set keeps no limiter from being closed, and none alive', () => {
    const members = [make(), make()]
    const set = setOf(...members)
    for (const limiter of members) limiter.close()
    expectComplaint(() => set.allow('k'), closed)
  })
})
