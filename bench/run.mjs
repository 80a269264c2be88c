// usage: node bench/run.mjs [--quick] [--only NAME] [--json FILE]
// Runs every job of every round in a process of its own, one after the other, and prints how sluice compares.

import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { judge } from './goals.mjs'
import { planRounds } from './jobs.mjs'
import { describeMachine } from './machine.mjs'
import { Progress } from './progress.mjs'
import { report } from './report.mjs'
import { Results } from './results.mjs'

const USAGE = `usage: npm run bench -- [--quick] [--only NAME] [--json FILE]
  --quick       fewer rounds and cases, under a minute
  --only NAME   only jobs with NAME in their name (fresh/allow/bucket, 1m/, consumeMany, heap, memory, dram)
  --json FILE   write every figure to FILE too`

const child = fileURLToPath(new URL('child.mjs', import.meta.url))
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

/** @param {import('./jobs.mjs').Job} job */
function nodeOptions(job) {
  return job.kind === 'heap' ? ['--expose-gc', '--max-old-space-size=8192'] : []
}

/** glibc then asks for huge pages for large blocks. @param {import('./jobs.mjs').Job} job */
function environment(job) {
  const wantsHugePages = job.kind === 'dram' && job.hugePages
  return wantsHugePages ? { ...process.env, GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' } : process.env
}

/** @param {import('./jobs.mjs').Entry} entry @returns {Promise<import('./results.mjs').Figures>} */
function runJob({ name, job }) {
  return new Promise((resolve) => {
    const started = spawn(process.execPath, [...nodeOptions(job), child, JSON.stringify(job)], {
      env: environment(job),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    started.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
    })
    started.on('close', (code, signal) => {
      if (code !== 0) fail(`${name} failed (${signal ?? `exit code ${code}`})`)
      resolve(JSON.parse(output))
    })
  })
}

async function main() {
  const flags = readFlags()
  if (flags.help) return console.log(USAGE)
  if (!existsSync(engine)) fail('the engine is not built; run npm run build')
  const { plan, rounds } = planRounds(flags.quick, flags.only)
  if (rounds.length === 0) fail(`no job has '${flags.only}' in its name\n${USAGE}`)
  const machine = describeMachine()
  const entries = rounds.flat()
  const progress = new Progress(
    entries.length,
    entries.reduce((sum, { seconds }) => sum + seconds, 0),
  )
  const results = new Results()
  for (const entry of entries) {
    progress.start(entry.name)
    results.add(entry.name, await runJob(entry))
    progress.end(entry.seconds)
  }
  progress.clear()
  const goals = judge(results)
  console.log(report({ results, goals, machine, plan, loadAfter: loadavg()[0] ?? 0 }))
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify({ machine, plan, results, goals }, null, 2)}\n`)
}

await main()
