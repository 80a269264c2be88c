import { rangeError } from '../errors/errors'
import type { NativeLimiter } from '../native/engine'
import { ALGORITHMS } from '../policy/policy'
import { ALIGNMENTS, type Settings, type SharedOptions } from './options'

/** What a shared limiter has and what was asked for, where they differ. */
interface Difference {
  readonly name: string
  readonly has: string | number
  readonly asked: string | number
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
  const [algorithmId, maxKeys, tableWindowNs, alignToEpoch, maxLimit] = native.facts as unknown as [
    number,
    number,
    number,
    number,
    number,
  ]
  const [limit, windowNs, burst] = native.policy() as unknown as [number, number, number]
  const algorithm = ALGORITHMS[algorithmId - 1] ?? 'unknown'
  const isSame = algorithm === settings.algorithm
  const isBucket = algorithm === 'token-bucket'
  const { policy } = settings
  const countable = policy.limit <= maxLimit
  const all: Difference[] = [
    { name: 'algorithm', has: algorithm, asked: settings.algorithm, isPolicy: false },
    { name: 'maxKeys', has: maxKeys, asked: settings.maxKeys, isPolicy: false },
    { name: 'limit', has: limit, asked: policy.limit, isPolicy: countable },
    {
      name: 'windowMs',
      has: (isBucket ? windowNs : tableWindowNs) / 1e6,
      asked: policy.windowNs / 1e6,
      isPolicy: isBucket,
    },
  ]
  if (isSame && isBucket) all.push({ name: 'burst', has: burst, asked: policy.capacity, isPolicy: true })
  if (isSame && !isBucket) {
    all.push({
      name: 'align',
      has: ALIGNMENTS[alignToEpoch] ?? 'unknown',
      asked: settings.align,
      isPolicy: false,
    })
  }
  return all.filter(({ has, asked }) => has !== asked)
}
