import { STDIN_NAME } from '../replay/log-source'
import { KEY_KINDS, readRequests } from '../replay/read-requests'
import { type OpenEngine, type ReplayPolicy, type ReplayRequest, replay } from '../replay/report'
import { reportText } from '../replay/report-text'
import type { CliIo } from './command'
import {
  duration,
  type FlagSpec,
  flagHelp,
  HELP_FLAG,
  oneOf,
  parseFlags,
  UsageError,
  wholeNumber,
} from './flags'

const ALGORITHMS = [
  'token-bucket',
  'fixed-window',
  'sliding-window',
  'sliding-log',
  'strict-window',
  'leaky-bucket',
] as const
const ALIGNMENTS = ['first-request', 'epoch'] as const
/** The flags that only one algorithm has. */
const OWNERS = { burst: 'token-bucket', align: 'fixed-window', queue: 'leaky-bucket' }
const DEFAULT_LIMIT = 100
const DEFAULT_WINDOW = '60s'
const DEFAULT_TOP = 10
const MAX_TOP = 1_000_000
const DEFAULT_COLUMNS = 80

const FLAGS: readonly FlagSpec[] = [
  {
    name: 'algorithm',
    value: 'NAME',
    help: 'token-bucket (default), fixed-window, sliding-window,\nsliding-log, strict-window, leaky-bucket',
  },
  { name: 'limit', value: 'N', help: `requests per window and key (default ${DEFAULT_LIMIT})` },
  {
    name: 'window',
    value: 'TIME',
    help: `length of the window: 500ms, 60s, 1m, 1h, 1d (default ${DEFAULT_WINDOW})`,
  },
  { name: 'burst', value: 'N', help: 'token-bucket: requests at once after a rest (default: the limit)' },
  {
    name: 'queue',
    value: 'N',
    help: 'leaky-bucket: requests that may wait their turn (default: the limit)',
  },
  {
    name: 'align',
    value: 'WHERE',
    help: "fixed-window: a window begins at a key's first-request (default)\nor at multiples of its length since 1970 UTC (epoch)",
  },
  { name: 'key', value: 'KEY', help: 'what is limited: ip (default), path (without its query), ip+path' },
  { name: 'top', value: 'N', help: `length of the list of the most limited (default ${DEFAULT_TOP})` },
  { name: 'json', help: 'print one JSON document' },
  HELP_FLAG,
]

const HELP = `Usage: sluice replay [FLAGS] [FILE...]

Applies a rate limit to web access logs, in the time of the log, and prints
which requests and clients it would have limited. Reads common and combined
log format, also gzip. No FILE, or -, is standard input.

Flags:
${flagHelp(FLAGS)}

Exit code: 0, or 2 for a bad flag or a file that cannot be read. Malformed
lines are counted and named; they do not stop the replay.

Example: sluice replay --limit 20 --window 10s --burst 40 access.log*
`

/** Loads the limiter: late, so that help and bad flags need no addon. */
type LoadEngine = () => Promise<OpenEngine>

const loadNativeEngine: LoadEngine = async () => (await import('../replay/engine.js')).openEngine

/** `sluice replay`. Throws UsageError, InputError, or the limiter's RangeError for a policy out of its range. */
export async function runReplay(
  args: readonly string[],
  io: CliIo,
  loadEngine = loadNativeEngine,
): Promise<number> {
  const { values, switches, positionals } = parseFlags(args, FLAGS)
  if (switches.has('help')) {
    io.stdout.write(HELP)
    return 0
  }
  const request = replayRequest(values, positionals)
  const openEngine = await loadEngine()
  openEngine(request.policy, 1, 0).finish() // refuses a bad policy before a long read
  if (io.stdin.isTTY && request.files.includes(STDIN_NAME)) io.stderr.write('reading standard input\n')
  const contents = await readRequests(request.files, request.key, io.stdin)
  const report = replay(request, contents, openEngine)
  const text = switches.has('json') ? `${JSON.stringify(report, null, 2)}\n` : undefined
  io.stdout.write(text ?? reportText(report, io.stdout.columns ?? DEFAULT_COLUMNS))
  return 0
}

function replayRequest(values: ReadonlyMap<string, string>, positionals: string[]): ReplayRequest {
  const files = positionals.length > 0 ? positionals : [STDIN_NAME]
  if (files.includes('')) throw new UsageError('a file name is empty')
  if (files.indexOf(STDIN_NAME) !== files.lastIndexOf(STDIN_NAME)) {
    throw new UsageError('- (standard input) can be given only once')
  }
  return {
    files,
    policy: policyOf(values),
    key: oneOf('key', values.get('key') ?? 'ip', KEY_KINDS),
    top: wholeNumber('top', values.get('top') ?? `${DEFAULT_TOP}`, 0, MAX_TOP),
  }
}

function policyOf(values: ReadonlyMap<string, string>): ReplayPolicy {
  if (values.get('algorithm') === 'concurrency') {
    throw new UsageError(
      '--algorithm concurrency cannot be replayed: a log does not say when requests began and ended',
    )
  }
  const algorithm = oneOf('algorithm', values.get('algorithm') ?? 'token-bucket', ALGORITHMS)
  for (const [flag, owner] of Object.entries(OWNERS)) {
    if (values.has(flag) && owner !== algorithm)
      throw new UsageError(`--${flag} is for --algorithm ${owner} only`)
  }
  const limit = count('limit', values.get('limit') ?? `${DEFAULT_LIMIT}`)
  const windowMs = duration('window', values.get('window') ?? DEFAULT_WINDOW)
  const ownCount = (flag: string) => count(flag, values.get(flag) ?? `${limit}`)
  if (algorithm === 'token-bucket') return { algorithm, limit, windowMs, burst: ownCount('burst') }
  if (algorithm === 'leaky-bucket') return { algorithm, limit, windowMs, queue: ownCount('queue') }
  if (algorithm !== 'fixed-window') return { algorithm, limit, windowMs }
  const align = oneOf('align', values.get('align') ?? 'first-request', ALIGNMENTS)
  return { algorithm, limit, windowMs, align }
}

function count(flag: string, text: string): number {
  return wholeNumber(flag, text, 1, Number.MAX_SAFE_INTEGER)
}
