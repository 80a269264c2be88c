import { rangeError } from '../errors/errors'
import type { NativeEngine } from './engine'

/**
 * Loads the addon. Literal paths, so that bundlers see them: the binary that ships with the package for this platform,
 * or the one that `npm run build` made in a checkout.
 */
export function loadNative(): NativeEngine {
  const failures: string[] = []
  for (const attempt of attempts) {
    try {
      return attempt() as NativeEngine
    } catch (error) {
      failures.push((error as Error).message.split('\n')[0] ?? String(error))
    }
  }
  throw rangeError(
    'ERR_SLUICE_NATIVE_LOAD',
    `no native engine for ${process.platform}-${process.arch} could be loaded (in a checkout, run "npm run build"): ${failures.join('; ')}`,
  )
}

const attempts: (() => unknown)[] = [
  () => require('../../build/Release/sluice.node'),
  () => require(`../../prebuilds/${process.platform}-${process.arch}/sluice.node`),
]
