import type { CliIo } from './command'
import { type FlagSpec, flagHelp, HELP_FLAG, parseFlags } from './flags'
import { INTEGER_FLAG, KEY_HELP, keyOf, kindHint, positionalsOf } from './key-arguments'
import { keyText } from './region-text'
import { withRegion } from './shared-regions'

const USAGE = 'sluice reset NAME KEY [--integer]'
const FLAGS: readonly FlagSpec[] = [INTEGER_FLAG, HELP_FLAG]
const HELP = `Usage: ${USAGE}

Makes a shared limiter forget a key, for all processes: what it has spent, and
a block if there is one.

Flags:
${flagHelp(FLAGS)}

${KEY_HELP}
`

/** `sluice reset`. Throws UsageError, and as `withRegion`. */
export async function runReset(args: readonly string[], io: CliIo): Promise<number> {
  const { switches, positionals } = parseFlags(args, FLAGS)
  if (switches.has('help')) {
    io.stdout.write(HELP)
    return 0
  }
  const [name = '', keyArgument = ''] = positionalsOf(positionals, USAGE, 2, 2)
  const key = keyOf(keyArgument, switches.has('integer'))
  const hadKey = withRegion(name, ({ limiter }) => limiter.reset(key))
  const done = hadKey
    ? `forgot key ${keyText(key)} in ${name}`
    : `nothing to forget about key ${keyText(key)} in ${name}${kindHint(key)}`
  io.stdout.write(`${done}\n`)
  return 0
}
