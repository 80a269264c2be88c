// For the demos: what `npx sluice remove NAME` does, so that nothing is left of them. A real server leaves its limiter
// where it is: that is what makes a restart harmless.

import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const sluice = fileURLToPath(new URL('dist/cli/main.js', import.meta.resolve('sluice/package.json')))

/** @param {string} name REQUIRES that its processes have ended */
export function removeLimiter(name) {
  process.stdout.write(execFileSync(process.execPath, [sluice, 'remove', name], { encoding: 'utf8' }))
}
