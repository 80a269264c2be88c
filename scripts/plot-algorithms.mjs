// Draws what each algorithm admits of the same traffic, by the engine itself: docs/plots/*.svg. Needs a build.
//
// Usage: node scripts/plot-algorithms.mjs [FOLDER]
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runs } from './plot/runs.mjs'
import { drawing } from './plot/svg.mjs'

const folder = process.argv[2] ?? fileURLToPath(new URL('../docs/plots', import.meta.url))
mkdirSync(folder, { recursive: true })
for (const run of runs()) {
  writeFileSync(join(folder, `${run.policy.algorithm}.svg`), drawing(run))
  console.log(`${run.policy.algorithm}: ${run.verdict}; ${run.admittedMs.length} admitted`)
}
