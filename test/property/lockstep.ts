import type { Decision } from '../../lib/index'
import type { Expected, Range } from '../oracle/expected'
import { Oracle, type OracleLease, type OracleReservation } from '../oracle/oracle'
import type { OracleSettings } from '../oracle/settings'
import { Driver, type Event, shownEvent } from './driver'
import type { Schedule } from './schedules'

/** Runs the engine and the oracle through the same schedule and throws where they part. */
export function runInLockstep(policy: OracleSettings, schedule: Schedule, userCount = 1): void {
  const lockstep = new Lockstep(policy, schedule)
  new Driver(policy, schedule, userCount).run(schedule.steps, (event) => lockstep.check(event))
}

/** Compares what was answered with what the oracle says. */
export class Lockstep {
  readonly #oracle: Oracle
  readonly #settings: OracleSettings
  readonly #trace: string[] = []
  readonly #leases = new Map<number, OracleLease>()
  readonly #reservations = new Map<number, OracleReservation>()

  constructor(policy: OracleSettings, { startUs, readingUs }: Schedule) {
    this.#settings = policy
    this.#oracle = new Oracle(policy, { startMs: startUs / 1000, readingUs })
  }

  check(event: Event): void {
    this.#trace.push(shownEvent(event))
    const { atMs, key, tier } = event
    switch (event.op) {
      case 'consume':
        this.#consume(event)
        break
      case 'allow':
        this.#flag(
          event.answer,
          this.#oracle.consume(atMs, key, event.tokens, tier, event.answer, true).allowed,
        )
        break
      case 'many':
        this.#many(event)
        break
      case 'peek':
        this.#peek(event)
        break
      case 'refund':
        this.#refund(event)
        break
      case 'penalize':
        this.#number('tokens', event.answer, this.#oracle.penalize(atMs, key, event.tokens, tier))
        break
      case 'block':
        this.#oracle.block(atMs, key, event.ms, tier)
        break
      case 'reset':
        this.#flag(event.answer, this.#oracle.reset(atMs, key))
        break
      case 'set-policy':
        this.#oracle.setPolicy({ ...this.#settings, ...event.policy })
        break
      case 'partial':
        this.#decision(event.answer, this.#oracle.consumePartial(atMs, key, event.tokens, tier, event.answer))
        break
      default:
        this.#checkHolding(event)
    }
  }

  /** What makes, or ends, a lease or a reservation. */
  #checkHolding(event: Extract<Event, { id: number }>): void {
    const { atMs, key, tier, id } = event
    if (event.op === 'acquire') {
      const { expected, lease } = this.#oracle.acquire(atMs, key, event.tokens, tier)
      this.#leases.set(id, lease)
      this.#decision(event.answer, expected)
    } else if (event.op === 'release') {
      const lease = this.#leases.get(id) as OracleLease
      this.#flag(event.answer, this.#oracle.release(atMs, lease, event.answer))
    } else if (event.op === 'reserve') {
      const { tokens, ttlMs, maxDebt, answer } = event
      const made = this.#oracle.reserve(atMs, key, tokens, ttlMs, maxDebt, tier, answer.allowed)
      this.#reservations.set(id, made.reservation)
      this.#decision(answer, made.expected)
    } else {
      const reservation = this.#reservations.get(id) as OracleReservation
      this.#number('uncharged', event.answer, this.#oracle.settle(atMs, reservation, event.tokens))
    }
  }

  #consume({ atMs, key, tier, tokens, answer }: Event & { op: 'consume' }): void {
    this.#decision(answer, this.#oracle.consume(atMs, key, tokens, tier, answer.allowed))
  }

  #many({ atMs, key, tier, tokens, answer }: Event & { op: 'many' }): void {
    let allowedCount = 0
    for (const index of [0, 1]) {
      const allowed = answer.allowed[index] === 1
      const expected = this.#oracle.consume(atMs, key, tokens, tier, allowed)
      this.#flag(allowed, expected.allowed)
      this.#number(`remaining[${index}]`, answer.remaining[index], expected.remaining)
      this.#retry(answer.retryAfterMs[index], expected)
      this.#ms(`delayMs[${index}]`, answer.delayMs[index], expected.delayUs)
      if (allowed) allowedCount++
    }
    if (answer.allowedCount !== allowedCount) this.#fail(`allowedCount should be ${allowedCount}`)
  }

  #refund({ atMs, key, tier, tokens, agoMs, answer }: Event & { op: 'refund' }): void {
    this.#number('tokens', answer, this.#oracle.refund(atMs, key, tokens, agoMs, tier, answer))
  }

  #peek({ atMs, key, tier, answer }: Event & { op: 'peek' }): void {
    if (!this.#oracle.adoptReset(atMs, key, answer.resetAfterMs)) {
      this.#fail('the window should end earlier, or not so early')
    }
    this.#decision(answer, this.#oracle.peek(atMs, key, tier, answer.allowed))
  }

  #decision(decision: Decision, expected: Expected): void {
    this.#flag(decision.allowed, expected.allowed)
    const { reason } = decision
    const reasonFits =
      expected.reason === 'either' ? reason === 'ok' || reason === 'limited' : reason === expected.reason
    if (!reasonFits) this.#fail(`reason should be ${expected.reason}`)
    if (decision.limit !== Number(expected.limit)) this.#fail(`limit should be ${expected.limit}`)
    this.#number('remaining', decision.remaining, expected.remaining)
    this.#retry(decision.retryAfterMs, expected)
    this.#ms('resetAfterMs', decision.resetAfterMs, expected.resetAfterUs)
    this.#ms('delayMs', decision.delayMs, expected.delayUs)
    if (decision.consumed !== Number(expected.consumed)) this.#fail(`consumed should be ${expected.consumed}`)
  }

  #retry(retryAfterMs: number | undefined, { retryAfterUs }: Expected): void {
    if (retryAfterUs !== 'never') this.#ms('retryAfterMs', retryAfterMs, retryAfterUs)
    else if (retryAfterMs !== Number.POSITIVE_INFINITY) this.#fail('retryAfterMs should be Infinity')
  }

  #ms(what: string, actualMs: number | undefined, { lo, hi }: Range<bigint>): void {
    const actualUs = Math.round((actualMs ?? Number.NaN) * 1000)
    if (actualMs !== actualUs / 1000) this.#fail(`${what} should be a whole number of microseconds`)
    const latest = hi > 0n ? hi + this.#oracle.resetSlackUs : hi
    this.#number(`${what} * 1000`, actualUs, { lo, hi: latest })
  }

  #number(what: string, actual: number | undefined, { lo, hi }: Range<bigint>): void {
    if (actual !== undefined && BigInt(actual) >= lo && BigInt(actual) <= hi) return
    this.#fail(`${what} should be ${lo === hi ? lo : `from ${lo} to ${hi}`}`)
  }

  #flag(actual: boolean, expected: boolean | 'either'): void {
    if (expected !== 'either' && actual !== expected) this.#fail(`the answer should be ${expected}`)
  }

  #fail(complaint: string): never {
    throw new Error(`${complaint} in the last of these calls:\n${this.#trace.join('\n')}`)
  }
}
