import { rangeError } from '../errors/errors'
import type { NativeLimiter } from '../native/engine'
import { ALGORITHMS, type Algorithm, TRAITS } from '../policy/algorithms'
import { policyFromNumbers, policyNumbers } from '../policy/policy'
import { ALIGNMENTS, type Settings, type SharedOptions } from './options'

type Value = string | number | boolean

/** What a shared limiter has and what was asked for, where they differ. */
interface Difference {
  readonly name: string
  readonly has: Value
  readonly asked: Value
  /** Whether `changePolicy` can change it. */
  readonly isPolicy: boolean
}

/**
 * Whether the limiter that was found under a name has another policy than the one that was asked for, and the asker wants
 * it changed. Nothing else may differ.
 * @throws RangeError ERR_SLUICE_SHARED_MISMATCH with all that differs
 */
export function differsInPolicy(
  native: NativeLimiter,
  settings: Settings,
  { name, changePolicy }: Required<SharedOptions>,
): boolean {
  const differences = differencesOf(native, settings)
  if (differences.length === 0) return false
  const fixed = differences.filter(({ isPolicy }) => !isPolicy)
  if (fixed.length === 0 && changePolicy) return true
  const list = differences.map(({ name, has, asked }) => `${name} is ${has}, not ${asked}`).join('; ')
  const way =
    fixed.length === 0
      ? `to change it for everybody, shared: { name: '${name}', changePolicy: true }`
      : `use another name, or stop its processes and run: npx sluice remove ${name}`
  throw rangeError(
    'ERR_SLUICE_SHARED_MISMATCH',
    `the shared limiter '${name}' is another one: ${list} (${way})`,
  )
}

function differencesOf(native: NativeLimiter, settings: Settings): Difference[] {
  const [algorithmId, maxKeys, , alignToEpoch, maxLimit, , forgetMs, ...blockMs] =
    native.facts as unknown as number[]
  const algorithm = ALGORITHMS[(algorithmId as number) - 1] ?? 'unknown'
  const all: Difference[] = [
    { name: 'algorithm', has: algorithm, asked: settings.algorithm, isPolicy: false },
    { name: 'maxKeys', has: maxKeys as number, asked: settings.maxKeys, isPolicy: false },
    {
      name: 'escalate',
      has: escalationText(forgetMs as number, blockMs),
      asked: escalationText(settings.escalation?.forgetMs ?? 0, settings.escalation?.blockMs ?? []),
      isPolicy: false,
    },
  ]
  if (algorithm === settings.algorithm && algorithm === 'fixed-window') {
    all.push({
      name: 'align',
      has: ALIGNMENTS[alignToEpoch as number] ?? 'unknown',
      asked: settings.align,
      isPolicy: false,
    })
  }
  all.push(...policyDifferences(native, algorithm as Algorithm, settings, maxLimit as number))
  return all.filter(({ has, asked }) => has !== asked)
}

/** Of the options that both algorithms have. */
function policyDifferences(
  native: NativeLimiter,
  found: Algorithm,
  { algorithm, policy }: Settings,
  maxLimit: number,
): Difference[] {
  if (!ALGORITHMS.includes(found)) return []
  const has = policyFromNumbers(found, native.policy()) as unknown as Record<string, Value>
  const asked = policyFromNumbers(
    algorithm,
    Float64Array.from(policyNumbers(policy)),
  ) as unknown as typeof has
  const isFixed = (name: string) =>
    (TRAITS[algorithm].sharesWindow && (name === 'windowMs' || name === 'holdMs')) ||
    (name === 'limit' && policy.limit > maxLimit)
  return TRAITS[algorithm].options
    .filter((name) => TRAITS[found].options.includes(name))
    .map((name) => ({
      name,
      has: has[name] ?? 'unset',
      asked: asked[name] ?? 'unset',
      isPolicy: !isFixed(name),
    }))
}

function escalationText(forgetMs: number, blockMs: readonly number[]): string {
  return blockMs.length === 0 ? 'none' : `${blockMs.join(', ')} ms, forgotten after ${forgetMs} ms`
}
