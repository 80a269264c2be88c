import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { VectorDecision, VectorFile, VectorKey, VectorNumber, VectorPolicy, VectorStep } from './format'

export const VECTORS_PATH = path.join(__dirname, 'vectors.json')

export type BackendKey = string | number | Uint8Array
export type BackendAnswer = object | number | boolean | undefined

/** A limiter under test. It may answer at once or with a promise. */
export interface VectorBackend {
  /** Sets the backend's clock, in milliseconds. It may go backwards. */
  setTime(ms: number): void | Promise<void>
  /** Calls operation `op` under the named tier (undefined: the limiter itself). What `block` answers does not matter. */
  call(
    op: VectorStep['op'],
    key: BackendKey,
    args: number[],
    tier: string | undefined,
  ): BackendAnswer | Promise<BackendAnswer>
  close(): void | Promise<void>
}

/** Runs every case of vectors.json against the backends that `makeBackend` makes, one for each case. */
export function runVectors(
  makeBackend: (policy: VectorPolicy) => VectorBackend | Promise<VectorBackend>,
): void {
  const file: VectorFile = JSON.parse(readFileSync(VECTORS_PATH, 'utf8'))
  describe('vectors.json', () => {
    for (const { name, policy, steps } of file.cases) {
      test(name, async () => {
        const backend = await makeBackend(policy)
        try {
          for (const [index, step] of steps.entries()) await runStep(backend, step, `step ${index}`)
        } finally {
          await backend.close()
        }
      })
    }
  })
}

async function runStep(backend: VectorBackend, step: VectorStep, where: string): Promise<void> {
  await backend.setTime(step.atMs)
  const answer = await backend.call(step.op, toKey(step.key), step.args, step.tier)
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
  const { allowed, reason, limit, remaining, retryAfterMs, resetAfterMs } = decision
  return {
    allowed,
    reason,
    limit,
    remaining: pattern(remaining),
    retryAfterMs: pattern(retryAfterMs),
    resetAfterMs: pattern(resetAfterMs),
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
  readonly #min: number
  readonly #max: number

  constructor(min: number, max: number) {
    this.#min = min
    this.#max = max
  }

  asymmetricMatch(actual: unknown): boolean {
    const slack = 1e-15 * Math.abs(this.#max)
    return typeof actual === 'number' && actual >= this.#min - slack && actual <= this.#max + slack
  }

  toAsymmetricMatcher(): string {
    return this.#min === this.#max ? `${this.#min}` : `${this.#min} to ${this.#max}`
  }
}
