import type { Algorithm, Decision, Reason } from '../index'
import type { CliIo } from './command'
import { type FlagSpec, flagHelp, HELP_FLAG, parseFlags, UsageError } from './flags'
import { INTEGER_FLAG, KEY_HELP, keyOf, kindHint, positionalsOf } from './key-arguments'
import {
  ageText,
  bytesText,
  columns,
  isPurse,
  keyText,
  numberText,
  policyText,
  waitText,
} from './region-text'
import { type OpenRegion, type RegionFacts, regionFacts, withRegion } from './shared-regions'

const USAGE = 'sluice inspect NAME [KEY] [--integer] [--json]'
const FLAGS: readonly FlagSpec[] = [
  INTEGER_FLAG,
  { name: 'json', help: 'print one JSON document' },
  HELP_FLAG,
]
const HELP = `Usage: ${USAGE}

Describes a shared limiter and the processes attached to it. With KEY, also
says whether a call for that key would be admitted now. Charges nothing. A pid
is as the process itself sees it: two containers may show the same one.

Flags:
${flagHelp(FLAGS)}

${KEY_HELP}
`

const POLICY_NOTE = "This is under the limiter's own policy; a tier or with() may answer otherwise."

/** What has happened when nothing counts any more. */
const LATER: Readonly<Record<Algorithm, string>> = {
  'token-bucket': 'full again',
  'fixed-window': 'a new window',
  'sliding-window': 'nothing counts any more',
  'sliding-log': 'nothing counts any more',
  'strict-window': 'nothing counts any more',
  'leaky-bucket': 'the queue is empty',
  concurrency: 'all that is held has lapsed',
}

const OTHER_REASONS: Partial<Record<Reason, string>> = {
  'table-full': 'no room is left for a new key; raise maxKeys',
  busy: 'a process has been stopped in the middle of a change; let it go on, or kill it',
}

/** What the limiter would say about a key. */
interface KeyAnswer extends Decision {
  key: string | number
}

/** `sluice inspect`. Throws UsageError, and as `withRegion`. */
export async function runInspect(args: readonly string[], io: CliIo): Promise<number> {
  const { switches, positionals } = parseFlags(args, FLAGS)
  if (switches.has('help')) {
    io.stdout.write(HELP)
    return 0
  }
  const [name = '', keyArgument] = positionalsOf(positionals, USAGE, 1, 2)
  const isInteger = switches.has('integer')
  if (isInteger && keyArgument === undefined) {
    throw new UsageError(`--integer is about a KEY, and there is none; usage: ${USAGE}`)
  }
  const key = keyArgument === undefined ? undefined : keyOf(keyArgument, isInteger)
  const { facts, answer } = withRegion(name, (region) => ({
    facts: regionFacts(region),
    answer: key === undefined ? undefined : ask(region, key),
  }))
  const isJson = switches.has('json')
  io.stdout.write(isJson ? `${JSON.stringify({ ...facts, answer }, null, 2)}\n` : text(facts, answer))
  return 0
}

function ask({ name, limiter, hasOwnClock }: OpenRegion, key: string | number): KeyAnswer {
  if (!hasOwnClock) return { key, ...limiter.peek(key) }
  throw new UsageError(`'${name}' runs on a clock of its users, so only they can tell what a key may do now`)
}

function text(facts: RegionFacts, answer: KeyAnswer | undefined): string {
  const parts = [summary(facts), processTable(facts)]
  if (answer !== undefined) {
    parts.push(isPurse(facts.policy) ? [purseLine(answer)] : [...answerLines(facts, answer), POLICY_NOTE])
  }
  return `${parts
    .filter((part) => part.length > 0)
    .map((part) => part.join('\n'))
    .join('\n\n')}\n`
}

function summary(facts: RegionFacts): string[] {
  const { name, keys, maxKeys, bytes, ageMs, allowed, denied, evictedLive, refusedFull, processes } = facts
  const rows = [
    ['name', name],
    ['policy', policyText(facts)],
    ['keys', `${numberText(keys)}, made for ${numberText(maxKeys)}`],
    ['memory', bytesText(bytes)],
    ['age', ageText(ageMs)],
    ['calls', `${numberText(allowed)} admitted, ${numberText(denied)} denied`],
  ]
  if (evictedLive > 0)
    rows.push(['forgotten', `${numberText(evictedLive)} keys that still counted: raise maxKeys`])
  if (refusedFull > 0)
    rows.push(['refused', `${numberText(refusedFull)} calls of new keys, for lack of room: raise maxKeys`])
  if (facts.hasOwnClock) rows.push(['clock', "its users' own, which cannot be read from here"])
  rows.push(['processes', processes.length === 0 ? 'none attached' : `${processes.length} attached`])
  return columns(rows, 2)
}

function processTable({ processes }: RegionFacts): string[] {
  if (processes.length === 0) return []
  const rows = processes.map(({ pid, limiters, allowed, denied }) => [
    String(pid),
    ...[limiters, allowed, denied].map(numberText),
  ])
  return columns([['    pid', 'limiters', 'admitted', 'denied'], ...rows], 0)
}

function purseLine({ key, remaining, resetAfterMs }: KeyAnswer): string {
  if (remaining === 0) return `key ${keyText(key)} has no leased tokens here now${kindHint(key)}`
  return `key ${keyText(key)} has ${numberText(remaining)} leased tokens here, which lapse in ${waitText(resetAfterMs)}`
}

function answerLines({ policy: { algorithm } }: RegionFacts, answer: KeyAnswer): string[] {
  const { key, reason, limit, remaining, retryAfterMs, resetAfterMs, delayMs } = answer
  const it = `key ${keyText(key)}`
  const left = `${numberText(remaining)} of ${numberText(limit)} left`
  const wait = waitText(retryAfterMs)
  const later = `${LATER[algorithm]} in ${waitText(resetAfterMs)}`
  if (reason === 'ok' && resetAfterMs === 0) {
    return [`${it} would be ADMITTED now: it has spent nothing that still counts; ${left}${kindHint(key)}`]
  }
  if (reason === 'ok') {
    const held = delayMs > 0 ? `, to go out in ${waitText(delayMs)}` : ''
    return [`${it} would be ADMITTED now${held}: ${left}; ${later}`]
  }
  if (reason === 'limited') {
    const rest = resetAfterMs === retryAfterMs ? '' : `; ${later}`
    const again =
      algorithm === 'concurrency'
        ? `when one is released, or in ${wait}`
        : `in ${wait}, if nobody spends before`
    return [`${it} would be DENIED now: ${left}. Admitted again ${again}${rest}`]
  }
  if (reason === 'blocked') {
    const rest = `Admitted again in ${wait}, if nobody spends before; \`sluice reset\` lifts the block`
    return [`${it} would be DENIED now: it is BLOCKED. ${rest}`]
  }
  return [`${it} would be DENIED now: ${OTHER_REASONS[reason] ?? reason}`]
}
