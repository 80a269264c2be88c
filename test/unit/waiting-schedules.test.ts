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
  /** Of one that was admitted and is in no queue any more. */
  held: { untilMs: number; order: number; outcome: string } | undefined
}

/** The rules, in plain lists that are searched through. */
abstract class Model implements Simulated {
  readonly outcomes: Outcomes = []
  protected waiting: Queued[] = []
  protected nowMs = 0
  protected readonly limiter: FakeLimiter
  #heldSoFar = 0

  constructor(paces: boolean) {
    this.limiter = new FakeLimiter(() => this.nowMs, CAPACITY, MS_PER_TOKEN, paces)
  }

  wait(name: number, newcomer: Newcomer): void {
    const queue = this.queue(newcomer.key)
    const waiter = {
      ...newcomer,
      name,
      deadlineMs: this.nowMs + newcomer.maxWaitMs,
      tryAtMs: Number.POSITIVE_INFINITY,
      held: undefined,
    }
    const isHead = queue.every((other) => other.priority < newcomer.priority)
    const isFull = this.waiting.length >= MAX_WAITERS
    const wouldWait = isHead ? this.tries(waiter, isFull ? 0 : newcomer.maxWaitMs) : 0
    if (wouldWait === undefined) return
    if (isFull) this.end(waiter, 'ERR_SLUICE_QUEUE_FULL')
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
    const members = this.waiting.filter((waiter) => waiter.key === key && waiter.held === undefined)
    return members.sort((a, b) => b.priority - a.priority || a.name - b.name)
  }

  protected end(waiter: Queued, outcome: string): void {
    this.waiting = this.waiting.filter((other) => other !== waiter)
    this.outcomes.push(`${waiter.name}: ${outcome}`)
  }

  /** @returns how long it would have to wait, if it is still in the queue */
  protected tries(waiter: Queued, leftMs: number): number | undefined {
    if (waiter.cost > CAPACITY) {
      this.end(waiter, 'ERR_SLUICE_TOO_COSTLY')
      return undefined
    }
    const {
      admitted,
      delayMs = 0,
      retryAfterMs,
      answer,
    } = this.limiter.attempt(waiter.key, waiter.cost, leftMs)
    if (!admitted) return retryAfterMs
    if (delayMs === 0) this.end(waiter, answer)
    else {
      waiter.held = { untilMs: this.nowMs + delayMs, order: this.#heldSoFar++, outcome: answer }
      if (!this.waiting.includes(waiter)) this.waiting.push(waiter)
    }
    return undefined
  }

  protected serve(key: string): void {
    for (const waiter of this.queue(key)) {
      const wouldWait = this.tries(waiter, Math.max(0, waiter.deadlineMs - this.nowMs))
      if (wouldWait === undefined) continue
      waiter.tryAtMs = this.nowMs + wouldWait
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
      for (const waiter of this.waiting.filter(({ held }) => held?.untilMs === this.nowMs))
        this.end(waiter, waiter.held?.outcome ?? '')
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
        .map((waiter) => ({
          waiter,
          atMs: waiter.held?.untilMs ?? Math.min(waiter.tryAtMs, waiter.deadlineMs),
          order: waiter.held?.order ?? waiter.name,
        }))
        .filter(({ atMs }) => atMs <= ms)
        .sort((a, b) => a.atMs - b.atMs || turnOf(a.waiter) - turnOf(b.waiter) || a.order - b.order)
      const first = due[0]?.waiter
      if (first === undefined) return
      if (first.held !== undefined) this.end(first, first.held.outcome)
      else if (turnOf(first) === 2) this.end(first, 'ERR_SLUICE_WAIT_TIMEOUT')
      else this.serve(first.key)
    }
  }
}

function turnOf({ held, tryAtMs, deadlineMs }: Queued): number {
  if (held !== undefined) return 0
  return tryAtMs <= deadlineMs ? 1 : 2
}

/** The room itself, with the same limiter. */
class Real implements Simulated {
  readonly outcomes: Outcomes = []
  readonly bench: Bench
  readonly #controllers: (AbortController | undefined)[] = []

  constructor(
    readonly jumps: boolean,
    paces: boolean,
  ) {
    const [capacity, msPerToken, maxWaiters] = [CAPACITY, MS_PER_TOKEN, MAX_WAITERS]
    this.bench = new Bench(undefined, { capacity, msPerToken, maxWaiters, paces })
  }

  wait(name: number, { key, cost, priority, maxWaitMs, hasSignal }: Newcomer): void {
    const controller = new AbortController()
    const options = hasSignal ? { priority, maxWaitMs, signal: controller.signal } : { priority, maxWaitMs }
    this.#controllers[name] = controller
    this.bench.room
      .wait(key, (leftMs) => this.bench.limiter.attempt(key, cost, leftMs), options)
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

async function agrees(steps: Step[], model: Model, inOrder: boolean, paces: boolean): Promise<void> {
  const real = new Real(inOrder, paces)
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

describe.each([
  ['admits at once', false],
  ['holds back', true],
])('a room does what plain lists do, with a limiter that %s', (_, paces) => {
  test('millisecond by millisecond, where each head tries in each', async () => {
    const steps = fc.array(fc.oneof(newcomer, newcomer, moves(12), abort, give), { maxLength: 60 })
    const property = fc.asyncProperty(steps, (schedule) =>
      agrees(schedule, new TickingModel(paces), false, paces),
    )
    await fc.assert(property, seeded(1500))
  })

  test('in jumps over many times, with others who spend meanwhile, in the same order', async () => {
    const steps = fc.array(fc.oneof(newcomer, newcomer, moves(60), abort, give, take), { maxLength: 60 })
    const property = fc.asyncProperty(steps, (schedule) =>
      agrees(schedule, new JumpingModel(paces), true, paces),
    )
    await fc.assert(property, seeded(3000))
  })
})
