import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Deadlines, Due } from '../../lib/redis/deadlines'

class Item extends Due {
  expiredMs: number | undefined

  constructor(
    readonly timeoutMs: number,
    readonly startMs: number,
  ) {
    super()
  }
}

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

function start(): Deadlines<Item> {
  return new Deadlines((items, timeoutMs) => {
    for (const item of items) {
      expect(item.timeoutMs).toBe(timeoutMs)
      expect([item.expiredMs, item.isListed]).toEqual([undefined, false])
      item.expiredMs = performance.now()
    }
  })
}

function add(deadlines: Deadlines<Item>, timeoutMs: number, agoMs = 0): Item {
  const item = new Item(timeoutMs, performance.now() - agoMs)
  deadlines.add(item, item.startMs)
  return item
}

test('random schedules: what is due expires once, in its time, unless it was removed; then no timer is left', () => {
  const deadlines = start()
  const random = sequence(3)
  const kept: Item[] = []
  const removed: Item[] = []
  for (let round = 0; round < 3000; round++) {
    const timeoutMs = [20, 50, 51][random(3)] as number
    // Parts of a divided request have the time of the whole.
    kept.push(add(deadlines, timeoutMs, random(4) === 0 ? random(timeoutMs) : 0))
    for (let i = random(3); i > 0; i--) {
      const item = kept[Math.max(0, kept.length - 1 - random(30))]
      if (!item?.isListed) continue
      deadlines.remove(item)
      deadlines.remove(item)
      removed.push(...kept.splice(kept.indexOf(item), 1))
    }
    vi.advanceTimersByTime(random(4))
  }
  vi.advanceTimersByTime(200)
  expect(removed.length).toBeGreaterThan(500)
  expect(removed.filter(({ expiredMs }) => expiredMs !== undefined)).toEqual([])
  for (const { expiredMs, startMs, timeoutMs } of kept) {
    expect(expiredMs).toBeGreaterThanOrEqual(startMs + timeoutMs)
    expect(expiredMs).toBeLessThanOrEqual(startMs + timeoutMs + 2)
  }
  expect(vi.getTimerCount()).toBe(0)
  expect(deadlines.drain()).toEqual([])
})

test('drain takes all, of every timeout', () => {
  const deadlines = start()
  const items = [add(deadlines, 20), add(deadlines, 50), add(deadlines, 20)]
  expect(new Set(deadlines.drain())).toEqual(new Set(items))
  vi.advanceTimersByTime(100)
  expect(items.map(({ expiredMs }) => expiredMs)).toEqual([undefined, undefined, undefined])
  const [after] = [add(deadlines, 20)]
  vi.advanceTimersByTime(100)
  expect(after?.expiredMs).toBeDefined()
})

function sequence(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
