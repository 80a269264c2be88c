// The main job: a real HTTP server with a limit per client, driven over loopback by well-behaved clients and one
// abuser, once with and once without the limiter. Ends by itself. Exit code: 0 if every client got what the policy
// allows and no more, 1 if not, 2 for a wrong option, 130 if interrupted.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ensureBuilt } from './ensure-built.mjs'
import { outcomeOfRun } from './outcome.mjs'
import { Progress } from './progress.mjs'
import { reportOf } from './report.mjs'
import { MainJob } from './run.mjs'

const usage = 'usage: npm start [-- --seconds N (1 to 40, default 12)] [-- --json]'
/** Longer than start, warm-up and cost measurement ever take. */
const spareSeconds = 18

/** @returns {{ seconds: number, json: boolean }} */
function readOptions() {
  try {
    const { values } = parseArgs({ options: { seconds: { type: 'string' }, json: { type: 'boolean' } } })
    const seconds = Number(values.seconds ?? 12)
    if (!(seconds >= 1 && seconds <= 40))
      throw new Error(`--seconds ${values.seconds}: not a number from 1 to 40.`)
    return { seconds, json: values.json ?? false }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error} ${usage}`)
    process.exit(2)
  }
}

function packageVersion() {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return String(JSON.parse(manifest).version)
}

/** Ends the run early, with its exit code, on a signal or when it takes too long. */
class Interruption {
  exitCode = 0
  #controller = new AbortController()
  /** @type {Promise<never>} */
  happens

  constructor() {
    this.happens = new Promise((_, reject) => {
      this.#controller.signal.addEventListener('abort', () => reject(this.#controller.signal.reason))
    })
    this.happens.catch(() => {}) // may come before anybody waits for it
    for (const signal of ['SIGINT', 'SIGTERM'])
      process.once(signal, () => this.#interrupt(130, 'interrupted'))
  }

  get signal() {
    return this.#controller.signal
  }

  /** @param {number} seconds */
  limitTo(seconds) {
    setTimeout(() => this.#interrupt(1, `not finished after ${seconds} s`), seconds * 1000).unref()
  }

  /** @param {number} exitCode @param {string} reason */
  #interrupt(exitCode, reason) {
    this.exitCode = exitCode
    this.#controller.abort(new Error(reason))
  }
}

/** @returns {Promise<number>} the exit code */
async function main() {
  const options = readOptions()
  const progress = new Progress()
  const interruption = new Interruption()
  const job = new MainJob(progress)
  try {
    await ensureBuilt((line) => progress.note(line), interruption.signal)
    interruption.limitTo(options.seconds + spareSeconds)
    const startMs = performance.now()
    const run = await Promise.race([job.run(options.seconds), interruption.happens])
    const outcome = outcomeOfRun(run, packageVersion(), (performance.now() - startMs) / 1000)
    progress.clear()
    process.stdout.write(options.json ? `${JSON.stringify(outcome, null, 2)}\n` : reportOf(outcome))
    return outcome.ok ? 0 : 1
  } catch (error) {
    progress.note(`main job: ${error instanceof Error ? error.message : error}`)
    return interruption.exitCode || 1
  } finally {
    await job.stop()
  }
}

process.exitCode = await main()
