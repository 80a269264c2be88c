import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { AFTER_TEN, ALGORITHMS, closeAll, kept, open, policyOf, tenOf } from './every-algorithm'
import { freshName, held, removeRegions } from './regions'

let clock: ManualClock

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(() => {
  closeAll()
  removeRegions()
})

const mismatch = { type: 'RangeError', code: 'ERR_SLUICE_SHARED_MISMATCH' } as const

describe.each(ALGORITHMS)('%s', (algorithm) => {
  const span = algorithm === 'concurrency' ? 'holdMs' : 'windowMs'
  const isBucket = algorithm === 'token-bucket' || algorithm === 'leaky-bucket'
  const make = (more: Partial<LimiterOptions> = {}): Limiter => open(tenOf(algorithm, { clock, ...more }))

  test.each([
    ['by its handle', () => ({})],
    ['under a name', () => ({ shared: freshName() })],
  ])('%s: the same keys, counts, tiers and policy', (_, options) => {
    const first = make({ ...options(), tiers: { paid: policyOf(algorithm, 20) } })
    const handle = JSON.parse(JSON.stringify(first.handle()))
    const second = kept(Limiter.attach(handle, { clock }))
    expect(second.policy).toEqual(first.policy)
    expect(handle.tiers.paid).toMatchObject(policyOf(algorithm, 20))
    first.consume('k', 7)
    expect(second.consume('k', 3)).toMatchObject({ allowed: true, remaining: 0 })
    for (const limiter of [first, second]) {
      expect(limiter.consume('k')).toMatchObject({ allowed: false, ...AFTER_TEN[algorithm] })
    }
    const paid = second.tier('paid').consume('k', 10)
    // A leaky bucket stays busy for the second that ten take, and in it twenty of the other rate.
    if (algorithm === 'leaky-bucket')
      expect(paid).toMatchObject({ allowed: false, limit: 20, retryAfterMs: 500 })
    else expect(paid).toMatchObject({ allowed: true, limit: 20, remaining: 0 })
    second.block('l', 5000)
    expect(first.peek('l')).toMatchObject({ reason: 'blocked', retryAfterMs: 5000 })
    expect(first.reset('k')).toBe(true)
    expect(second.peek('k').remaining).toBe(10)
    second.setPolicy(policyOf(algorithm, 4))
    expect(first.consume('k', 5).reason).toBe('too-costly')
    first.close()
    expect(second.consume('k', 4).allowed).toBe(true)
  })

  test('the same options find the same limiter, and after its makers are gone too', () => {
    const shared = freshName()
    make({ shared }).consume('k', 10)
    closeAll()
    expect(make({ shared }).consume('k')).toMatchObject({ allowed: false, ...AFTER_TEN[algorithm] })
  })

  test('another limit is named, and can be changed for everybody', () => {
    const shared = freshName()
    const first = make({ shared })
    first.consume('k', 10)
    const more = policyOf(algorithm, 8)
    expectComplaint(() => make({ shared, ...more }), {
      ...mismatch,
      says: [`'${shared}'`, 'limit is 10, not 8', `shared: { name: '${shared}', changePolicy: true }`],
    })
    const second = make({ shared: { name: shared, changePolicy: true }, ...more })
    expect(first.policy).toEqual(second.policy)
    expect(first.peek('k')).toMatchObject({ limit: 8, remaining: 0 })
  })

  test('another window is named; only that of a bucket can be changed', () => {
    const shared = freshName()
    const first = make({ shared })
    const says = [`${span} is 1000, not 2000`]
    expectComplaint(() => make({ shared, [span]: 2000 }), { ...mismatch, says })
    const changing = () => make({ shared: { name: shared, changePolicy: true }, [span]: 2000 })
    if (isBucket) expect(changing().policy).toMatchObject({ windowMs: 2000 })
    else expectComplaint(changing, { ...mismatch, says: [...says, 'npx sluice remove'] })
    expect(first.policy[span]).toBe(isBucket ? 2000 : 1000)
  })

  test('any other algorithm is named, and cannot be changed', () => {
    const shared = freshName()
    make({ shared }).consume('k', 10)
    const before = held()
    for (const other of ALGORITHMS) {
      if (other === algorithm) continue
      for (const way of [shared, { name: shared, changePolicy: true }])
        expectComplaint(() => open(tenOf(other, { clock, shared: way })), {
          ...mismatch,
          says: [`algorithm is ${algorithm}, not ${other}`, 'npx sluice remove'],
        })
    }
    expect(held()).toEqual(before)
    expect(kept(Limiter.attach(shared, { clock })).consume('k').allowed).toBe(false)
  })
})

test.each<[Partial<LimiterOptions>, Partial<LimiterOptions>, string]>([
  [{ initial: 3 }, {}, 'initial is 3, not unset'],
  [{}, { initial: 3, rememberMs: 5 }, 'initial is unset, not 3; rememberMs is unset, not 5'],
  [{ initial: 3 }, { initial: 3, rememberMs: 5 }, 'rememberMs is 1000, not 5'],
  [{ evenly: true }, {}, 'evenly is true, not unset'],
  [{}, { evenly: true }, 'evenly is unset, not true'],
])('%o is another policy than %o, and can be changed', (has, asked, says) => {
  const shared = freshName()
  const first = open(tenOf('token-bucket', { clock, shared, ...has }))
  expectComplaint(() => open(tenOf('token-bucket', { clock, shared, ...asked })), {
    ...mismatch,
    says: [says],
  })
  const changing = { shared: { name: shared, changePolicy: true } }
  const second = open(tenOf('token-bucket', { clock, ...changing, ...asked }))
  expect(first.policy).toEqual(second.policy)
})

test('evenly: false is the same as unset', () => {
  const shared = freshName()
  open(tenOf('token-bucket', { clock, shared }))
  expect(open(tenOf('token-bucket', { clock, shared, evenly: false })).allow('k')).toBe(true)
})

test('a queue is named, and can be changed', () => {
  const shared = freshName()
  open(tenOf('leaky-bucket', { clock, shared })).consume('k', 10)
  const other = { clock, shared, queue: 20 }
  expectComplaint(() => open(tenOf('leaky-bucket', other)), { ...mismatch, says: ['queue is 9, not 20'] })
  const changed = open(tenOf('leaky-bucket', { ...other, shared: { name: shared, changePolicy: true } }))
  expect(changed.peek('k')).toMatchObject({ limit: 21, remaining: 11 })
})

test('a sliding log that counts less far cannot be changed to more', () => {
  const shared = freshName()
  open(tenOf('sliding-log', { clock, shared }))
  for (const way of [shared, { name: shared, changePolicy: true }])
    expectComplaint(() => open(tenOf('sliding-log', { clock, shared: way, limit: 11 })), {
      ...mismatch,
      says: ['limit is 10, not 11', 'npx sluice remove'],
    })
})
