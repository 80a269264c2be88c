import {
  type Decision,
  type Key,
  Limiter,
  type LimiterOptions,
  type LimiterView,
  ManualClock,
  type WaitOptions,
} from '../../lib/index'
import { microtasks } from './waiting-fakes'

const opened: Limiter[] = []

/** Closes them all. */
export function closeScenes(): void {
  for (const limiter of opened.splice(0)) limiter.close()
}

export function kept(limiter: Limiter): Limiter {
  opened.push(limiter)
  return limiter
}

/** A limiter on a clock that stands, and a log of what settled at which time of it. */
export class Scene {
  readonly clock = new ManualClock(1_000_000)
  readonly limiter: Limiter
  readonly #startMs = this.clock.now()
  #log: string[] = []

  constructor(options: Partial<LimiterOptions> = {}) {
    this.limiter = kept(
      new Limiter({ limit: 10, windowMs: 1000, maxKeys: 100, clock: this.clock, ...options }),
    )
  }

  get ms(): number {
    return Math.round((this.clock.now() - this.#startMs) * 1000) / 1000
  }

  wait(name: string, options?: WaitOptions, cost?: number, key: Key = 'k', view: LimiterView = this.limiter) {
    return this.note(name, view.wait(key, cost, options))
  }

  note<Answer extends Decision>(name: string, promise: Promise<Answer>): Promise<Answer> {
    promise.then(
      ({ allowed, delayMs }) => this.#log.push(`${name}${allowed && delayMs === 0 ? '' : ' but not now'}`),
      (error) => this.#log.push(`${name}: ${error?.code ?? error}`),
    )
    return promise
  }

  async settled(): Promise<string[]> {
    await microtasks()
    return this.#log.splice(0)
  }

  async advance(ms: number): Promise<string[]> {
    this.clock.advance(ms)
    return this.settled()
  }

  /** What settles until then and when: moves from one time to the next at which a timer is due. */
  async playUntil(endMs: number, stepMs: number): Promise<Record<string, number>> {
    const times: Record<string, number> = {}
    for (const name of await this.settled()) times[name] = this.ms
    while (this.ms < endMs) for (const name of await this.advance(stepMs)) times[name] = this.ms
    return times
  }
}
