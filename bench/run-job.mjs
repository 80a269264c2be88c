// Runs one job in a process of its own, and sees to it that nothing of it is left behind, however this program ends.

import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {import('./jobs.mjs').Entry} Entry
 * @typedef {import('./jobs.mjs').Job} Job
 * @typedef {import('./results.mjs').Figures} Figures
 */

const child = fileURLToPath(new URL('child.mjs', import.meta.url))
/** Regions that this run makes have names that begin so. */
const region = `bench-${process.pid}`
// Of its own group, so that everything it starts can be ended with it. Windows has no such groups.
const hasGroups = process.platform !== 'win32'

/** The running job's process. @type {import('node:child_process').ChildProcess | undefined} */
let running

/** @param {Entry} entry @returns {Promise<Figures>} */
export function runJob({ name, job }) {
  return new Promise((resolve, reject) => {
    const started = spawn(
      process.execPath,
      [...nodeOptions(job), child, JSON.stringify({ ...job, region: `${region}-job` })],
      { env: environment(job), stdio: ['ignore', 'pipe', 'inherit'], detached: hasGroups },
    )
    running = started
    let output = ''
    started.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
    })
    started.on('error', reject)
    started.on('exit', endJob)
    started.on('close', (code, signal) => {
      if (code !== 0) reject(new Error(`${name} failed (${signal ?? `exit code ${code}`})`))
      else resolve(JSON.parse(output))
    })
  })
}

/** From now on, whatever ends this program ends its job too. */
export function cleanUpAtExit() {
  process.on('exit', endJob)
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
    process.on(signal, () => process.exit(128 + constants.signals[signal]))
}

/** Ends what the job has left: processes, servers, regions. */
function endJob() {
  if (running?.pid === undefined) return
  try {
    process.kill(hasGroups ? -running.pid : running.pid, 'SIGKILL')
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error
  }
  running = undefined
  if (process.platform === 'linux') removeRegions()
}

function removeRegions() {
  // Loaded late: the command line is checked before the engine is needed.
  const { loadNative } = /** @type {typeof import('../dist/native/load.js')} */ (
    createRequire(import.meta.url)('../dist/native/load.js')
  )
  const engine = loadNative()
  for (const name of engine.sharedNames()) if (name.startsWith(`${region}-`)) engine.removeShared(name, true)
}

/** @param {Job} job */
function nodeOptions(job) {
  return job.kind === 'heap' ? ['--expose-gc', '--max-old-space-size=8192'] : []
}

/** glibc then asks for huge pages for large blocks. @param {Job} job */
function environment(job) {
  const wantsHugePages = job.kind === 'dram' && job.hugePages
  return wantsHugePages ? { ...process.env, GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' } : process.env
}
