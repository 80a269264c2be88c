import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect } from 'vitest'
import { runRegions } from '../../lib/cli/regions-command'
import { COMMANDS, runCli } from '../../lib/cli/run-cli'
import { Limiter, type LimiterOptions } from '../../lib/index'
import { sharedNames } from '../../lib/limiter/regions'
import { freshName, removeRegions } from './regions'

export const HOUR_MS = 3_600_000

const addon = join(__dirname, '../../build/Release/sluice.node')
const opened: Limiter[] = []
const children: ChildProcess[] = []
/** The names that `sluice regions` may see here: attaching to those of other tests would disturb them. */
const own = new Set<string>()

/** Ends whatever was begun here. For `afterEach`. */
export function endRegions(): void {
  for (const limiter of opened.splice(0)) limiter.close()
  for (const child of children.splice(0)) child.kill('SIGKILL')
  removeRegions()
  own.clear()
}

/** Lets `sluice regions` see that name. */
export function showOwn(name: string): string {
  own.add(name)
  return name
}

/** A new shared limiter. */
export function open(options: Partial<LimiterOptions> = {}): { name: string; limiter: Limiter } {
  const name = showOwn(freshName())
  const limiter = new Limiter({ limit: 100, windowMs: HOUR_MS, maxKeys: 100, shared: name, ...options })
  opened.push(limiter)
  return { name, limiter }
}

/** One that nobody is attached to. */
export function abandoned(): string {
  const { name, limiter } = open()
  limiter.close()
  return name
}

/** Has this process attach once more. */
export function attachHere(name: string): void {
  opened.push(Limiter.attach(name))
}

/** Has another process attach, and resolves to it once it has. */
export async function attachElsewhere(name: string): Promise<ChildProcess> {
  const script = `
    const limiter = require(process.argv[1]).attachShared(process.argv[2], undefined)
    limiter.base.allow('from-elsewhere')
    process.stdout.write('attached')
    process.stdin.on('data', () => limiter)`
  const child = spawn(process.execPath, ['-e', script, addon, name], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  await once(child.stdout, 'data')
  return child
}

interface Ran {
  exitCode: number
  stdout: string
  stderr: string
}

async function sluice(...args: string[]): Promise<Ran> {
  const ran: Ran = { exitCode: -1, stdout: '', stderr: '' }
  const into = (stream: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      ran[stream] += text
    },
  })
  const io = { stdin: Readable.from([]), stdout: into('stdout'), stderr: into('stderr') }
  const ownNames = () => sharedNames().filter((name) => own.has(name))
  const commands = COMMANDS.map((command) =>
    command.name === 'regions'
      ? { ...command, load: async () => (rest: readonly string[]) => runRegions(rest, io, ownNames) }
      : command,
  )
  ran.exitCode = await runCli(args, io, commands)
  return ran
}

/** Exit code 2, nothing on stdout, one line on stderr. */
export async function expectRefusal(args: string[], message: string | RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await sluice(...args)
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
  expect(stderr).toMatch(/^[^\n]+\n$/)
  expect(stderr.slice(`sluice ${args[0]}: `.length, -1)).toMatch(message)
}

export async function printed(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await sluice(...args)
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
  return stdout
}
