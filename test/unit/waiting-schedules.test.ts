import * as fc from 'fast-check'
import { describe, test } from 'vitest'
import { seeded } from '../property/seed'
import { Bench, FakeLimiter, microtasks } from './waiting-fakes'

const CAPACITY = 5
const MS_PER_TOKEN = 4
const MAX_WAITERS = 6

interface Newcomer {
  key: string
  cost: number
  priority: number
  maxWaitMs: number
  hasSignal: boolean
}

type Step =
  | ({ op: 'wait' } & Newcomer)
  | { op: 'move'; ms: number }
  | { op: 'abort'; which: number }
  | { op: 'give'; key: string; tokens: number }

const key = fc.constantFrom('k', 'k', 'l')
const newcomer: fc.Arbitrary<Step> = fc.record({
  op: fc.constant('wait'),
  key,
  cost: fc.constantFrom(0, 1, 1, 1, 2, 3, CAPACITY, CAPACITY + 1),
  priority: fc.constantFrom(0, 0, 0, 1, -1),
  maxWaitMs: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 0, max: 60 })),
  hasSignal: fc.boolean(),
})
const abort: fc.Arbitrary<Step> = fc.record({ op: fc.constant('abort'), which: fc.nat(20) })
const give: fc.Arbitrary<Step> = fc.record({
  op: fc.constant('give'),
  key,
  tokens: fc.integer({ min: 1, max: 4 }),
})
const take: fc.Arbitrary<Step> = fc.record({
  op: fc.constant('give'),
  key,
  tokens: fc.integer({ min: -4, max: -1 }),
})

function moves(most: number): fc.Arbitrary<Step> {
  return fc.record({ op: fc.constant('move'), ms: fc.integer({ min: 1, max: most }) })
}

/** What settled, in order: `number of the wait: outcome at its time`. */
type Outcomes = string[]

interface Simulated {
  wait(name: number, newcomer: Newcomer): void
  abort(name: number): void
  give(key: string, tokens: number): void
  moveTo(ms: number): void
}

interface Queued extends Newcomer {
  name: number
  deadlineMs: number
  /** Only a head has one. */
  tryAtMs: number
}

/** The rules, in plain lists that are searched through. */
abstract class Model implements Simulated {
  readonly outcomes: Outcomes = []
  protected waiting: Queued[] = []
  protected nowMs = 0
  protected readonly limiter = new FakeLimiter(() => this.nowMs, CAPACITY, MS_PER_TOKEN)

  wait(name: number, newcomer: Newcomer): void {
    const queue = this.queue(newcomer.key)
    const waiter = {
      ...newcomer,
      name,
      deadlineMs: this.nowMs + newcomer.maxWaitMs,
      tryAtMs: Number.POSITIVE_INFINITY,
    }
    const isHead = queue.every((other) => other.priority < newcomer.priority)
    if (isHead) {
      if (this.tries(waiter)) return
    }
    const wouldWait = this.limiter.waitMs(newcomer.key, newcomer.cost)
    if (this.waiting.length >= MAX_WAITERS) this.end(waiter, 'ERR_SLUICE_QUEUE_FULL')
    else if (isHead ? wouldWait > newcomer.maxWaitMs : newcomer.maxWaitMs === 0)
      this.end(waiter, 'ERR_SLUICE_WAIT_TIMEOUT')
    else {
      for (const other of queue) if (isHead) other.tryAtMs = Number.POSITIVE_INFINITY
      if (isHead) waiter.tryAtMs = this.nowMs + wouldWait
      this.waiting.push(waiter)
    }
  }

  abort(name: number): void {
    const waiter = this.waiting.find((other) => other.name === name && other.hasSignal)
    if (waiter === undefined) return
    const wasHead = this.queue(waiter.key)[0] === waiter
    this.end(waiter, 'off')
    if (wasHead) this.serve(waiter.key)
  }

  give(key: string, tokens: number): void {
    this.limiter.give(key, tokens)
    if (tokens > 0) this.serve(key)
  }

  abstract moveTo(ms: number): void

  /** In the order in which they are served. */
  protected queue(key: string): Queued[] {
    const members = this.waiting.filter((waiter) => waiter.key === key)
    return members.sort((a, b) => b.priority - a.priority || a.name - b.name)
  }

  protected end(waiter: Queued, outcome: string): void {
    this.waiting = this.waiting.filter((other) => other !== waiter)
    this.outcomes.push(`${waiter.name}: ${outcome}`)
  }

  /** @returns whether that settled it */
  protected tries(waiter: Queued): boolean {
    const { admitted, never } = this.limiter.attempt(waiter.key, waiter.cost)
    if (admitted) this.end(waiter, `${waiter.key} at ${this.nowMs}`)
    else if (never) this.end(waiter, 'ERR_SLUICE_TOO_COSTLY')
    return admitted || never === true
  }

  protected serve(key: string): void {
    for (const waiter of this.queue(key)) {
      if (this.tries(waiter)) continue
      waiter.tryAtMs = this.nowMs + this.limiter.waitMs(key, waiter.cost)
      if (waiter.tryAtMs <= waiter.deadlineMs) return
      this.end(waiter, 'ERR_SLUICE_WAIT_TIMEOUT')
    }
  }
}

/** Moves in steps of 1 ms, and lets every head try in each: knows of no times to wait for. */
class TickingModel extends Model {
  moveTo(ms: number): void {
    while (this.nowMs < ms) {
      this.nowMs++
      for (const key of ['k', 'l']) {
        this.serve(key)
        for (const waiter of this.queue(key)) {
          if (waiter.deadlineMs > this.nowMs) continue
          this.end(waiter, 'ERR_SLUICE_WAIT_TIMEOUT')
        }
      }
    }
  }
}

/** Jumps, and then sees to whatever was due for longest. */
class JumpingModel extends Model {
  moveTo(ms: number): void {
    this.nowMs = ms
    for (;;) {
      const due = this.waiting
        .map((waiter) => ({ waiter, atMs: Math.min(waiter.tryAtMs, waiter.deadlineMs) }))
        .filter(({ atMs }) => atMs <= ms)
        .sort((a, b) => a.atMs - b.atMs || isTry(b.waiter) - isTry(a.waiter) || a.waiter.name - b.waiter.name)
      const first = due[0]?.waiter
      if (first === undefined) return
      if (isTry(first) === 0) this.end(first, 'ERR_SLUICE_WAIT_TIMEOUT')
      else this.serve(first.key)
    }
  }
}

function isTry({ tryAtMs, deadlineMs }: Queued): number {
  return tryAtMs <= deadlineMs ? 1 : 0
}

/** The room itself, with the same limiter. */
class Real implements Simulated {
  readonly outcomes: Outcomes = []
  readonly bench = new Bench(undefined, {
    capacity: CAPACITY,
    msPerToken: MS_PER_TOKEN,
    maxWaiters: MAX_WAITERS,
  })
  readonly #controllers: (AbortController | undefined)[] = []

  constructor(readonly jumps: boolean) {}

  wait(name: number, { key, cost, priority, maxWaitMs, hasSignal }: Newcomer): void {
    const controller = new AbortController()
    const options = hasSignal ? { priority, maxWaitMs, signal: controller.signal } : { priority, maxWaitMs }
    this.#controllers[name] = controller
    this.bench.room
      .wait(key, () => this.bench.limiter.attempt(key, cost), options)
      .then(
        (answer) => this.outcomes.push(`${name}: ${answer}`),
        (error) => this.outcomes.push(`${name}: ${error.code ?? error}`),
      )
  }

  abort(name: number): void {
    this.#controllers[name]?.abort('off')
  }

  give(key: string, tokens: number): void {
    this.bench.limiter.give(key, tokens)
    if (tokens > 0) this.bench.room.wake(key)
  }

  moveTo(ms: number): void {
    while (!this.jumps && this.bench.clock.now() < ms - 1) this.bench.clock.advance(1)
    this.bench.clock.set(ms)
  }
}

async function agrees(steps: Step[], model: Model, inOrder: boolean): Promise<void> {
  const real = new Real(inOrder)
  let nowMs = 0
  // At the end there is time for all; a jump serves as many as fit into the bucket.
  const end = Array.from({ length: MAX_WAITERS + 1 }, () => ({ op: 'move', ms: 100 }) as const)
  for (const [i, step] of [...steps, ...end].entries()) {
    for (const simulated of [model, real]) {
      if (step.op === 'wait') simulated.wait(i, step)
      else if (step.op === 'abort') simulated.abort(step.which)
      else if (step.op === 'give') simulated.give(step.key, step.tokens)
      else simulated.moveTo(nowMs + step.ms)
    }
    if (step.op === 'move') nowMs += step.ms
    await microtasks()
    const [expected, found] = [model, real].map(({ outcomes }) => (inOrder ? outcomes : [...outcomes].sort()))
    if (String(expected) !== String(found)) {
      throw new Error(`after step ${i}:\n${expected?.join('\n')}\n-- but found:\n${found?.join('\n')}`)
    }
  }
  const { room, clock } = real.bench
  if (room.size !== 0) throw new Error(`${room.size} are left at ${clock.now()}`)
}

describe('a room does what plain lists do', () => {
  test('millisecond by millisecond, where each head tries in each', async () => {
    const steps = fc.array(fc.oneof(newcomer, newcomer, moves(12), abort, give), { maxLength: 60 })
    const property = fc.asyncProperty(steps, (schedule) => agrees(schedule, new TickingModel(), false))
    await fc.assert(property, seeded(1500))
  })

  test('in jumps over many times, with others who spend meanwhile, in the same order', async () => {
    const steps = fc.array(fc.oneof(newcomer, newcomer, moves(60), abort, give, take), { maxLength: 60 })
    const property = fc.asyncProperty(steps, (schedule) => agrees(schedule, new JumpingModel(), true))
    await fc.assert(property, seeded(3000))
  })
})
