import { loadNative } from '../native/load'
import { isName } from './options'

/** The names of this user's shared limiters, in order. */
export function sharedNames(): string[] {
  return loadNative().sharedNames().filter(isName).sort()
}

/**
 * Takes the name away from a shared limiter; whoever has it attached goes on with it.
 * @throws RangeError ERR_SLUICE_SHARED_BUSY if anybody has it attached, unless `force`; ERR_SLUICE_SHARED_NOT_FOUND
 */
export function removeShared(name: string, force: boolean): void {
  loadNative().removeShared(name, force)
}
