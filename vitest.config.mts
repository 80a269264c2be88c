import { join } from 'node:path'
import { configDefaults, defineConfig } from 'vitest/config'

// With SLUICE_REPORT_DIR set, the counts also go to vitest.json there.
const reportDir = process.env['SLUICE_REPORT_DIR']
const redisTests = 'test/redis/**/*.test.ts'

export default defineConfig({
  test: {
    pool: 'forks',
    allowOnly: false,
    passWithNoTests: false,
    retry: 0,
    testTimeout: 30_000,
    reporters: reportDir ? ['default', 'json'] : ['default'],
    ...(reportDir ? { outputFile: { json: join(reportDir, 'vitest.json') } } : {}),
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, redisTests],
        },
      },
      // Their set-up runs only if one of them does.
      {
        extends: true,
        test: {
          name: 'redis',
          include: [redisTests],
          globalSetup: 'test/redis/global-setup.ts',
          hookTimeout: 30_000,
        },
      },
    ],
  },
})
