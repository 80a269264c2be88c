import { sharedNames } from '../limiter/regions'
import { printable } from '../replay/report-text'
import type { CliIo } from './command'
import { type FlagSpec, flagHelp, HELP_FLAG, parseFlags } from './flags'
import { positionalsOf } from './key-arguments'
import { ageText, bytesText, columns, numberText, policyText } from './region-text'
import { isCoded, type RegionFacts, regionFacts, withRegion } from './shared-regions'

const USAGE = 'sluice regions [--json]'
const FLAGS: readonly FlagSpec[] = [{ name: 'json', help: 'print one JSON document' }, HELP_FLAG]
const HELP = `Usage: ${USAGE}

Lists the shared limiters of this user on this machine (or in this container):
their policy, keys, memory, age, and how many processes are attached.

Flags:
${flagHelp(FLAGS)}
`

const HEADER = ['name', 'policy', 'keys', 'memory', 'age', 'processes']

/** A name behind which is no limiter that this sluice can use. */
interface BrokenRegion {
  name: string
  error: { code: string; message: string }
}

/** `sluice regions`. Throws UsageError. */
export async function runRegions(
  args: readonly string[],
  io: CliIo,
  listNames = sharedNames,
): Promise<number> {
  const { switches, positionals } = parseFlags(args, FLAGS)
  if (switches.has('help')) {
    io.stdout.write(HELP)
    return 0
  }
  positionalsOf(positionals, USAGE, 0, 0)
  const regions = listNames().flatMap(factsOrError)
  io.stdout.write(switches.has('json') ? `${JSON.stringify(regions, null, 2)}\n` : listText(regions))
  return 0
}

/** None if it was removed just now. */
function factsOrError(name: string): (RegionFacts | BrokenRegion)[] {
  try {
    return [withRegion(name, regionFacts)]
  } catch (error) {
    if (!isCoded(error)) throw error
    if (error.code === 'ERR_SLUICE_SHARED_NOT_FOUND') return []
    return [{ name, error: { code: error.code, message: error.message } }]
  }
}

function listText(regions: readonly (RegionFacts | BrokenRegion)[]): string {
  if (regions.length === 0) {
    return `no shared limiters of this user (uid ${process.getuid?.() ?? 'unknown'}) on this machine\n`
  }
  return `${columns([HEADER, ...regions.map(cells)], 2).join('\n')}\n`
}

function cells(region: RegionFacts | BrokenRegion): string[] {
  const name = printable(region.name)
  if ('error' in region) {
    return [name, printable(region.error.message.replace(`the shared limiter '${region.name}' `, ''))]
  }
  const { keys, bytes, ageMs, processes } = region
  const figures = [numberText(keys), bytesText(bytes), ageText(ageMs), numberText(processes.length)]
  return [name, policyText(region), ...figures]
}
