import { afterAll, describe } from 'vitest'
import { Limiter, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { freshName, removeRegions } from '../unit/regions'
import type { VectorMember, VectorPolicy } from './format'
import {
  type BackendAnswer,
  type BackendCall,
  type BackendSetCall,
  runSetVectors,
  runVectors,
  type VectorBackend,
  type VectorSetBackend,
} from './run-vectors'

type View = Pick<
  Limiter,
  'allow' | 'consume' | 'peek' | 'refund' | 'penalize' | 'block' | 'reset' | 'acquire' | 'reserve'
>
type Lease = ReturnType<Limiter['acquire']>
type Reservation = ReturnType<Limiter['reserve']>

/** Users of one limiter, of which each call is made by the next one. All of them see every step of the clock. */
class Engine implements VectorBackend {
  readonly #clock: ManualClock
  readonly #users: Limiter[]
  readonly #leases = new Map<number, Lease>()
  readonly #reservations = new Map<number, Reservation>()
  #calls = 0

  constructor(clock: ManualClock, users: Limiter[]) {
    this.#clock = clock
    this.#users = users
  }

  setTime(ms: number): void {
    this.#clock.set(ms)
    for (const user of this.#users) user.peek('nobody')
  }

  call(call: BackendCall): BackendAnswer {
    const user = this.#users[this.#calls++ % this.#users.length] as Limiter
    const view: View = call.tier === undefined ? user : user.tier(call.tier)
    const {
      op,
      key,
      args: [first = 1, second],
    } = call
    switch (op) {
      case 'consume':
        return view.consume(key, first)
      case 'consumePartial':
        return view.consume(key, first, { partial: true })
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
      default:
        return this.#hold(view, call)
    }
  }

  #hold(view: View, { op, key, args, index, of = -1 }: BackendCall): BackendAnswer {
    const [first = 1, second = 0, maxDebt] = args
    if (op === 'acquire') {
      const lease = view.acquire(key, first)
      this.#leases.set(index, lease)
      return lease
    }
    if (op === 'release') return (this.#leases.get(of) as Lease).release()
    if (op === 'reserve') {
      const options = maxDebt === undefined ? undefined : { maxDebt }
      const reservation = view.reserve(key, first, second, options)
      this.#reservations.set(index, reservation)
      return reservation
    }
    const reservation = this.#reservations.get(of) as Reservation
    if (op === 'settle') return reservation.settle(first)
    reservation.cancel()
    return undefined
  }

  close(): void {
    for (const user of this.#users) user.close()
  }
}

/** A set, whose members can be called by themselves. */
class EngineSet implements VectorSetBackend {
  readonly #clock: ManualClock
  readonly #members: Map<string, Limiter>
  readonly #engines: Map<string, Engine>
  readonly #set: LimitSet

  constructor(clock: ManualClock, members: Map<string, Limiter>) {
    this.#clock = clock
    this.#members = members
    this.#engines = new Map([...members].map(([name, limiter]) => [name, new Engine(clock, [limiter])]))
    this.#set = new LimitSet([...members].map(([name, limiter]) => ({ name, limiter })))
  }

  setTime(ms: number): void {
    this.#clock.set(ms)
  }

  call({ op, keys, costs }: BackendSetCall): object | boolean {
    return this.#set[op](keys, costs)
  }

  callMember(member: string, call: BackendCall): BackendAnswer {
    return (this.#engines.get(member) as Engine).call(call)
  }

  close(): void {
    for (const limiter of this.#members.values()) limiter.close()
  }
}

function optionsOf(policy: VectorPolicy, clock: ManualClock): LimiterOptions {
  return { ...policy, clock, maxKeys: 100 }
}

function makeSet(members: VectorMember[], sharing: () => { shared?: string }): EngineSet {
  const clock = new ManualClock()
  const limiters = members.map(
    ({ name, policy }) => [name, new Limiter({ ...optionsOf(policy, clock), ...sharing() })] as const,
  )
  return new EngineSet(clock, new Map(limiters))
}

describe('a private limiter', () => {
  runVectors((policy) => {
    const clock = new ManualClock()
    return new Engine(clock, [new Limiter(optionsOf(policy, clock))])
  })

  runSetVectors((members) => makeSet(members, () => ({})))
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

  runSetVectors((members) => makeSet(members, () => ({ shared: freshName() })))
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
