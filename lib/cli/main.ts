#!/usr/bin/env node
import { runCli } from './run-cli'

/** A reader that went away (`sluice ... | head`) ends the program quietly; a full disk ends it with one line. */
function exitOnWriteError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit()
  process.exitCode = 1
  process.stderr.write(`sluice: cannot write the output: ${error.code ?? error.message}\n`)
}

process.stdout.on('error', exitOnWriteError)
process.stderr.on('error', () => process.exit())

runCli(process.argv.slice(2), process).then(
  (exitCode) => {
    process.exitCode = exitCode
  },
  (error: unknown) => {
    process.stderr.write(`sluice: internal error: ${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = 1
  },
)
