import type { Expected, Range } from '../oracle/expected'
import { Oracle } from '../oracle/oracle'
import { fixedWindowScenarios } from './fixed-window-scenarios'
import type {
  Scenario,
  ScenarioStep,
  VectorDecision,
  VectorFile,
  VectorKey,
  VectorNumber,
  VectorStep,
} from './format'
import { tokenBucketScenarios } from './token-bucket-scenarios'

/** Lets the oracle answer every scenario. */
export function buildVectors(): VectorFile {
  return { format: 1, cases: [...tokenBucketScenarios, ...fixedWindowScenarios].map(answer) }
}

function answer({ name, policy, steps }: Scenario): VectorFile['cases'][number] {
  const oracle = new Oracle(policy)
  return { name, policy, steps: steps.map((step) => answerStep(oracle, step)) }
}

function answerStep(oracle: Oracle, [atMs, op, key, ...rest]: ScenarioStep): VectorStep {
  const args = rest.filter((item) => typeof item === 'number')
  const tier = rest.find((item) => typeof item === 'object')?.tier
  const step = { atMs, op, key, args, ...(tier === undefined ? {} : { tier }) }
  return { ...step, expect: ask(oracle, step) }
}

function ask(
  oracle: Oracle,
  { atMs, op, key, args, tier }: Omit<VectorStep, 'expect'>,
): VectorStep['expect'] {
  const id = keyId(key)
  const [first = 1, second = 0] = args
  switch (op) {
    case 'consume':
      return decision(oracle.consume(atMs, id, first, tier))
    case 'allow':
      return settled(oracle.consume(atMs, id, first, tier).allowed)
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
