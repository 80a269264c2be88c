// Makes sure that the package is built before the main job uses it.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** @returns {Promise<string | undefined>} why the package cannot be used, in one line; undefined if it can */
async function whyNotBuilt() {
  try {
    const { Limiter } = await import('sluice')
    new Limiter({ limit: 1, windowMs: 1, maxKeys: 1 }).close()
    return undefined
  } catch (error) {
    return String(error instanceof Error ? error.message : error).split('\n')[0]
  }
}

/**
 * Builds the package with `npm run build` if it cannot be loaded.
 * @param {(line: string) => void} say @param {AbortSignal} signal
 */
export async function ensureBuilt(say, signal) {
  const reason = await whyNotBuilt()
  if (reason === undefined) return
  say(`sluice is not built yet (${reason}): running npm run build`)
  const isWindows = process.platform === 'win32'
  // The build's own output goes to stderr: stdout belongs to the result.
  const build = spawn('npm', ['run', 'build'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: isWindows,
    signal,
  })
  const code = await new Promise((resolve, reject) => {
    build.once('error', reject)
    build.once('exit', resolve)
  })
  if (code !== 0) throw new Error(`npm run build failed (exit code ${code})`)
}
