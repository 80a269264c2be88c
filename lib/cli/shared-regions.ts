import { type CodedError, type ErrorCode, rangeError } from '../errors/errors'
import { Limiter, type LimiterStats, ManualClock, type ProcessStats } from '../index'
import { checkName } from '../limiter/options'
import { removeShared, sharedNames } from '../limiter/regions'
import { nearest } from './nearest'

/** A shared limiter that this tool looks into. */
export interface OpenRegion {
  readonly name: string
  readonly limiter: Limiter
  /** It was made with a clock of its users, which this tool cannot read. */
  readonly hasOwnClock: boolean
}

/** What there is to say about a shared limiter, as `--json` prints it. */
export interface RegionFacts extends Omit<LimiterStats, 'processes'> {
  name: string
  policy: Limiter['policy']
  hasOwnClock: boolean
  ageMs: number
  /** Those attached, without this tool. */
  processes: AttachedProcess[]
}

export type AttachedProcess = Omit<ProcessStats, 'isSelf'>

/**
 * What `use` makes of the shared limiter of that name, to which this tool is attached meanwhile. Throws RangeError
 * ERR_SLUICE_OPTION_RANGE for what is no name, ERR_SLUICE_SHARED_NOT_FOUND with the nearest one that there is, and as
 * `Limiter.attach`.
 */
export function withRegion<T>(name: string, use: (region: OpenRegion) => T): T {
  const region = attach(checkName('NAME', name))
  try {
    return use(region)
  } finally {
    region.limiter.close()
  }
}

export function regionFacts({ name, limiter, hasOwnClock }: OpenRegion): RegionFacts {
  const { processes = [], ...stats } = limiter.stats({ perProcess: true })
  const ageMs = Math.max(0, Date.now() - stats.createdEpochMs)
  return {
    name,
    policy: limiter.policy,
    hasOwnClock,
    ageMs,
    ...stats,
    processes: processes.map(({ isSelf, ...rest }) => rest),
  }
}

/** Takes the name away. Throws RangeError ERR_SLUICE_SHARED_BUSY if processes are attached, unless `force`. */
export function removeRegion(name: string, force: boolean): void {
  try {
    removeShared(checkName('NAME', name), force)
  } catch (error) {
    throw withNearestName(error, name)
  }
}

export function isCoded(error: unknown, code?: ErrorCode): error is CodedError {
  if (!(error instanceof Error) || !('code' in error)) return false
  return code === undefined ? String(error.code).startsWith('ERR_SLUICE_') : error.code === code
}

function attach(name: string): OpenRegion {
  try {
    return { name, limiter: Limiter.attachTool(name), hasOwnClock: false }
  } catch (error) {
    if (!isCoded(error, 'ERR_SLUICE_SHARED_MISMATCH')) throw withNearestName(error, name)
    return { name, limiter: Limiter.attachTool(name, { clock: new ManualClock() }), hasOwnClock: true }
  }
}

function withNearestName(error: unknown, name: string): unknown {
  if (!isCoded(error, 'ERR_SLUICE_SHARED_NOT_FOUND')) return error
  const names = sharedNames()
  const hint =
    names.length === 0
      ? 'this user has none; those of other users and containers are not seen'
      : `did you mean '${nearest(name, names)}'? \`sluice regions\` lists all`
  return rangeError(error.code, `there is no shared limiter '${name}'; ${hint}`)
}
