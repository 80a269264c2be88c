import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type {
  VectorDecision,
  VectorFile,
  VectorKey,
  VectorMember,
  VectorNumber,
  VectorOp,
  VectorPolicy,
  VectorSetDecision,
  VectorSetStep,
  VectorStep,
} from './format'

export const VECTORS_PATH = path.join(__dirname, 'vectors.json')

export type BackendKey = string | number | Uint8Array
export type BackendAnswer = object | number | boolean | undefined

export interface BackendCall {
  op: VectorOp
  key: BackendKey
  args: number[]
  /** Under which tier; undefined: the limiter itself. */
  tier: string | undefined
  /** The number of this call, and of the earlier one whose lease or reservation it is about. */
  index: number
  of: number | undefined
}

/** A limiter under test. It may answer at once or with a promise. */
export interface VectorBackend {
  /** Sets the backend's clock, in milliseconds. It may go backwards. */
  setTime(ms: number): void | Promise<void>
  /** What `block` and `cancel` answer does not matter. */
  call(call: BackendCall): BackendAnswer | Promise<BackendAnswer>
  close(): void | Promise<void>
}

export interface BackendSetCall {
  op: 'consume' | 'allow' | 'peek'
  keys: BackendKey[]
  costs: number[]
}

/** Several limiters that decide as one. */
export interface VectorSetBackend {
  setTime(ms: number): void | Promise<void>
  call(call: BackendSetCall): object | boolean | Promise<object | boolean>
  /** The member of that name, by itself. */
  callMember(member: string, call: BackendCall): BackendAnswer | Promise<BackendAnswer>
  close(): void | Promise<void>
}

function readVectors(): VectorFile {
  return JSON.parse(readFileSync(VECTORS_PATH, 'utf8'))
}

/** Runs every case of vectors.json against the backends that `makeBackend` makes, one for each case. */
export function runVectors(
  makeBackend: (policy: VectorPolicy) => VectorBackend | Promise<VectorBackend>,
): void {
  describe('the cases of vectors.json', () => {
    for (const { name, policy, steps } of readVectors().cases) {
      test(name, async () => {
        const backend = await makeBackend(policy)
        try {
          for (const [index, step] of steps.entries()) {
            await backend.setTime(step.atMs)
            check(step, await backend.call(toCall(step, index)), `step ${index}`)
          }
        } finally {
          await backend.close()
        }
      })
    }
  })
}

/** The same for the sets. */
export function runSetVectors(
  makeBackend: (members: VectorMember[]) => VectorSetBackend | Promise<VectorSetBackend>,
): void {
  describe('the sets of vectors.json', () => {
    for (const { name, members, steps } of readVectors().sets) {
      test(name, async () => {
        const backend = await makeBackend(members)
        try {
          for (const [index, step] of steps.entries()) await runSetStep(backend, step, index)
        } finally {
          await backend.close()
        }
      })
    }
  })
}

async function runSetStep(backend: VectorSetBackend, step: VectorSetStep, index: number): Promise<void> {
  await backend.setTime(step.atMs)
  if ('member' in step) {
    check(step, await backend.callMember(step.member, toCall(step, index)), `step ${index}`)
    return
  }
  const { op, keys, costs, expect: expected } = step
  const answer = await backend.call({ op, keys: keys.map(toKey), costs })
  const label = `step ${index}: ${JSON.stringify(step)}`
  if (typeof expected === 'boolean') expect(answer, label).toBe(expected)
  else expect(answer, label).toMatchObject(setPattern(expected))
}

function toCall({ op, key, args, tier, of }: VectorStep, index: number): BackendCall {
  return { op, key: toKey(key), args, tier, index, of }
}

function check(step: VectorStep, answer: BackendAnswer, where: string): void {
  const label = `${where}: ${JSON.stringify(step)}`
  if (step.expect === null) return
  if (isDecision(step.expect)) expect(answer, label).toMatchObject(decisionPattern(step.expect))
  else expect(answer, label).toEqual(pattern(step.expect))
}

function toKey(key: VectorKey): BackendKey {
  return typeof key === 'object' ? Uint8Array.from(key.bytes) : key
}

function isDecision(value: NonNullable<VectorStep['expect']>): value is VectorDecision {
  return typeof value === 'object' && 'allowed' in value
}

function decisionPattern(decision: VectorDecision): object {
  const { remaining, retryAfterMs, resetAfterMs, delayMs, ...plain } = decision
  return {
    ...plain,
    remaining: pattern(remaining),
    retryAfterMs: pattern(retryAfterMs),
    resetAfterMs: pattern(resetAfterMs),
    delayMs: pattern(delayMs),
  }
}

function setPattern({ decision, limitedBy, decisions }: VectorSetDecision): object {
  const byMember = Object.entries(decisions).map(([name, member]) => [name, decisionPattern(member)])
  return {
    ...decisionPattern(decision),
    ...(limitedBy === null ? {} : { limitedBy }),
    decisions: Object.fromEntries(byMember),
  }
}

/** What `expect` compares with: the value itself, or a matcher for a range. Times match to 0.1 us. */
function pattern(expected: VectorNumber | boolean): unknown {
  if (typeof expected === 'boolean') return expected
  if (expected === 'Infinity') return Number.POSITIVE_INFINITY
  if (typeof expected === 'number') return new Within(expected, expected)
  return new Within(expected.min, expected.max)
}

/** Matches a number from min to max, give or take the rounding of a double that holds milliseconds. */
class Within {
  constructor(
    readonly min: number,
    readonly max: number,
  ) {}

  asymmetricMatch(actual: unknown): boolean {
    const slack = 1e-15 * Math.abs(this.max)
    return typeof actual === 'number' && actual >= this.min - slack && actual <= this.max + slack
  }

  toAsymmetricMatcher(): string {
    return this.min === this.max ? `${this.min}` : `${this.min} to ${this.max}`
  }
}
