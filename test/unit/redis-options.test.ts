import { Cluster, Redis } from 'ioredis'
import { afterAll, describe, expect, test } from 'vitest'
import { type LimiterOptions, ManualClock } from '../../lib/index'
import { RedisLimiter, type RedisLimiterOptions } from '../../lib/redis/index'
import { checkRedisOptions } from '../../lib/redis/options'
import { expectComplaint } from './coded'

/** Never connects: whoever complains does so before. */
const client = new Redis({ lazyConnect: true })
const good = { client, limit: 10, windowMs: 1000 }
const leased = { ...good, mode: 'leased' as const }

afterAll(() => {
  expect(client.status).toBe('wait')
  client.disconnect()
})

function open(options: unknown): RedisLimiter {
  return new RedisLimiter(options as RedisLimiterOptions)
}

function complain(options: object, code: 'TYPE' | 'RANGE' | 'UNKNOWN', ...says: (string | RegExp)[]): void {
  const type = code === 'RANGE' ? 'RangeError' : 'TypeError'
  expectComplaint(() => open({ ...good, ...options }), { type, code: `ERR_SLUICE_OPTION_${code}`, says })
}

/** An option, or one of a group of them (`breaker.openMs`), with that value. */
function withOption(path: string, value: unknown): Record<string, unknown> {
  const [first = '', second] = path.split('.')
  return { [first]: second === undefined ? value : { [second]: value } }
}

const notNumbers = ['10', null, true, 10n, {}, [10], Object(10), Symbol('10'), () => 10]

describe('numbers', () => {
  const options: [path: string, accepted: string, inside: number[], outside: number[]][] = [
    ['timeoutMs', 'an integer from 1 to 60000', [1, 60_000], [0, -1, 1.5, 60_001]],
    ['hosts', 'an integer from 1 to 10000', [1, 10_000], [0, -1, 1.5, 10_001]],
    ['breaker.failures', 'an integer from 1 to 1000', [1, 1000], [0, 1.5, 1001]],
    ['breaker.openMs', 'a number from 10 to 60000', [10, 10.5, 60_000], [9.999, 60_000.1]],
    ['breaker.maxOpenMs', 'a number from 1000 to 600000', [1000, 600_000], [999.9, 600_001]],
    ['denyCache.maxKeys', 'an integer from 1 to 2147483648', [1, 2 ** 31], [0, 1.5, 2 ** 31 + 1]],
    ['denyCache.maxAgeMs', 'a number from 1 to 60000', [1, 1.5, 60_000], [0.999, 60_001]],
    ['lease.leaseMs', 'an integer from 10 to 10000', [10, 10_000], [9, 10.5, 10_001]],
    ['lease.maxKeys', 'an integer from 1 to 2147483648', [1, 2 ** 31], [0, 1.5, 2 ** 31 + 1]],
    ['limit', 'an integer from 1 to 9007199254740991', [1], [0, 1.5, 2 ** 53]],
    ['windowMs', 'a number from 0.001 to 4611686018427', [0.01, 1e12], [0, -1, 5e12]],
    ['burst', 'an integer from 1 to 9007199254740991', [1, 2 ** 31], [0, 1.5]],
    ['maxWaiters', 'an integer from 1 to 9007199254740991', [1, 1e6], [0, 1.5]],
  ]

  test.each(options)('%s: %s', (path, accepted, inside, outside) => {
    for (const value of notNumbers) complain(withOption(path, value), 'TYPE', path, accepted)
    for (const value of [...outside, Number.NaN, Number.POSITIVE_INFINITY, -Number.POSITIVE_INFINITY])
      complain(withOption(path, value), 'RANGE', path, accepted, String(value))
    for (const value of inside)
      expect(() => checkRedisOptions({ ...good, ...withOption(path, value) })).not.toThrow()
  })

  test('breaker.maxOpenMs is not below openMs, and follows it where it is absent', () => {
    complain({ breaker: { openMs: 500, maxOpenMs: 499 } }, 'RANGE', 'breaker.maxOpenMs', 'from 500 to 600000')
    expect(checkRedisOptions({ ...good, breaker: { openMs: 500, maxOpenMs: 500 } }).breaker.maxOpenMs).toBe(
      500,
    )
    expect(checkRedisOptions({ ...good, breaker: { openMs: 30_000 } }).breaker.maxOpenMs).toBe(30_000)
  })
})

describe('groups, choices and names', () => {
  test.each(['breaker', 'denyCache', 'lease'])('%s is an object', (name) => {
    for (const value of [null, 5, 'on', [], 1n]) complain({ [name]: value }, 'TYPE', name)
  })

  test.each([
    ['mode', ['exact', 'leased']],
    ['onUnavailable', ['local', 'allow', 'deny']],
    ['algorithm', ['token-bucket', 'sliding-log', 'concurrency']],
  ])('%s is one of its words', (name, words) => {
    for (const value of [null, 1, {}, true]) complain({ [name]: value }, 'TYPE', name, ...words)
    for (const value of ['', 'Exact', 'toString']) complain({ [name]: value }, 'RANGE', name, ...words)
  })

  test('denyCache.announce is true or false', () => {
    for (const value of [null, 1, 'yes', {}])
      complain({ denyCache: { announce: value } }, 'TYPE', 'denyCache.announce')
    expect(checkRedisOptions({ ...good, denyCache: { announce: false } }).denyCache?.announce).toBe(false)
  })

  test('prefix', () => {
    for (const value of [null, 1, {}, Symbol('p')]) complain({ prefix: value }, 'TYPE', 'prefix')
    for (const value of ['', 'x'.repeat(129), '\ud800', 'a{', 'a}', 'a{}', '{a}{b}', '{{a}}', '}a{'])
      complain({ prefix: value }, 'RANGE', 'prefix')
    for (const value of ['x', 'x'.repeat(128), 'app:{eu}', '{eu}', 'äöü', '*', 'a b'])
      expect(checkRedisOptions({ ...good, prefix: value }).prefix).toBe(value)
  })

  test('shared', () => {
    for (const value of [null, 1, {}, { name: 'x' }]) complain({ shared: value }, 'TYPE', 'shared')
    for (const value of ['', 'x'.repeat(41), 'a/b', '.a', 'a b', 'ä'])
      complain({ shared: value }, 'RANGE', 'shared')
    for (const value of ['x', 'x'.repeat(40), 'a.b_c-D9'])
      expect(checkRedisOptions({ ...good, shared: value }).shared).toMatch(
        /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/,
      )
  })

  test('client', () => {
    for (const value of [undefined, null, 1, 'redis://localhost', {}, { status: 'ready' }, () => client])
      complain({ client: value }, 'TYPE', 'client', /Redis or a Cluster of ioredis/)
    const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true })
    expect(checkRedisOptions({ ...good, client: cluster }).client).toBe(cluster)
    cluster.disconnect()
  })

  test('clock', () => {
    for (const value of [null, 1, {}, 'now', new Date()]) complain({ clock: value }, 'TYPE', 'clock')
    const clock = new ManualClock()
    expect(checkRedisOptions({ ...good, clock }).clock).toBe(clock)
  })

  test('tiers', () => {
    for (const value of [null, 1, 'x', []]) complain({ tiers: value }, 'TYPE', 'tiers')
    complain({ tiers: { paid: 5 } }, 'TYPE', 'tiers.paid')
    complain({ tiers: { paid: { limit: 0 } } }, 'RANGE', 'tiers.paid.limit')
    complain({ tiers: { paid: { limits: 5 } } }, 'UNKNOWN', 'tiers.paid', `did you mean 'limit'`)
    complain({ tiers: { paid: { windowMs: 0.0005 } } }, 'RANGE', 'tiers.paid.windowMs')
  })
})

describe('names that are no options', () => {
  test.each([
    [{ prefx: 'x' }, `did you mean 'prefix'`],
    [{ timeout: 5 }, `did you mean 'timeoutMs'`],
    [{ onUnavailible: 'deny' }, `did you mean 'onUnavailable'`],
    [{ denycache: true }, `did you mean 'denyCache'`],
    [{ brust: 1 }, `did you mean 'burst'`],
    [{ breaker: { failure: 1 } }, `did you mean 'failures'`],
    [{ denyCache: { maxAge: 1 } }, `did you mean 'maxAgeMs'`],
    [{ lease: { leasems: 10 } }, `did you mean 'leaseMs'`],
    // Of a Limiter only.
    [{ maxKeys: 1 }, 'options has no "maxKeys"'],
  ])('%j', (options, hint) => complain(options, 'UNKNOWN', hint))

  test('inherited ones are not looked at', () => {
    const options = Object.assign(Object.create({ mode: 'leased', nonsense: 1 }), good)
    expect(checkRedisOptions(options).mode).toBe('exact')
  })

  test('what is no object', () => {
    for (const value of [undefined, null, 1, 'x', [], () => good])
      expectComplaint(() => open(value), {
        type: 'TypeError',
        code: 'ERR_SLUICE_OPTION_TYPE',
        says: ['options'],
      })
  })
})

describe('what does not go together', () => {
  test.each<[string, object, RegExp]>([
    ['sliding-log', { algorithm: 'sliding-log' }, /sliding-log/],
    ['leaky-bucket', { algorithm: 'leaky-bucket' }, /leaky-bucket/],
    ['concurrency', { algorithm: 'concurrency', windowMs: undefined, holdMs: 1000 }, /concurrency/],
    ['initial', { initial: 2 }, /initial/],
    ['evenly', { evenly: true }, /evenly/],
    ['escalate', { escalate: { blockMs: [1000], forgetMs: 10_000 } }, /escalate/],
  ])('leases and %s', (_, options, says) => {
    const { windowMs, ...others } = { ...leased, ...options }
    const all = windowMs === undefined ? others : { ...others, windowMs }
    expectComplaint(() => open(all), {
      type: 'RangeError',
      code: 'ERR_SLUICE_UNSUPPORTED',
      says: [says, /exact/],
    })
    expect(checkRedisOptions({ ...all, mode: 'exact' } as RedisLimiterOptions).mode).toBe('exact')
  })

  test.each(['token-bucket', 'fixed-window', 'sliding-window', 'strict-window'] as const)(
    'leases and %s do',
    (algorithm) => {
      expect(checkRedisOptions({ ...leased, algorithm }).mode).toBe('leased')
    },
  )

  test('times that are no whole microseconds', () => {
    complain({ windowMs: 1.0005 }, 'RANGE', 'windowMs', 'whole number of microseconds', '1.0005')
    complain({ initial: 1, rememberMs: 0.0015 }, 'RANGE', 'rememberMs', 'whole number of microseconds')
    complain({ tiers: { slow: { windowMs: 2.0001 } } }, 'RANGE', 'tiers.slow.windowMs', 'microseconds')
    expect(() => checkRedisOptions({ ...good, windowMs: 1.001 })).not.toThrow()
  })

  test('policies that no limiter can have', () => {
    const options = { algorithm: 'leaky-bucket', escalate: { blockMs: [1], forgetMs: 1 } }
    complain(options, 'RANGE', 'escalate')
    complain({ algorithm: 'concurrency' }, 'RANGE', 'windowMs')
    complain({ align: 'epoch' }, 'RANGE', 'align')
  })
})

test('defaults', () => {
  const { policy: _, client: given, ...settings } = checkRedisOptions(good)
  expect(given).toBe(client)
  expect(settings).toEqual({
    algorithm: 'token-bucket',
    align: 'first-request',
    escalation: undefined,
    maxWaiters: 10_000,
    prefix: 'sluice',
    mode: 'exact',
    tiers: undefined,
    timeoutMs: 100,
    onUnavailable: 'local',
    hosts: 1,
    breaker: { failures: 5, openMs: 1000, maxOpenMs: 10_000 },
    denyCache: { maxKeys: 100_000, maxAgeMs: 1000, announce: true },
    lease: { leaseMs: 100, maxKeys: 100_000 },
    shared: undefined,
    clock: undefined,
  })
  expect(checkRedisOptions({ ...good, denyCache: true }).denyCache).toEqual(settings.denyCache)
  expect(checkRedisOptions({ ...good, denyCache: false }).denyCache).toBeUndefined()
  const absent = Object.fromEntries(Object.keys(settings).map((name) => [name, undefined]))
  delete absent['escalation']
  expect(checkRedisOptions({ ...good, ...absent } as LimiterOptions & typeof good).prefix).toBe('sluice')
})
