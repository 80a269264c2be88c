// Adds up the reports of the native tests and of vitest and prints "N passed, N failed".
// usage: node scripts/count-tests.mjs REPORT_DIR FAILED_STEPS
// Exits with 1 if a test or a step failed, or if a report is missing. What failed without failing a test (a step
// that only checks, a run that broke off) counts as one failure, so that the line never reads better than it was.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [reportDir = '.', failedSteps = '0'] = process.argv.slice(2)

/** @param {string} name @returns {Record<string, number> | undefined} */
function readReport(name) {
  const file = join(reportDir, name)
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'))
  console.log(`count-tests: ${name} is missing: those tests did not run to their end`)
  return undefined
}

const native = readReport('native.json')
const vitest = readReport('vitest.json')
const passed = (native?.['passed'] ?? 0) + (vitest?.['numPassedTests'] ?? 0)
const skipped = (vitest?.['numPendingTests'] ?? 0) + (vitest?.['numTodoTests'] ?? 0)
let failed = (native?.['failed'] ?? 0) + (vitest?.['numFailedTests'] ?? 0)
if (skipped > 0) {
  console.log(`count-tests: ${skipped} tests were skipped; none may be`)
  failed += skipped
}
const isBroken = !native || !vitest || Number(failedSteps) > 0
if (isBroken && failed === 0) failed = 1
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
