import { rangeError } from '../errors/errors'
import type { CliIo } from './command'
import { type FlagSpec, flagHelp, HELP_FLAG, parseFlags } from './flags'
import { positionalsOf } from './key-arguments'
import { processesText } from './region-text'
import { type AttachedProcess, isCoded, regionFacts, removeRegion, withRegion } from './shared-regions'

const USAGE = 'sluice remove NAME [--force]'
const FLAGS: readonly FlagSpec[] = [{ name: 'force', help: 'also if processes are attached' }, HELP_FLAG]
const HELP = `Usage: ${USAGE}

Removes a shared limiter with all its keys; the next process that asks for it
makes a new one. Refused while processes are attached: with --force they go on
with the old one, by themselves, until they restart.

Flags:
${flagHelp(FLAGS)}
`

/** `sluice remove`. Throws UsageError, and as `removeRegion`. */
export async function runRemove(args: readonly string[], io: CliIo): Promise<number> {
  const { switches, positionals } = parseFlags(args, FLAGS)
  if (switches.has('help')) {
    io.stdout.write(HELP)
    return 0
  }
  const [name = ''] = positionalsOf(positionals, USAGE, 1, 1)
  const users = remove(name, switches.has('force'))
  io.stdout.write(`removed ${name}\n`)
  if (users !== '') {
    io.stdout.write(
      `warning: it is still in use by ${users}: they go on with the old one, by themselves, until they restart\n`,
    )
  }
  return 0
}

/** Returns who goes on using it: empty if nobody does. */
function remove(name: string, force: boolean): string {
  try {
    removeRegion(name, false)
    return ''
  } catch (error) {
    if (!isCoded(error, 'ERR_SLUICE_SHARED_BUSY')) throw error
    const attached = attachedTo(name)
    const users = attached.length === 0 ? 'processes' : processesText(attached)
    if (force) {
      removeRegion(name, true)
      return users
    }
    if (attached.length === 0) throw error
    throw rangeError(
      error.code,
      `'${name}' is in use by ${users}; stop what uses it, or add --force to leave it with the old one`,
    )
  }
}

/** None if the region cannot be looked into. */
function attachedTo(name: string): AttachedProcess[] {
  try {
    return withRegion(name, regionFacts).processes
  } catch (error) {
    if (!isCoded(error)) throw error
    return []
  }
}
