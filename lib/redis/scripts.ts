import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { ALGORITHMS, type Algorithm } from '../policy/algorithms'
import type { EscalationOptions } from '../policy/escalation'
import type { Policy } from '../policy/policy'

/** A script of the Redis server. */
export interface Script {
  readonly name: string
  readonly text: string
  /** SHA-1 of `text`, in hex: what EVALSHA calls it. */
  readonly sha: string
}

/** How long a reply is for each item; of `w`, `q`, `v` and `l` items (lib/redis/scripts/main.lua) `LONG_REPLY_BYTES`. */
export const REPLY_BYTES = 48
export const LONG_REPLY_BYTES = 72

/** What a script answered to one item. */
export interface Reply {
  /** Index in REASONS; 6: the key holds something that no script of ours has written, and nothing was done. */
  readonly outcome: number
  readonly remaining: number
  /** Infinity: never. */
  readonly retryAfterMs: number
  readonly resetAfterMs: number
  readonly delayMs: number
  /** Tokens consumed, refunded, taken or released; of a reset 1 if something was known. */
  readonly amount: number
}

/** The files of each algorithm, in the order in which they are put together. */
const FILES: Readonly<Record<Algorithm, readonly string[]>> = {
  'token-bucket': ['bucket', 'token-bucket'],
  'fixed-window': ['fixed-window'],
  'sliding-window': ['sliding-window'],
  'sliding-log': ['sliding-log'],
  'strict-window': ['sub-windows', 'strict-window'],
  'leaky-bucket': ['bucket', 'leaky-bucket'],
  concurrency: ['sub-windows', 'concurrency'],
}

/** A bucket counts time in parts of a microsecond, of which there are at least so many. */
const LEAST_PARTS = 64n
const MOST = 2n ** 53n
const US_PER_MS = 1000
const NS_PER_US = 1000

const scripts = new Map<Algorithm | 'set', Script>()

/** The script that decides calls of one algorithm. */
export function scriptOf(algorithm: Algorithm): Script {
  return cached(algorithm, () => [
    ...['names', 'begin'].map(read),
    'local policy_count = tonumber(ARGV[2])\n',
    // What it captures would have to be stored, one by one, each time that the script runs.
    'local function make_decide(now, now_text, server_time, policy_count)',
    ...['names', 'number', 'state', 'decision'].map(read),
    asFunction('algorithm', algorithm),
    read('main'),
    'end\n',
    read(algorithm === 'token-bucket' ? 'token-bucket-items' : 'all-items'),
  ])
}

/** The script that decides calls of several limits as one. */
export function setScript(): Script {
  return cached('set', () => [
    ...['names', 'begin', 'number', 'state', 'decision'].map(read),
    'local makers, made = {}, {}\n',
    ...ALGORITHMS.map((algorithm, i) => asFunction(`makers[${i + 1}]`, algorithm)),
    'local function algorithms(number)\n  made[number] = made[number] or makers[number]()\n  return made[number]\nend\n',
    read('set'),
  ])
}

function cached(name: Algorithm | 'set', parts: () => string[]): Script {
  let script = scripts.get(name)
  if (script === undefined) {
    const text = parts().join('\n')
    script = { name, text, sha: createHash('sha1').update(text).digest('hex') }
    scripts.set(name, script)
  }
  return script
}

function read(file: string): string {
  return readFileSync(path.join(__dirname, 'scripts', `${file}.lua`), 'utf8')
}

/** The algorithm's files as a function that returns its module. */
function asFunction(name: string, algorithm: Algorithm): string {
  const body = FILES[algorithm].map(read).join('\n')
  return name.includes('[') ? `${name} = function()\n${body}end\n` : `local function ${name}()\n${body}end\n`
}

/** A policy, as the scripts take it. Windows must be whole microseconds. */
export function policyText(
  algorithm: Algorithm,
  policy: Policy,
  escalation?: EscalationOptions,
  align?: 'first-request' | 'epoch',
): string {
  const { initial, rememberNs, evenly } = policy
  const isBucket = algorithm === 'token-bucket' || algorithm === 'leaky-bucket'
  const words = isBucket ? bucketWords(policy) : [policy.limit, wholeUs(policy.windowMs)]
  if (initial !== 0) words.push(`i${initial},${Math.round(rememberNs / NS_PER_US)}`)
  if (evenly) words.push('e')
  if (align === 'epoch') words.push('z')
  if (escalation !== undefined) {
    const { blockMs, forgetMs } = escalation
    words.push(`o${[forgetMs, ...blockMs].map((ms) => ms * US_PER_MS).join()}`)
  }
  return words.join(' ')
}

/** Capacity, and the rate as p tokens in q microseconds: in lowest terms, times what makes p large enough. */
function bucketWords({ capacity, limit, windowMs }: Policy): (number | string)[] {
  const [tokens, us] = [BigInt(limit), BigInt(wholeUs(windowMs))]
  const common = gcd(tokens, us)
  const [p, q] = [tokens / common, us / common]
  let times = 1n
  while (p * times < LEAST_PARTS && q * times * 2n < MOST) times *= 2n
  return [capacity, `${p * times}`, `${q * times}`]
}

function wholeUs(ms: number): number {
  return Math.round(ms * US_PER_MS)
}

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b]
  while (y !== 0n) [x, y] = [y, x % y]
  return x
}

/** The reply that begins at `offset`. */
export function readReply(buffer: Buffer, offset: number): Reply {
  const retryAfterUs = buffer.readDoubleLE(offset + 16)
  return {
    outcome: buffer.readDoubleLE(offset),
    remaining: buffer.readDoubleLE(offset + 8),
    retryAfterMs: retryAfterUs < 0 ? Number.POSITIVE_INFINITY : retryAfterUs / US_PER_MS,
    resetAfterMs: buffer.readDoubleLE(offset + 24) / US_PER_MS,
    delayMs: buffer.readDoubleLE(offset + 32) / US_PER_MS,
    amount: buffer.readDoubleLE(offset + 40),
  }
}
