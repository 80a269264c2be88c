import { parseArgs } from 'node:util'
import { nearest } from './nearest'

/** The command line is wrong. The message is one line; the exit code is 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** One flag of a command. Without `value` it is a switch. */
export interface FlagSpec {
  name: string
  short?: string
  /** What its value stands for in the help text. */
  value?: string
  help: string
}

/** Flags that every command has. */
export const HELP_FLAG: FlagSpec = { name: 'help', short: 'h', help: 'print this help' }

/** A command line taken apart. Of a flag given twice the last counts. */
export interface ParsedFlags {
  values: ReadonlyMap<string, string>
  switches: ReadonlySet<string>
  positionals: string[]
}

/** Parses `args` by `specs`. Throws UsageError for an unknown flag (names the nearest) and for a missing value. */
export function parseFlags(args: readonly string[], specs: readonly FlagSpec[]): ParsedFlags {
  const options = Object.fromEntries(specs.map((spec) => [spec.name, parseArgsOption(spec)]))
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const values = new Map<string, string>()
  const switches = new Set<string>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const spec = specs.find(({ name }) => name === token.name)
    if (spec === undefined) throw new UsageError(unknownFlag(token.rawName, specs))
    const { value } = token
    if (spec.value === undefined) {
      if (value !== undefined) throw new UsageError(`--${spec.name} takes no value`)
      switches.add(spec.name)
    } else {
      const swallowsFlag = token.inlineValue === false && value?.startsWith('--')
      if (value === undefined || value === '' || swallowsFlag)
        throw new UsageError(`--${spec.name} needs a value: --${spec.name} ${spec.value}`)
      values.set(spec.name, value)
    }
  }
  return { values, switches, positionals }
}

/** The lines of the help text about `specs`, one or more per flag, names in one column. */
export function flagHelp(specs: readonly FlagSpec[]): string {
  const names = specs.map(({ name, short, value }) => {
    return `  --${name}${short ? `, -${short}` : ''}${value ? ` ${value}` : ''}`
  })
  const width = Math.max(...names.map((name) => name.length)) + 2
  const indent = `\n${' '.repeat(width)}`
  return specs.map(({ help }, i) => (names[i] ?? '').padEnd(width) + help.replaceAll('\n', indent)).join('\n')
}

/** Reads a whole number from `min` to `max`. Throws UsageError. */
export function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new UsageError(`--${flag} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`)
}

/** Reads one of a few words. Throws UsageError that names the nearest. */
export function oneOf<Word extends string>(flag: string, text: string, words: readonly Word[]): Word {
  const word = words.find((candidate) => candidate === text)
  if (word !== undefined) return word
  const hint = `did you mean ${nearest(text, words)}?`
  throw new UsageError(`--${flag} must be one of ${words.join(', ')}, got ${JSON.stringify(text)}; ${hint}`)
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads a duration such as `500ms`, `1.5s`, `1m`, `1h` or `1d` in ms. Throws UsageError. */
export function duration(flag: string, text: string): number {
  const [, count, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []
  const value = Math.round(Number(count) * (UNIT_MS[unit ?? ''] ?? Number.NaN) * 1000) / 1000
  if (value > 0 && value < Number.POSITIVE_INFINITY) return value
  const expected = 'a duration above zero with a unit: 500ms, 60s, 1m, 1h, 1d'
  throw new UsageError(`--${flag} must be ${expected}, got ${JSON.stringify(text)}`)
}

function parseArgsOption({ short, value }: FlagSpec): { type: 'string' | 'boolean'; short?: string } {
  const type = value === undefined ? 'boolean' : 'string'
  return short === undefined ? { type } : { type, short }
}

function unknownFlag(given: string, specs: readonly FlagSpec[]): string {
  const suggestion = nearest(
    given.replace(/^-+/, ''),
    specs.map(({ name }) => name),
  )
  return `unknown flag ${JSON.stringify(given)}: did you mean --${suggestion}?`
}
