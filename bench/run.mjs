// usage: node bench/run.mjs [--quick] [--only NAME] [--json FILE]
// Runs every job of every round in a process of its own, one after the other, and prints how sluice compares.

import { existsSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { judge } from './goals.mjs'
import { planRounds } from './jobs.mjs'
import { describeMachine } from './machine.mjs'
import { Progress } from './progress.mjs'
import { report } from './report.mjs'
import { Results } from './results.mjs'
import { cleanUpAtExit, runJob } from './run-job.mjs'
import { whatIsMissing } from './sharing-jobs.mjs'

const USAGE = `usage: npm run bench -- [--quick] [--only NAME] [--json FILE]
  --quick       fewer rounds and cases, under three minutes
  --only NAME   only jobs with NAME in their name (fresh/allow/bucket, 1m/, consumeMany, heap, memory, dram,
                algorithms/, algorithms/1k/allow, algorithms/set, shared/, threads/, processes/, exact,
                one-key, rivals/, redis/)
  --json FILE   write every figure to FILE too`

const engine = new URL('../build/Release/sluice.node', import.meta.url)

/** Ends the program with one line. @param {string} message @returns {never} */
function fail(message) {
  console.error(`bench: ${message}`)
  process.exit(2)
}

function readFlags() {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    return fail(`${/** @type {Error} */ (error).message}\n${USAGE}`)
  }
}

async function main() {
  const flags = readFlags()
  if (flags.help) return console.log(USAGE)
  if (!existsSync(engine)) fail('the engine is not built; run npm run build')
  const { plan, rounds } = planRounds(flags.quick, flags.only)
  if (rounds.length === 0) fail(`no job has '${flags.only}' in its name\n${USAGE}`)
  const missing = whatIsMissing()
  for (const line of missing) console.error(line)
  const machine = describeMachine()
  const entries = rounds.flat()
  const progress = new Progress(
    entries.length,
    entries.reduce((sum, { seconds }) => sum + seconds, 0),
  )
  const results = new Results()
  cleanUpAtExit()
  for (const entry of entries) {
    progress.start(entry.name)
    results.add(entry.name, await runJob(entry).catch((error) => fail(error.message)))
    progress.end(entry.seconds)
  }
  progress.clear()
  const goals = judge(results)
  console.log(report({ results, goals, machine, plan, missing, loadAfter: loadavg()[0] ?? 0 }))
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify({ machine, plan, missing, results, goals }, null, 2)}\n`)
}

await main()
