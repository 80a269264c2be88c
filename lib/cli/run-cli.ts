import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../replay/log-source'
import { printable } from '../replay/report-text'
import type { CliIo, Command } from './command'
import { type FlagSpec, flagHelp, HELP_FLAG, parseFlags, UsageError } from './flags'
import { nearest } from './nearest'

/** All commands. To add one, add its entry here. */
export const COMMANDS: readonly Command[] = [
  {
    name: 'replay',
    summary: 'apply a policy to web access logs: who would have been limited',
    load: async () => (await import('./replay-command.js')).runReplay,
  },
  {
    name: 'regions',
    summary: 'list the shared limiters of this machine',
    load: async () => (await import('./regions-command.js')).runRegions,
  },
  {
    name: 'inspect',
    summary: 'describe a shared limiter, and what it would say about a key',
    load: async () => (await import('./inspect-command.js')).runInspect,
  },
  {
    name: 'reset',
    summary: 'make a shared limiter forget a key',
    load: async () => (await import('./reset-command.js')).runReset,
  },
  {
    name: 'remove',
    summary: 'remove a shared limiter',
    load: async () => (await import('./remove-command.js')).runRemove,
  },
]

const FLAGS: readonly FlagSpec[] = [HELP_FLAG, { name: 'version', short: 'v', help: 'print the version' }]

/**
 * Runs `sluice ARGS`. Resolves to the exit code: 0 when all is well, 2 with one line on stderr for bad usage or
 * unreadable input, and for what the limiter refuses. Rejects only for what is a fault of sluice itself.
 */
export async function runCli(args: readonly string[], io: CliIo, commands = COMMANDS): Promise<number> {
  const command = commands.find(({ name }) => name === args[0])
  try {
    if (command !== undefined) {
      const run = await command.load()
      return await run(args.slice(1), io)
    }
    return runWithoutCommand(args, io, commands)
  } catch (error) {
    if (!isUserError(error)) throw error
    const message = printable(error.message.replace(/\s*\n\s*/g, ' '))
    io.stderr.write(`sluice${command ? ` ${command.name}` : ''}: ${message}\n`)
    return 2
  }
}

function runWithoutCommand(args: readonly string[], io: CliIo, commands: readonly Command[]): number {
  const { switches, positionals } = parseFlags(args, FLAGS)
  const [unknown] = positionals
  if (unknown !== undefined) {
    const suggestion = nearest(
      unknown,
      commands.map(({ name }) => name),
    )
    throw new UsageError(`unknown command ${JSON.stringify(unknown)}: did you mean ${suggestion}?`)
  }
  io.stdout.write(switches.has('version') && !switches.has('help') ? `${version()}\n` : help(commands))
  return 0
}

function help(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 2
  const table = commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`).join('\n')
  return `Usage: sluice COMMAND [FLAGS]

Commands:
${table}

Flags:
${flagHelp(FLAGS)}

\`sluice COMMAND --help\` describes a command.
`
}

function version(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(__dirname, '../../package.json'), 'utf8'),
  )
  return manifest.version
}

/** Whether the user can mend it: bad flags, unreadable input, or what the limiter refuses. */
function isUserError(error: unknown): error is Error {
  if (error instanceof UsageError || error instanceof InputError) return true
  const isRefusal = error instanceof RangeError || error instanceof TypeError
  return isRefusal && 'code' in error && String(error.code).startsWith('ERR_SLUICE_')
}
