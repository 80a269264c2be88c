import { describe, expect, it } from 'vitest'
import { openEngine } from '../../lib/replay/engine'
import { Interner, type LoggedRequests, RecordColumns } from '../../lib/replay/records'
import { replayRecords } from '../../lib/replay/replay-records'
import type { ReplayPolicy } from '../../lib/replay/report'

const START_MS = Date.UTC(2024, 1, 28, 23, 50)

/** Requests of 50 clients, some far busier than others, out of order as the lines of several servers are. */
function traffic(count: number): LoggedRequests {
  let seed = 20240229
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647
    return seed % below
  }
  const columns = new RecordColumns()
  const clients = new Interner()
  for (let i = 0; i < count; i++) {
    const id = clients.idOf(`2001:db8::${random(1 + random(50))}`)
    columns.push(START_MS + (Math.floor(i / 9) - random(4)) * 1000, id, id)
  }
  return columns.finish(clients.strings, clients.strings)
}

type Decide = (key: string, nowMs: number) => boolean

/** Tokens are counted in parts of 1 / windowMs. A queue is a bucket with one place more. */
function bucket(limit: bigint, windowMs: bigint, capacity: bigint): Decide {
  const states = new Map<string, { sinceMs: bigint; amount: bigint }>()
  return (key, timeMs) => {
    const nowMs = BigInt(timeMs)
    const state = states.get(key)
    const full = capacity * windowMs
    const refilled = state ? state.amount + (nowMs - state.sinceMs) * limit : full
    const level = refilled < full ? refilled : full
    const allowed = level >= windowMs
    states.set(key, { sinceMs: nowMs, amount: allowed ? level - windowMs : level })
    return allowed
  }
}

function fixedWindow(limit: bigint, windowMs: bigint, align: string): Decide {
  const states = new Map<string, { sinceMs: bigint; amount: bigint }>()
  return (key, timeMs) => {
    const nowMs = BigInt(timeMs)
    const state = states.get(key)
    const isOpen = state !== undefined && nowMs < state.sinceMs + windowMs
    const opensMs = align === 'epoch' ? (nowMs / windowMs) * windowMs : nowMs
    const window = isOpen ? state : { sinceMs: opensMs, amount: 0n }
    if (window.amount >= limit) return false
    states.set(key, { sinceMs: window.sinceMs, amount: window.amount + 1n })
    return true
  }
}

/** Keeps the time of every request that was admitted, and asks `fits` whether there is room for another. */
function byHistory(fits: (admittedMs: readonly bigint[], nowMs: bigint) => boolean): Decide {
  const histories = new Map<string, bigint[]>()
  return (key, timeMs) => {
    const history = histories.get(key) ?? []
    histories.set(key, history)
    const nowMs = BigInt(timeMs)
    const allowed = fits(history, nowMs)
    if (allowed) history.push(nowMs)
    return allowed
  }
}

/** An exact limiter in integers, from the definition. */
function oracle(policy: ReplayPolicy): Decide {
  const limit = BigInt(policy.limit)
  const windowMs = BigInt(policy.windowMs)
  const countFrom = (times: readonly bigint[], fromMs: bigint) =>
    BigInt(times.length - (times.findLastIndex((ms) => ms < fromMs) + 1))
  switch (policy.algorithm) {
    case 'token-bucket':
      return bucket(limit, windowMs, BigInt(policy.burst))
    case 'leaky-bucket':
      return bucket(limit, windowMs, BigInt(policy.queue) + 1n)
    case 'fixed-window':
      return fixedWindow(limit, windowMs, policy.align)
    case 'sliding-log':
      return byHistory((times, nowMs) => countFrom(times, nowMs - windowMs + 1n) < limit)
    case 'strict-window': // from the beginning of the twelfth part before the one now, i.e. the first at or after it
      return byHistory((times, nowMs) => {
        const fromPart = (nowMs * 12n) / windowMs - 12n
        return countFrom(times, (fromPart * windowMs + 11n) / 12n) < limit
      })
    case 'sliding-window':
      return byHistory((times, nowMs) => {
        const opensMs = (nowMs / windowMs) * windowMs
        const current = countFrom(times, opensMs)
        const previous = countFrom(times, opensMs - windowMs) - current
        return previous * (opensMs + windowMs - nowMs) + (current + 1n) * windowMs <= limit * windowMs
      })
  }
}

describe('the native limiter in a replay', () => {
  it.each<ReplayPolicy>([
    { algorithm: 'token-bucket', limit: 20, windowMs: 60_000, burst: 20 },
    { algorithm: 'token-bucket', limit: 7, windowMs: 9_000, burst: 3 },
    { algorithm: 'token-bucket', limit: 1, windowMs: 86_400_000, burst: 30 },
    { algorithm: 'fixed-window', limit: 5, windowMs: 10_000, align: 'first-request' },
    { algorithm: 'fixed-window', limit: 40, windowMs: 60_000, align: 'epoch' },
    { algorithm: 'fixed-window', limit: 1, windowMs: 1000, align: 'epoch' },
    { algorithm: 'sliding-window', limit: 5, windowMs: 10_000 },
    { algorithm: 'sliding-window', limit: 40, windowMs: 60_000 },
    { algorithm: 'sliding-log', limit: 5, windowMs: 10_000 },
    { algorithm: 'sliding-log', limit: 64, windowMs: 90_000 },
    { algorithm: 'strict-window', limit: 5, windowMs: 10_000 },
    { algorithm: 'strict-window', limit: 40, windowMs: 61_000 },
    { algorithm: 'leaky-bucket', limit: 7, windowMs: 9_000, queue: 3 },
  ])('decides every request as exact arithmetic does: %j', (policy) => {
    const requests = traffic(20_000)
    const engine = openEngine(policy, requests.keys.length, Math.min(...requests.timesMs))
    const expected = oracle(policy)
    const wrong: string[] = []
    let denied = 0
    replayRecords(requests, engine.limiter, engine.clock, (index, key, timeMs, allowed) => {
      if (!allowed) denied++
      if (allowed !== expected(key, timeMs)) wrong.push(`request ${index} of ${key} at ${timeMs}: ${allowed}`)
    })
    engine.finish()
    expect(wrong).toEqual([])
    expect(denied).toBeGreaterThan(100)
    expect(denied).toBeLessThan(19_900)
  })

  it('notes who of a leaky bucket has to wait, and how long', () => {
    const engine = openEngine({ algorithm: 'leaky-bucket', limit: 2, windowMs: 1000, queue: 3 }, 1, 0)
    const allowed = Array.from({ length: 6 }, () => engine.limiter.allow('a'))
    expect(allowed).toEqual([true, true, true, true, false, false])
    expect(engine.delays).toEqual({ delayed: 3, longestDelayMs: 1500 })
    engine.clock.set(2000)
    expect(engine.limiter.allow('a')).toBe(true)
    expect(engine.delays).toEqual({ delayed: 3, longestDelayMs: 1500 })
    engine.finish()
    const other = openEngine({ algorithm: 'sliding-log', limit: 2, windowMs: 1000 }, 1, 0)
    expect(other.delays).toBeUndefined()
    other.finish()
  })

  it('holds every key of a log to the end', () => {
    const columns = new RecordColumns()
    const clients = new Interner()
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 30_000; i++) {
        const id = clients.idOf(`client ${i}`)
        columns.push(START_MS + round * 1000, id, id)
      }
    }
    const requests = columns.finish(clients.strings, clients.strings)
    const policy = { algorithm: 'token-bucket', limit: 1, windowMs: 3_600_000, burst: 1 } as const
    const engine = openEngine(policy, requests.keys.length, START_MS)
    let admitted = 0
    replayRecords(requests, engine.limiter, engine.clock, (_index, _key, _timeMs, allowed) => {
      if (allowed) admitted++
    })
    engine.finish()
    expect(admitted).toBe(30_000)
  })

  it.each<ReplayPolicy>([
    { algorithm: 'token-bucket', limit: 1, windowMs: 1000, burst: 1 },
    { algorithm: 'fixed-window', limit: 1, windowMs: 1000, align: 'epoch' },
  ])('takes the first and the last moment that a log can hold: %j', (policy) => {
    const columns = new RecordColumns()
    for (const timeMs of [0, 0, Date.UTC(2100, 0) - 1000, Date.UTC(2100, 0) - 1000])
      columns.push(timeMs, 0, 0)
    const engine = openEngine(policy, 1, 0)
    const decisions: boolean[] = []
    replayRecords(
      columns.finish(['a'], ['a']),
      engine.limiter,
      engine.clock,
      (_index, _key, _timeMs, allowed) => {
        decisions.push(allowed)
      },
    )
    engine.finish()
    expect(decisions).toEqual([true, false, true, false])
  })

  it.each<ReplayPolicy>([
    { algorithm: 'token-bucket', limit: 0, windowMs: 1000, burst: 1 },
    { algorithm: 'sliding-log', limit: 65, windowMs: 1000 },
  ])('refuses a policy out of range when it is opened: %j', (policy) => {
    expect(() => openEngine(policy, 1, 0)).toThrow(RangeError)
  })
})
