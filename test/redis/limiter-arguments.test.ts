import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ErrorCode, Key } from '../../lib/index'
import { type RedisLimiter, RedisLimitSet, type RedisView } from '../../lib/redis/index'
import { useScene } from './limiter-scene'

const scene = useScene()
const unhandled: unknown[] = []
const note = (reason: unknown): unknown => unhandled.push(reason)

beforeEach(() => {
  process.on('unhandledRejection', note)
})
afterEach(async () => {
  await new Promise((resolve) => setTimeout(resolve, 5))
  process.off('unhandledRejection', note)
  expect(unhandled.splice(0)).toEqual([])
})

/** Rejects, and does not throw, with a coded error. */
async function expectRejection(
  action: () => Promise<unknown>,
  code: ErrorCode,
  ...says: (string | RegExp)[]
): Promise<void> {
  const promise = action()
  expect(promise).toBeInstanceOf(Promise)
  const error = await promise.then(
    (answer) => new Error(`resolved with ${JSON.stringify(answer)}`),
    (reason) => reason,
  )
  expect(error).toMatchObject({ code })
  expect(error).toBeInstanceOf(
    /_TYPE$|_UNKNOWN$|_CLOSED$|_SETTLED$|_RELEASED$/.test(code) ? TypeError : RangeError,
  )
  for (const words of says) expect((error as Error).message).toMatch(words)
}

type Call = (view: RedisView, key: Key, amount: number) => Promise<unknown>

/** Whose number is called so. */
const OPERATIONS: [name: string, amount: string, call: Call][] = [
  ['allow', 'cost', (view, key, amount) => view.allow(key, amount)],
  ['consume', 'cost', (view, key, amount) => view.consume(key, amount)],
  ['consume, partial', 'cost', (view, key, amount) => view.consume(key, amount, { partial: true })],
  ['refund', 'tokens', (view, key, amount) => view.refund(key, amount)],
  ['penalize', 'tokens', (view, key, amount) => view.penalize(key, amount)],
  ['reserve', 'estimate', (view, key, amount) => view.reserve(key, amount, 1000)],
  ['wait', 'cost', (view, key, amount) => view.wait(key, amount)],
]

const KEYLESS: [name: string, call: (view: RedisView, key: Key) => Promise<unknown>][] = [
  ['peek', (view, key) => view.peek(key)],
  ['block', (view, key) => view.block(key, 10)],
  ['reset', (view, key) => view.reset(key)],
]

const NOT_KEYS = [
  undefined,
  null,
  true,
  {},
  [],
  ['k'],
  1n,
  Symbol('k'),
  () => 'k',
  new Date(),
  new Uint16Array(1),
  new ArrayBuffer(1),
]
const NOT_SAFE = [0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]
const NOT_NUMBERS = ['1', null, true, 1n, {}, [1], Object(1), Symbol('1')]
const NOT_TOKENS = [-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]

async function expectUntouched(): Promise<void> {
  expect(await scene.keys()).toEqual([])
}

describe('bad input rejects, and charges nothing', () => {
  test.each([...OPERATIONS.map(([name, , call]) => [name, call] as const), ...KEYLESS])(
    'the key of %s',
    async (_, call) => {
      const limiter = scene.open({ tiers: { paid: { limit: 20 } } })
      for (const view of [limiter, limiter.tier('paid'), limiter.with({ limit: 7 })]) {
        for (const key of NOT_KEYS)
          await expectRejection(
            () => call(view, key as Key, 1),
            'ERR_SLUICE_KEY_TYPE',
            /key must be a string, a safe integer/,
          )
        for (const key of NOT_SAFE)
          await expectRejection(() => call(view, key, 1), 'ERR_SLUICE_KEY_RANGE', String(key))
      }
      await expectUntouched()
    },
  )

  test.each(OPERATIONS)('the number of %s', async (_, name, call) => {
    const limiter = scene.open()
    for (const amount of NOT_NUMBERS)
      await expectRejection(
        () => call(limiter, 'k', amount as number),
        'ERR_SLUICE_ARGUMENT_TYPE',
        name,
        /0 to 9007199254740991/,
      )
    for (const amount of NOT_TOKENS)
      await expectRejection(
        () => call(limiter, 'k', amount),
        'ERR_SLUICE_ARGUMENT_RANGE',
        name,
        String(amount),
      )
    await expectUntouched()
  })

  test('the span of block, and how long ago of refund', async () => {
    const limiter = scene.open()
    const spans: [string, (ms: number) => Promise<unknown>][] = [
      ['durationMs', (ms) => limiter.block('k', ms)],
      ['chargedAgoMs', (ms) => limiter.refund('k', 1, ms)],
    ]
    for (const [name, call] of spans) {
      for (const ms of NOT_NUMBERS)
        await expectRejection(() => call(ms as number), 'ERR_SLUICE_ARGUMENT_TYPE', name)
      for (const ms of [-0.001, Number.NaN, 5e12, Number.POSITIVE_INFINITY])
        await expectRejection(() => call(ms), 'ERR_SLUICE_ARGUMENT_RANGE', name, String(ms))
    }
    await expectRejection(
      () => limiter.block('k', undefined as unknown as number),
      'ERR_SLUICE_ARGUMENT_TYPE',
    )
    await expectUntouched()
  })

  test('options of consume', async () => {
    const limiter = scene.open()
    for (const options of [null, 5, 'partial', []])
      await expectRejection(() => limiter.consume('k', 1, options as never), 'ERR_SLUICE_OPTION_TYPE')
    await expectRejection(
      () => limiter.consume('k', 1, { partial: 1 } as never),
      'ERR_SLUICE_OPTION_TYPE',
      'partial',
    )
    await expectRejection(
      () => limiter.consume('k', 1, { partail: true } as never),
      'ERR_SLUICE_OPTION_UNKNOWN',
      `did you mean 'partial'`,
    )
    await expectUntouched()
  })

  test('options of reserve', async () => {
    const limiter = scene.open()
    for (const ttlMs of ['5', null, {}])
      await expectRejection(() => limiter.reserve('k', 1, ttlMs as never), 'ERR_SLUICE_OPTION_TYPE', 'ttlMs')
    for (const ttlMs of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      await expectRejection(() => limiter.reserve('k', 1, ttlMs), 'ERR_SLUICE_OPTION_RANGE', 'ttlMs')
    for (const maxDebt of ['5', null])
      await expectRejection(
        () => limiter.reserve('k', 1, 5, { maxDebt } as never),
        'ERR_SLUICE_OPTION_TYPE',
        'maxDebt',
      )
    for (const maxDebt of [-1, 0.5])
      await expectRejection(
        () => limiter.reserve('k', 1, 5, { maxDebt }),
        'ERR_SLUICE_OPTION_RANGE',
        'maxDebt',
      )
    await expectRejection(
      () => limiter.reserve('k', 1, 5, { maxdebts: 1 } as never),
      'ERR_SLUICE_OPTION_UNKNOWN',
      `did you mean 'maxDebt'`,
    )
    await expectUntouched()
  })

  test('options of wait', async () => {
    const limiter = scene.open()
    for (const maxWaitMs of ['5', null])
      await expectRejection(
        () => limiter.wait('k', 1, { maxWaitMs } as never),
        'ERR_SLUICE_OPTION_TYPE',
        'maxWaitMs',
      )
    for (const maxWaitMs of [-1, Number.NaN])
      await expectRejection(() => limiter.wait('k', 1, { maxWaitMs }), 'ERR_SLUICE_OPTION_RANGE', 'maxWaitMs')
    for (const priority of [0.5, 2 ** 53])
      await expectRejection(() => limiter.wait('k', 1, { priority }), 'ERR_SLUICE_OPTION_RANGE', 'priority')
    await expectRejection(
      () => limiter.wait('k', 1, { signal: {} } as never),
      'ERR_SLUICE_OPTION_TYPE',
      'signal',
    )
    await expectRejection(() => limiter.wait('k', 1, { timeout: 5 } as never), 'ERR_SLUICE_OPTION_UNKNOWN')
    await expectUntouched()
  })

  test('consumeMany names the index, and charges nobody', async () => {
    const limiter = scene.open()
    const many = (keys: unknown, options?: unknown) => (): Promise<unknown> =>
      limiter.consumeMany(keys as Key[], options as never)
    await expectRejection(many(['a', 'b', {}]), 'ERR_SLUICE_KEY_TYPE', /2/)
    await expectRejection(many(['a', 0.5]), 'ERR_SLUICE_KEY_RANGE', /1/)
    await expectRejection(many(['a', 'b'], { cost: [1, -1] }), 'ERR_SLUICE_ARGUMENT_RANGE', /1/)
    await expectRejection(many(['a', 'b'], { cost: [1, '1'] }), 'ERR_SLUICE_ARGUMENT_TYPE', /1/)
    await expectRejection(many(['a', 'b'], { cost: -1 }), 'ERR_SLUICE_ARGUMENT_RANGE')
    await expectRejection(many(['a', 'b'], { cost: [1] }), 'ERR_SLUICE_ARGUMENT_TYPE')
    await expectRejection(many(['a'], { costs: 1 }), 'ERR_SLUICE_OPTION_UNKNOWN', `did you mean 'cost'`)
    for (const keys of [undefined, null, 5, {}]) await expectRejection(many(keys), 'ERR_SLUICE_ARGUMENT_TYPE')
    await expectUntouched()
  })

  test('of a set: keys and costs of all members', async () => {
    const one = scene.open({ prefix: `${scene.prefix}-1` })
    const two = scene.open({ prefix: `${scene.prefix}-2` })
    const set = new RedisLimitSet([one, two])
    const calls: ((keys: never, costs?: never) => Promise<unknown>)[] = [
      (keys, costs) => set.allow(keys, costs),
      (keys, costs) => set.consume(keys, costs),
      (keys, costs) => set.peek(keys, costs),
      (keys, costs) => set.refund(keys, costs),
      (keys, costs) => set.wait(keys, costs),
    ]
    for (const call of calls) {
      await expectRejection(() => call(['a', {}] as never), 'ERR_SLUICE_KEY_TYPE')
      await expectRejection(() => call({} as never), 'ERR_SLUICE_KEY_TYPE')
      await expectRejection(() => call(['a'] as never), 'ERR_SLUICE_ARGUMENT_RANGE')
      await expectRejection(() => call(['a', 'b', 'c'] as never), 'ERR_SLUICE_ARGUMENT_RANGE')
      await expectRejection(() => call('a' as never, [1, -1] as never), 'ERR_SLUICE_ARGUMENT_RANGE')
      await expectRejection(() => call('a' as never, '1' as never), 'ERR_SLUICE_ARGUMENT_TYPE')
      await expectRejection(() => call('a' as never, [1] as never), 'ERR_SLUICE_ARGUMENT_RANGE')
    }
    await expectUntouched()
  })
})

describe('what the algorithm does not have', () => {
  test('places are of concurrency only, and reserve and wait of all others', async () => {
    const bucket = scene.open()
    await expectRejection(() => bucket.acquire('k'), 'ERR_SLUICE_UNSUPPORTED', /token-bucket.*consume/)
    await expectRejection(() => bucket.waitForLease('k'), 'ERR_SLUICE_UNSUPPORTED', /wait/)
    const places = scene.open({ algorithm: 'concurrency', holdMs: 1000, windowMs: undefined } as never)
    await expectRejection(() => places.reserve('k', 1, 5), 'ERR_SLUICE_UNSUPPORTED', /acquire/)
    await expectRejection(() => places.wait('k'), 'ERR_SLUICE_UNSUPPORTED', /waitForLease/)
    for (const cost of NOT_TOKENS) {
      await expectRejection(() => places.acquire('k', cost), 'ERR_SLUICE_ARGUMENT_RANGE', 'cost')
      await expectRejection(() => places.waitForLease('k', cost), 'ERR_SLUICE_ARGUMENT_RANGE', 'cost')
    }
    for (const key of NOT_KEYS) {
      await expectRejection(() => places.acquire(key as Key), 'ERR_SLUICE_KEY_TYPE')
      await expectRejection(() => places.waitForLease(key as Key), 'ERR_SLUICE_KEY_TYPE')
    }
    await expectUntouched()
  })
})

describe('after close', () => {
  async function expectClosed(limiter: RedisLimiter, view: RedisView): Promise<void> {
    for (const [, , call] of OPERATIONS) await expectRejection(() => call(view, 'k', 1), 'ERR_SLUICE_CLOSED')
    for (const [, call] of KEYLESS) await expectRejection(() => call(view, 'k'), 'ERR_SLUICE_CLOSED')
    await expectRejection(() => view.consumeMany(['k']), 'ERR_SLUICE_CLOSED')
    await expectRejection(() => view.acquire('k'), 'ERR_SLUICE_CLOSED')
    await expectRejection(() => view.waitForLease('k'), 'ERR_SLUICE_CLOSED')
    for (const action of [
      () => limiter.setPolicy({ limit: 5 }),
      () => limiter.tier('paid'),
      () => limiter.with({ limit: 5 }),
    ])
      expect(action).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
  }

  test('every operation of a limiter and its views', async () => {
    const limiter = scene.open({ tiers: { paid: { limit: 20 } } })
    const views = [limiter, limiter.tier('paid'), limiter.with({ limit: 7 })]
    await limiter.close()
    for (const view of views) await expectClosed(limiter, view)
    expect(limiter.policy).toMatchObject({ limit: 10 })
    expect(limiter.stats()).toMatchObject({ allowed: 0, denied: 0 })
    await expectUntouched()
  })

  test('a set of which one member is closed, and a reservation and a lease of one', async () => {
    const one = scene.open({ prefix: `${scene.prefix}-1` })
    const two = scene.open({ prefix: `${scene.prefix}-2` })
    const places = scene.open({
      prefix: `${scene.prefix}-3`,
      algorithm: 'concurrency',
      holdMs: 1000,
      windowMs: undefined,
    } as never)
    const set = new RedisLimitSet([one, two])
    const reservation = await two.reserve('k', 5, 1000)
    const lease = await places.acquire('k')
    await Promise.all([two.close(), places.close()])
    for (const call of [
      () => set.allow('k'),
      () => set.consume('k'),
      () => set.peek('k'),
      () => set.refund('k'),
      () => set.wait('k'),
    ])
      await expectRejection(call, 'ERR_SLUICE_CLOSED')
    await expectRejection(() => reservation.settle(3), 'ERR_SLUICE_CLOSED')
    await expectRejection(() => lease.release(), 'ERR_SLUICE_CLOSED')
    await lease[Symbol.asyncDispose]()
    expect(() => new RedisLimitSet([one, two])).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }),
    )
    expect(await scene.keys()).toEqual([`${scene.prefix}-2:{k}`, `${scene.prefix}-3:{k}`])
  })
})

test('a clock that fails rejects every call, and leaves nothing behind', async () => {
  let answer: unknown = 5
  const limiter = scene.open({ clock: () => answer as number })
  expect(await limiter.allow('k')).toBe(true)
  for (answer of ['5', Number.NaN, undefined, Number.POSITIVE_INFINITY, 1e13]) {
    for (const [, , call] of OPERATIONS)
      await expectRejection(() => call(limiter, 'k', 1), 'ERR_SLUICE_CLOCK')
    for (const [, call] of KEYLESS) await expectRejection(() => call(limiter, 'k'), 'ERR_SLUICE_CLOCK')
  }
  answer = 6
  expect(await limiter.consume('k')).toMatchObject({ allowed: true, remaining: 8 })
})
