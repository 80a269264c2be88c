import { createHash } from 'node:crypto'
import Redis, { type RedisOptions } from 'ioredis'
import { Courier, type Outgoing } from '../../lib/redis/courier'
import type { Script } from '../../lib/redis/scripts'

export function script(text: string, name = 'test'): Script {
  return { name, text, sha: createHash('sha1').update(text).digest('hex') }
}

/** Counts in each key; answers the new count twice: as outcome and as remaining. Items with an `l` have long answers. */
export const COUNT = script(`
local first = 2 + tonumber(ARGV[2])
local answers = {}
for i, key in ipairs(KEYS) do
  local count = redis.call('INCR', key)
  redis.call('PEXPIRE', key, 600000)
  local item = ARGV[first + i] or ARGV[first + 1]
  local isLong = string.find(item, 'l', 1, true)
  answers[i] = struct.pack(isLong and '<ddddddddd' or '<dddddd', count, count, 0, 0, 0, 0, 0, 0, 0)
end
return table.concat(answers)`)

/** A call that knows how often it was told something. */
export class Probe implements Outgoing {
  readonly script: Script
  readonly key: string
  readonly policy: string
  readonly item: string
  readonly now: string
  readonly timeoutMs: number
  readonly replyBytes: number
  readonly done: Promise<this>
  told = 0
  /** The first number of its answer. */
  count: number | undefined
  error: Error | undefined
  tookMs = 0
  readonly #sinceMs = performance.now()
  #settle: (self: this) => void = () => undefined

  constructor(key: string, settings: Partial<Outgoing> = {}) {
    this.key = key
    this.script = settings.script ?? COUNT
    this.policy = settings.policy ?? 'p'
    this.item = settings.item ?? '1'
    this.now = settings.now ?? ''
    this.timeoutMs = settings.timeoutMs ?? 2000
    this.replyBytes = settings.replyBytes ?? 48
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  answer(reply: Buffer, offset: number): void {
    this.count = reply.readDoubleLE(offset)
    this.#tell()
  }

  fail(error: Error): void {
    this.error = error
    this.#tell()
  }

  #tell(): void {
    this.told++
    this.tookMs = performance.now() - this.#sinceMs
    this.#settle(this)
  }
}

export function send(client: Redis, key: string, settings?: Partial<Outgoing>): Probe {
  const probe = new Probe(key, settings)
  Courier.of(client).send(probe)
  return probe
}

const opened: Redis[] = []

/** A client that says nothing of its errors, for as long as the test lasts. */
export function connect(port: number, options: RedisOptions = {}): Redis {
  const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20, ...(options as object) })
  client.on('error', () => undefined)
  opened.push(client)
  return client
}

export async function connected(port: number, options?: RedisOptions): Promise<Redis> {
  const client = connect(port, options)
  await untilReady(client)
  return client
}

export async function untilReady(client: Redis): Promise<void> {
  if (client.status !== 'ready') await new Promise<void>((resolve) => client.once('ready', () => resolve()))
}

export function disconnectAll(): void {
  for (const client of opened.splice(0)) client.disconnect()
}

/** As a cut cable does. */
export function cut(client: Redis): void {
  ;(client as unknown as { stream: { destroy(): void } }).stream.destroy()
}
