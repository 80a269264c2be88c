import { Breaker, type BreakerOptions, type BreakerState } from './breaker'
import type { StateChange } from './redis-events'

/** What is thought of each node: a breaker by the name that the courier has for it ('' where there is but one). */
export class Nodes {
  readonly #options: BreakerOptions
  readonly #present: () => ReadonlySet<string>
  readonly #onChange: (change: StateChange) => void
  readonly #breakers = new Map<string, Breaker>()

  /** @param present the nodes that serve keys now */
  constructor(
    options: BreakerOptions,
    present: () => ReadonlySet<string>,
    onChange: (change: StateChange) => void,
  ) {
    this.#options = options
    this.#present = present
    this.#onChange = onChange
  }

  of(node: string): Breaker {
    return this.#breakers.get(node) ?? this.#add(node)
  }

  /** The worst of all. */
  get state(): BreakerState {
    this.#dropGone()
    const states = [...this.#breakers.values()].map(({ state }) => state)
    return states.includes('open') ? 'open' : states.includes('half-open') ? 'half-open' : 'closed'
  }

  #add(node: string): Breaker {
    const onChange = (from: BreakerState, to: BreakerState, error?: Error): void =>
      this.#onChange({ node, from, to, ...(error === undefined ? {} : { error }) })
    const breaker = new Breaker(this.#options, onChange)
    this.#dropGone()
    this.#breakers.set(node, breaker)
    return breaker
  }

  /** Those that have left a Cluster are not thought of any more: nobody would find out that they are well. */
  #dropGone(): void {
    const present = this.#present()
    if (present.size === 0) return
    for (const [node, { state }] of this.#breakers) {
      // '': while no node is known.
      if (node === '' || present.has(node)) continue
      this.#breakers.delete(node)
      if (state !== 'closed') this.#onChange({ node, from: state, to: 'closed' })
    }
  }
}
