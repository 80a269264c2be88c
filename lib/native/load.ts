import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { rangeError } from '../errors/errors'
import type { NativeEngine } from './engine'

let engine: NativeEngine | undefined

/**
 * The addon: what a checkout built for itself, else the binary that ships for this platform. Nothing is compiled or
 * downloaded when the package is installed.
 * @throws RangeError ERR_SLUICE_NATIVE_LOAD with what the system said
 */
export function loadNative(): NativeEngine {
  engine ??= (loadBuilt() ?? loadPrebuilt()) as NativeEngine
  return engine
}

/** What `npm run build` makes. Not a literal path: no bundler of a dependent should look for it. */
function loadBuilt(): unknown {
  const path = join(__dirname, '..', '..', 'build', 'Release', 'sluice.node')
  if (!existsSync(path)) return undefined
  try {
    return require(path)
  } catch (error) {
    throw loadError(platformName(), error)
  }
}

/** Literal paths inside a `try`, so that bundlers take along those that exist and accept that others do not. */
function loadPrebuilt(): unknown {
  const platform = platformName()
  try {
    switch (platform) {
      case 'linux-x64-glibc':
        return require('../../prebuilds/linux-x64-glibc/sluice.node')
      case 'linux-x64-musl':
        return require('../../prebuilds/linux-x64-musl/sluice.node')
      case 'linux-arm64-glibc':
        return require('../../prebuilds/linux-arm64-glibc/sluice.node')
      case 'linux-arm64-musl':
        return require('../../prebuilds/linux-arm64-musl/sluice.node')
      case 'darwin-x64':
        return require('../../prebuilds/darwin-x64/sluice.node')
      case 'darwin-arm64':
        return require('../../prebuilds/darwin-arm64/sluice.node')
      default:
        throw new Error('there is no build for it')
    }
  } catch (error) {
    throw loadError(platform, error)
  }
}

function loadError(platform: string, cause: unknown): Error {
  return rangeError(
    'ERR_SLUICE_NATIVE_LOAD',
    `the native engine for ${platform} could not be loaded (in a checkout, run "npm run build"): ${(cause as Error).message}`,
  )
}

/** `linux-x64-glibc`, `darwin-arm64`, ...: how the folders in prebuilds/ are named. */
export function platformName(): string {
  const name = `${process.platform}-${process.arch}`
  return process.platform === 'linux' ? `${name}-${isGlibc() ? 'glibc' : 'musl'}` : name
}

/** By what this process has loaded. (Node's own report would say, but may wait for name servers to say it.) */
function isGlibc(): boolean {
  try {
    return !/\/(ld-musl-|libc\.musl-)/.test(readFileSync('/proc/self/maps', 'latin1'))
  } catch {
    return true
  }
}
