import { existsSync, statfsSync, statSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { type ErrorCode, Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { contentOf, FOLDER, fileOf, freshName, held, regionsLeft, removeRegions } from './regions'

const options = { limit: 100, windowMs: 60_000, maxKeys: 100 }
const opened: Limiter[] = []

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(more: Partial<LimiterOptions>): Limiter {
  const limiter = new Limiter({ ...options, ...more })
  opened.push(limiter)
  return limiter
}

/** Fails with that complaint, makes no region, and keeps nothing open. */
function expectNothingMade(make: () => unknown, complaint: Parameters<typeof expectComplaint>[1]): void {
  const before = { regions: regionsLeft(), held: held() }
  expectComplaint(make, complaint)
  expect({ regions: regionsLeft(), held: held() }).toEqual(before)
}

describe('names', () => {
  test.each(['a', 'api-v1', 'A.b_c-9', '-', '_', '0', 'x..y', 'n'.repeat(20)])('%j is one', (start) => {
    const name = freshName(start)
    expect(open({ shared: name }).allow('key')).toBe(true)
    expect(open({ shared: name }).peek('key').remaining).toBe(99)
  })

  const range = 'ERR_SLUICE_OPTION_RANGE'

  test.each<[string, string | RegExp]>([
    ['', '1 to 64 characters'],
    ['n'.repeat(65), 'which has 65'],
    ['n'.repeat(100_000), 'which has 100000'],
    ['.hidden', 'no dot at its beginning'],
    ['.', 'dot'],
    ['..', 'dot'],
    ['../escape', 'dot'],
    ['a/b', 'letters, digits'],
    ['a\\b', 'letters, digits'],
    ['a b', 'letters, digits'],
    ['a\0b', 'letters, digits'],
    ['a\n', 'letters, digits'],
    ['naïve', 'letters, digits'],
    ['名', 'letters, digits'],
    ['\ud800', 'letters, digits'],
    ['a:b', 'letters, digits'],
    ['%2e', 'letters, digits'],
  ])('%j is none', (name, says) => {
    for (const shared of [name, { name }])
      expectNothingMade(() => open({ shared }), { type: 'RangeError', code: range, says: ['shared', says] })
    expectNothingMade(() => Limiter.attach(name), { type: 'RangeError', code: range, says: [says] })
  })

  test('64 characters are not too many', () => {
    const name = freshName('n'.repeat(64 - freshName().length))
    expect(name.length).toBe(64)
    expect(open({ shared: name }).handle()).toMatchObject({ sluice: 'machine', id: name })
  })

  test.each([5, 0, true, null, Symbol('s'), () => 'name', 5n])('%s is not even a string', (value) => {
    const type = { type: 'TypeError', code: 'ERR_SLUICE_OPTION_TYPE' } as const
    const shared = value as unknown as string
    expectNothingMade(() => open({ shared }), { ...type, says: ['shared'] })
    expectNothingMade(() => open({ shared: { name: shared } }), { ...type, says: ['shared.name'] })
    expectNothingMade(() => Limiter.attach(shared), type)
  })
})

describe('the object form', () => {
  test.each<[unknown, 'TypeError' | 'RangeError', ErrorCode, string]>([
    [{}, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'shared.name'],
    [[], 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'shared'],
    [{ name: 'n', changepolicy: true }, 'TypeError', 'ERR_SLUICE_OPTION_UNKNOWN', "'changePolicy'"],
    [{ name: 'n', changePolicy: 1 }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'shared.changePolicy'],
    [{ name: 'n', changePolicy: null }, 'TypeError', 'ERR_SLUICE_OPTION_TYPE', 'shared.changePolicy'],
    [{ name: 'a/b', changePolicy: true }, 'RangeError', 'ERR_SLUICE_OPTION_RANGE', 'shared.name'],
  ])('%o is refused', (shared, type, code, says) => {
    expectNothingMade(() => open({ shared: shared as string }), { type, code, says: [says] })
  })

  test('means the same as the name alone', () => {
    const name = freshName()
    expect(open({ shared: { name } }).allow('key', 30)).toBe(true)
    expect(open({ shared: { name, changePolicy: false } }).peek('key').remaining).toBe(70)
    expect(open({ shared: name }).peek('key').remaining).toBe(70)
  })
})

describe('other bad options make no region', () => {
  test.each<[string, object]>([
    ['limit', { limit: 0 }],
    ['windowMs', { windowMs: -1 }],
    ['maxKeys', { maxKeys: 2 ** 31 + 1 }],
    ['burst', { burst: 1.5 }],
    ['tiers', { tiers: { paid: { limit: 0 } } }],
    ['clock', { clock: 5 }],
    ['clock', { clock: () => 'noon' }],
    ['clock', { clock: new ManualClock(Number.NaN) }],
    ['limit', { algorithm: 'fixed-window', limit: 2 ** 53 - 1, windowMs: 0.001 }],
  ])('%s: %o', (says, bad) => {
    const shared = freshName()
    const before = held()
    expect(() => open({ ...bad, shared })).toThrow(says)
    expect(existsSync(fileOf(shared))).toBe(false)
    expect(held()).toEqual(before)
  })
})

describe('what a found limiter differs in is named, and nothing is changed', () => {
  const window: LimiterOptions = { ...options, algorithm: 'fixed-window' }

  function expectMismatch(has: LimiterOptions, asks: object, ...says: string[]): string {
    const name = freshName()
    const limiter = open({ ...has, shared: name })
    limiter.consume('key', 30)
    const before = { content: contentOf(name), held: held() }
    expectComplaint(() => new Limiter({ ...has, ...asks, shared: name } as LimiterOptions), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: [name, ...says],
    })
    expect(held()).toEqual(before.held)
    expect(contentOf(name).equals(before.content)).toBe(true)
    expect(limiter.consume('key', 30)).toMatchObject({ allowed: true, limit: has.burst ?? 100 })
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ limiters: 1 }])
    return name
  }

  test.each<[string, LimiterOptions, object, string[]]>([
    ['maxKeys', options, { maxKeys: 101 }, ['maxKeys is 100, not 101', 'npx sluice remove']],
    ['limit', options, { limit: 99 }, ['limit is 100, not 99', 'burst is 100, not 99', 'changePolicy: true']],
    ['burst', options, { burst: 7 }, ['burst is 100, not 7', 'changePolicy: true']],
    ['windowMs', options, { windowMs: 60_000.5 }, ['windowMs is 60000, not 60000.5', 'changePolicy: true']],
    ['limit alone', { ...options, burst: 100 }, { limit: 50 }, ['limit is 100, not 50 (']],
    [
      'several things',
      options,
      { limit: 5, maxKeys: 7 },
      ['maxKeys is 100, not 7', 'limit is 100, not 5', 'npx sluice remove'],
    ],
    [
      'algorithm',
      options,
      { algorithm: 'fixed-window' },
      ['algorithm is token-bucket, not fixed-window', 'remove'],
    ],
    ['algorithm, the other way', window, { algorithm: 'token-bucket' }, ['algorithm is fixed-window, not']],
    ['the limit of a window', window, { limit: 99 }, ['limit is 100, not 99', 'changePolicy: true']],
    [
      'a limit too great to count to',
      window,
      { limit: 1e9 },
      ['limit is 100, not 1000000000', 'npx sluice remove'],
    ],
    ['the window of a window', window, { windowMs: 1000 }, ['windowMs is 60000, not 1000', 'remove']],
    ['align', window, { align: 'epoch' }, ['align is first-request, not epoch', 'remove']],
    [
      'align, the other way',
      { ...window, align: 'epoch' },
      { align: 'first-request' },
      ['align is epoch, not first-request'],
    ],
  ])('%s', (_, has, asks, says) => {
    expectMismatch(has, asks, ...says)
  })

  test.each([
    ['maxKeys', options, { limit: 5, maxKeys: 7 }],
    ['algorithm', options, { algorithm: 'fixed-window' as const, limit: 5 }],
    ['windowMs of a window', window, { limit: 5, windowMs: 1000 }],
    ['align', window, { limit: 5, align: 'epoch' as const }],
  ])('changePolicy does not change %s, nor the limit beside it', (_, has, asks) => {
    const name = freshName()
    const limiter = open({ ...has, shared: name })
    const before = contentOf(name)
    expectComplaint(() => open({ ...has, ...asks, shared: { name, changePolicy: true } }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_MISMATCH',
      says: ['npx sluice remove'],
    })
    expect(contentOf(name).equals(before)).toBe(true)
    expect(limiter.policy.limit).toBe(100)
  })

  test('a clock where there is none, and none where there is one', () => {
    const [machine, manual] = [freshName(), freshName()]
    const clock = new ManualClock()
    open({ shared: machine })
    open({ shared: manual, clock })
    const before = held()
    const code = 'ERR_SLUICE_SHARED_MISMATCH'
    const type = 'RangeError'
    for (const come of [() => open({ shared: machine, clock }), () => Limiter.attach(machine, { clock })])
      expectComplaint(come, { type, code, says: [machine, "machine's clock"] })
    for (const come of [() => open({ shared: manual }), () => Limiter.attach(manual)])
      expectComplaint(come, { type, code, says: [manual, 'a clock of its own'] })
    expect(held()).toEqual(before)
    expect(open({ shared: manual, clock: () => 0 }).allow('key')).toBe(true)
  })

  test('tiers may differ: everyone brings their own', () => {
    const shared = freshName()
    const first = open({ shared, tiers: { paid: { limit: 1000 } } })
    const second = open({ shared, tiers: { paid: { limit: 200 }, free: { limit: 10 } } })
    expect(first.tier('paid').consume('key', 100).remaining).toBe(900)
    expect(second.tier('paid').peek('key').remaining).toBe(100)
    expect(second.tier('free').peek('key').remaining).toBe(0)
    expect(second.peek('key').remaining).toBe(0)
  })

  test('the same options in other words are no difference', () => {
    const shared = freshName()
    open({ shared, tiers: {} })
    open({ shared: { name: shared }, algorithm: 'token-bucket', burst: 100, windowMs: 60_000 })
    expect(open({ shared }).stats({ perProcess: true }).processes).toMatchObject([{ limiters: 3 }])
  })
})

test('attaching to a name that nothing has, says how to make one', () => {
  const name = freshName()
  expectNothingMade(() => Limiter.attach(name), {
    type: 'RangeError',
    code: 'ERR_SLUICE_SHARED_NOT_FOUND',
    says: [name, 'new Limiter({ shared:'],
  })
})

test('more memory than there is for sharing: the size it needs, at once, and nothing is filled or left', () => {
  const { bavail, bsize } = statfsSync(FOLDER)
  const free = bavail * bsize
  const maxKeys = 2 ** 31
  const leastNeeded = 22 * maxKeys
  if (leastNeeded <= free) throw new Error(`this machine shares ${free} bytes: any limiter would fit`)
  const shared = freshName()
  expectNothingMade(() => open({ shared, maxKeys }), {
    type: 'RangeError',
    code: 'ERR_SLUICE_NO_MEMORY',
    says: [shared, FOLDER, /needs \d{11} bytes/, 'lower maxKeys', '--shm-size'],
  })
  expect(existsSync(fileOf(shared))).toBe(false)
})

test('a region is allocated to the last byte when it is made', () => {
  const shared = freshName()
  const { bytes } = open({ shared, maxKeys: 200_000 }).stats()
  const { size, blocks } = statSync(fileOf(shared))
  expect(size).toBe(bytes)
  expect(blocks * 512).toBeGreaterThanOrEqual(bytes)
})
