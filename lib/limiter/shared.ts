import { rangeError } from '../errors/errors'
import type { NativeLimiter } from '../native/engine'
import { ALGORITHMS, TRAITS } from '../policy/algorithms'
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
  const [algorithmId, maxKeys, tableWindowNs, alignToEpoch, maxLimit, , forgetMs, ...blockMs] =
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
  all.push(...policyDifferences(native, settings, maxLimit as number, tableWindowNs as number))
  return all.filter(({ has, asked }) => has !== asked)
}

function policyDifferences(
  native: NativeLimiter,
  { algorithm, policy }: Settings,
  maxLimit: number,
  tableWindowNs: number,
): Difference[] {
  const has = policyFromNumbers(algorithm, native.policy()) as unknown as Record<string, Value>
  const asked = policyFromNumbers(
    algorithm,
    Float64Array.from(policyNumbers(policy)),
  ) as unknown as typeof has
  const { options, sharesWindow } = TRAITS[algorithm]
  const isWindow = (name: string) => name === 'windowMs' || name === 'holdMs'
  return options.map((name) => ({
    name,
    has: isWindow(name) && sharesWindow ? tableWindowNs / 1e6 : (has[name] ?? 'unset'),
    asked: asked[name] ?? 'unset',
    isPolicy: (name !== 'limit' || policy.limit <= maxLimit) && !(isWindow(name) && sharesWindow),
  }))
}

function escalationText(forgetMs: number, blockMs: readonly number[]): string {
  return blockMs.length === 0 ? 'none' : `${blockMs.join(', ')} ms, forgotten after ${forgetMs} ms`
}
