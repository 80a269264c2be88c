import { afterAll, describe } from 'vitest'
import { Limiter, type LimiterOptions, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import type { VectorPolicy } from './format'
import { runVectors, type VectorBackend } from './run-vectors'

/** Users of one limiter, of which each call is made by the next one. All of them see every step of the clock. */
class Engine implements VectorBackend {
  readonly #clock: ManualClock
  readonly #users: Limiter[]
  #calls = 0

  constructor(clock: ManualClock, users: Limiter[]) {
    this.#clock = clock
    this.#users = users
  }

  setTime(ms: number): void {
    this.#clock.set(ms)
    for (const user of this.#users) user.peek('nobody')
  }

  call: VectorBackend['call'] = (op, key, args, tier) => {
    const user = this.#users[this.#calls++ % this.#users.length] as Limiter
    const view = tier === undefined ? user : user.tier(tier)
    const [first = 1, second] = args
    switch (op) {
      case 'consume':
        return view.consume(key, first)
      case 'allow':
        return view.allow(key, first)
      case 'peek':
        return view.peek(key)
      case 'refund':
        return view.refund(key, first, second)
      case 'penalize':
        return view.penalize(key, first)
      case 'block':
        return view.block(key, first)
      case 'reset':
        return view.reset(key)
    }
  }

  close(): void {
    for (const user of this.#users) user.close()
  }
}

function optionsOf(policy: VectorPolicy, clock: ManualClock): LimiterOptions {
  return { ...policy, clock, maxKeys: 100 }
}

describe('a private limiter', () => {
  runVectors((policy) => {
    const clock = new ManualClock()
    return new Engine(clock, [new Limiter(optionsOf(policy, clock))])
  })
})

describe('a limiter attached to by its handle, after its maker has closed', () => {
  runVectors((policy) => {
    const clock = new ManualClock()
    const maker = new Limiter(optionsOf(policy, clock))
    const user = Limiter.attach(maker.handle(), { clock })
    maker.close()
    return new Engine(clock, [user])
  })
})

describe('a limiter that is shared by name', () => {
  afterAll(removeRegions)

  runVectors((policy) => {
    const clock = new ManualClock()
    return new Engine(clock, [new Limiter({ ...optionsOf(policy, clock), shared: freshName() })])
  })
})

describe('three users of a shared limiter, by turns', () => {
  afterAll(removeRegions)

  runVectors((policy) => {
    const clock = new ManualClock()
    const shared = freshName()
    const make = (): Limiter => new Limiter({ ...optionsOf(policy, clock), shared })
    const first = make()
    return new Engine(clock, [first, make(), Limiter.attach(first.handle(), { clock })])
  })
})
