import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

// With SLUICE_REPORT_DIR set, the counts also go to vitest.json there.
const reportDir = process.env['SLUICE_REPORT_DIR']

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    allowOnly: false,
    passWithNoTests: false,
    retry: 0,
    testTimeout: 30_000,
    reporters: reportDir ? ['default', 'json'] : ['default'],
    ...(reportDir ? { outputFile: { json: join(reportDir, 'vitest.json') } } : {}),
  },
})
