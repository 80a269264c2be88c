import { shown, typeError } from '../errors/errors'
import { checkObject } from '../policy/options'
import type { PolicyOptions } from '../policy/policy'

/**
 * What stands for a limiter in a message to another thread (`workerData`, `postMessage`); see `Limiter.attach`. A plain
 * object. It keeps nothing alive: somebody must keep the limiter open until the receiver has attached to it, unless it
 * has a name of its own (`shared`).
 */
export interface LimiterHandle {
  /** Who can use it: threads of the same process, or processes of the same machine. */
  readonly sluice: 'thread' | 'machine'
  readonly id: string
  /** The limiter's tiers, so that the receiver has them too. */
  readonly tiers: Readonly<Record<string, PolicyOptions>>
}

/** @throws TypeError ERR_SLUICE_OPTION_TYPE */
export function checkHandle(value: unknown): LimiterHandle {
  const isHandle = typeof value === 'object' && value !== null && 'sluice' in value && 'id' in value
  const handle = (
    isHandle ? checkObject('handle', value, ['sluice', 'id', 'tiers']) : {}
  ) as Partial<LimiterHandle>
  if ((handle.sluice === 'thread' || handle.sluice === 'machine') && typeof handle.id === 'string')
    return handle as LimiterHandle
  throw typeError(
    'ERR_SLUICE_OPTION_TYPE',
    `attach takes the name of a shared limiter or what handle() returned; got ${shown(value)}`,
  )
}
