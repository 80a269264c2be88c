import type { Expected, Range } from '../oracle/expected'
import { Oracle, type OracleLease, type OracleReservation } from '../oracle/oracle'
import { SetOracle } from '../oracle/set-oracle'
import { concurrencyScenarios } from './concurrency-scenarios'
import { fixedWindowScenarios } from './fixed-window-scenarios'
import type {
  Scenario,
  ScenarioNote,
  ScenarioStep,
  SetScenario,
  SetScenarioStep,
  VectorCase,
  VectorDecision,
  VectorFile,
  VectorKey,
  VectorNumber,
  VectorSet,
  VectorSetStep,
  VectorStep,
} from './format'
import { leakyBucketScenarios } from './leaky-bucket-scenarios'
import { newKeyScenarios } from './new-key-scenarios'
import { operationScenarios } from './operation-scenarios'
import { setScenarios } from './set-scenarios'
import { slidingLogScenarios } from './sliding-log-scenarios'
import { slidingWindowScenarios } from './sliding-window-scenarios'
import { strictWindowScenarios } from './strict-window-scenarios'
import { tokenBucketScenarios } from './token-bucket-scenarios'

const scenarios: Scenario[] = [
  ...tokenBucketScenarios,
  ...fixedWindowScenarios,
  ...slidingWindowScenarios,
  ...slidingLogScenarios,
  ...strictWindowScenarios,
  ...leakyBucketScenarios,
  ...concurrencyScenarios,
  ...newKeyScenarios,
  ...operationScenarios,
]

/** Lets the oracle answer every scenario. */
export function buildVectors(): VectorFile {
  return { format: 2, cases: scenarios.map(answerCase), sets: setScenarios.map(answerSet) }
}

function answerCase({ name, policy, steps }: Scenario): VectorCase {
  const script = new Script(new Oracle(policy))
  return { name, policy, steps: steps.map((step) => script.answer(step)) }
}

function answerSet({ name, members, steps }: SetScenario): VectorSet {
  const set = new SetOracle(members.map(({ name, policy }) => ({ name, settings: policy })))
  const scripts = new Map(members.map(({ name }) => [name, new Script(set.member(name))]))
  return { name, members, steps: steps.map((step) => answerSetStep(set, scripts, step)) }
}

function answerSetStep(set: SetOracle, scripts: Map<string, Script>, step: SetScenarioStep): VectorSetStep {
  if (isOfMember(step)) {
    const [member, ...own] = step
    return { member, ...(scripts.get(member) as Script).answer(own) }
  }
  const [atMs, op, keys, costs] = step
  const ids = keys.map(keyId)
  if (op === 'allow') return { atMs, op, keys, costs, expect: set.allow(atMs, ids, costs) }
  const expected = op === 'peek' ? set.peek(atMs, ids, costs) : set.consume(atMs, ids, costs)
  const decisions = Object.fromEntries(
    Object.entries(expected.decisions).map(([name, answer]) => [name, decision(answer)]),
  )
  return {
    atMs,
    op,
    keys,
    costs,
    expect: {
      decision: { ...(decisions[expected.tightest] as VectorDecision), delayMs: ms(expected.delayUs) },
      limitedBy: expected.limitedBy ?? null,
      decisions,
    },
  }
}

function isOfMember(step: SetScenarioStep): step is [string, ...ScenarioStep] {
  return typeof step[0] === 'string'
}

type Question = Omit<VectorStep, 'expect'>

/** The steps of one case, and the leases and reservations that they made. */
class Script {
  readonly #oracle: Oracle
  readonly #named = new Map<string, number>()
  readonly #leases = new Map<number, OracleLease>()
  readonly #reservations = new Map<number, OracleReservation>()
  #index = -1

  constructor(oracle: Oracle) {
    this.#oracle = oracle
  }

  answer([atMs, op, key, ...rest]: ScenarioStep): VectorStep {
    this.#index++
    const args = rest.filter((item) => typeof item === 'number')
    const { tier, as, of }: ScenarioNote = rest.find((item) => typeof item === 'object') ?? {}
    if (as !== undefined) this.#named.set(as, this.#index)
    const step = {
      atMs,
      op,
      key,
      args,
      ...(tier === undefined ? {} : { tier }),
      ...(of === undefined ? {} : { of: this.#named.get(of) as number }),
    }
    return { ...step, expect: this.#ask(step) }
  }

  #ask(step: Question): VectorStep['expect'] {
    const { atMs, op, key, args, tier } = step
    const id = keyId(key)
    const [first = 1, second = 0] = args
    const oracle = this.#oracle
    switch (op) {
      case 'consume':
        return decision(oracle.consume(atMs, id, first, tier))
      case 'consumePartial':
        return decision(oracle.consumePartial(atMs, id, first, tier))
      case 'allow':
        return settled(oracle.consume(atMs, id, first, tier, false, true).allowed)
      case 'peek':
        return decision(oracle.peek(atMs, id, tier))
      case 'refund':
        return count(oracle.refund(atMs, id, first, second, tier))
      case 'penalize':
        return count(oracle.penalize(atMs, id, first, tier))
      case 'block':
        oracle.block(atMs, id, first, tier)
        return null
      case 'reset':
        return settled(oracle.reset(atMs, id))
      default:
        return this.#askHolding(step)
    }
  }

  /** What makes, or ends, a lease or a reservation. */
  #askHolding({ atMs, op, key, args, tier, of = -1 }: Question): VectorStep['expect'] {
    const oracle = this.#oracle
    const [first = 1, second = 0, maxDebt] = args
    if (op === 'acquire') {
      const { expected, lease } = oracle.acquire(atMs, keyId(key), first, tier)
      this.#leases.set(this.#index, lease)
      return decision(expected)
    }
    if (op === 'release') return settled(oracle.release(atMs, this.#leases.get(of) as OracleLease))
    if (op === 'reserve') {
      const made = oracle.reserve(atMs, keyId(key), first, second, maxDebt, tier)
      this.#reservations.set(this.#index, made.reservation)
      return decision(made.expected)
    }
    const actual = op === 'cancel' ? 0 : first
    const uncharged = oracle.settle(atMs, this.#reservations.get(of) as OracleReservation, actual)
    return op === 'cancel' ? null : count(uncharged)
  }
}

/** The oracle's own name for a key, different for different keys whatever their kind. */
export function keyId(key: VectorKey): string {
  if (typeof key === 'object') return `bytes:${key.bytes.join(',')}`
  return `${typeof key}:${key}`
}

function decision(expected: Expected): VectorDecision {
  return {
    allowed: settled(expected.allowed),
    reason: expected.reason,
    limit: Number(expected.limit),
    remaining: count(expected.remaining),
    retryAfterMs: expected.retryAfterUs === 'never' ? 'Infinity' : ms(expected.retryAfterUs),
    resetAfterMs: ms(expected.resetAfterUs),
    delayMs: ms(expected.delayUs),
    consumed: Number(expected.consumed),
  }
}

function settled(answer: boolean | 'either'): boolean {
  if (answer === 'either') throw new Error('a vector must have one answer: choose a policy on the exact grid')
  return answer
}

function count({ lo, hi }: Range<bigint>): VectorNumber {
  return lo === hi ? Number(lo) : { min: Number(lo), max: Number(hi) }
}

function ms({ lo, hi }: Range<bigint>): VectorNumber {
  return lo === hi ? Number(lo) / 1000 : { min: Number(lo) / 1000, max: Number(hi) / 1000 }
}

/** The file's text: JSON, with a line for each step. */
export function vectorText({ format, cases, sets }: VectorFile): string {
  const lists = [
    ['cases', cases.map(({ steps, ...head }) => caseText(head, steps))],
    ['sets', sets.map(({ steps, ...head }) => caseText(head, steps))],
  ] as const
  const body = lists.map(([name, texts]) => `"${name}": [\n${texts.join(',\n')}\n]`)
  return `{\n"format": ${format},\n${body.join(',\n')}\n}\n`
}

function caseText(head: object, steps: object[]): string {
  const fields = Object.entries(head).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`)
  const lines = steps.map((step) => `  ${JSON.stringify(step)}`)
  return ` {${fields.join(',\n  ')},\n  "steps": [\n${lines.join(',\n')}\n ]}`
}
