import type { Errand } from './command'
import { Due } from './deadlines'
import { bulk, command } from './resp'
import type { Script } from './scripts'

/** One operation on one key, on its way to Redis. */
export interface Outgoing {
  readonly script: Script
  /** Without the client's prefix. */
  readonly key: string
  readonly policy: string
  readonly item: string
  /** In µs; '' for the server's clock. */
  readonly now: string
  /** A whole number, at least 1. */
  readonly timeoutMs: number
  /** How many bytes of the reply are the answer. */
  readonly replyBytes: number
  /** Its answer begins at `offset` of the reply, which is valid during this call only. Must not throw. */
  answer(reply: Buffer, offset: number): void
  /** Redis was not reached, was too slow, or has refused. Must not throw. */
  fail(error: Error): void
}

/** One operation on several keys, which are on one slot. */
export interface OutgoingSet
  extends Pick<Outgoing, 'script' | 'now' | 'timeoutMs' | 'replyBytes' | 'answer' | 'fail'> {
  readonly keys: readonly string[]
  /** What comes after `now`. */
  readonly args: readonly string[]
}

/** What goes to Redis as one command, has one deadline, and is answered or failed once. */
export abstract class Request extends Due implements Errand {
  isOver = false
  /** Whether it is sent again with the whole script if the server does not know that. */
  abstract readonly isScript: boolean

  /** @param name of the command */
  constructor(
    readonly name: string,
    readonly timeoutMs: number,
    readonly slot: number | undefined,
  ) {
    super()
  }

  /** How many calls it carries. */
  abstract readonly size: number
  abstract argumentsOf(name: string): string[]
  abstract encode(name: string): string
  /** Must not throw. */
  abstract answer(reply: unknown): void
  /** Must not throw. */
  abstract fail(error: Error): void

  /** Requests that do the same together, each on one key; itself if there is nothing to be divided. */
  parts(): Request[] {
    return [this]
  }
}

export const EVALSHA = 'evalsha'
export const EVAL = 'eval'

/** A reply that no script of ours gives. */
export class UnexpectedReplyError extends Error {
  override readonly name = 'UnexpectedReplyError'

  constructor(reply: unknown) {
    const inTransaction = Buffer.isBuffer(reply) && reply.toString() === 'QUEUED'
    super(inTransaction ? 'the client is inside MULTI' : 'the reply of the script has not the expected form')
  }
}

/** Calls of one tick that have script, time and timeout in common. */
export class ScriptCall extends Request {
  readonly isScript = true
  readonly script: Script
  readonly now: string
  readonly #keyPrefix: string
  readonly #calls: Outgoing[] = []
  readonly #policies: string[] = []
  /** Of each call: which of the policies is its own. */
  readonly #places: number[] = []
  #replyBytes = 0

  constructor({ script, now, timeoutMs }: Outgoing, slot: number | undefined, keyPrefix: string) {
    super(EVALSHA, timeoutMs, slot)
    this.script = script
    this.now = now
    this.#keyPrefix = keyPrefix
  }

  get size(): number {
    return this.#calls.length
  }

  takes({ script, now, timeoutMs }: Outgoing): boolean {
    return script === this.script && timeoutMs === this.timeoutMs && now === this.now
  }

  add(call: Outgoing): void {
    let place = this.#policies.indexOf(call.policy)
    if (place === -1) place = this.#policies.push(call.policy) - 1
    this.#places.push(place)
    this.#calls.push(call)
    this.#replyBytes += call.replyBytes
  }

  override parts(): ScriptCall[] {
    const parts = new Map<string, ScriptCall>()
    for (const call of this.#calls) {
      const part = parts.get(call.key) ?? new ScriptCall(call, this.slot, this.#keyPrefix)
      part.add(call)
      parts.set(call.key, part)
    }
    return parts.size === 1 ? [this] : [...parts.values()]
  }

  argumentsOf(name: string): string[] {
    const { script, now } = this
    return [
      name === EVAL ? script.text : script.sha,
      String(this.size),
      ...this.#calls.map(({ key }) => this.#keyPrefix + key),
      now,
      String(this.#policies.length),
      ...this.#policies,
      ...this.#items(),
    ]
  }

  encode(name: string): string {
    const { size } = this
    const policies = this.#policies
    const items = this.#items()
    const count = 5 + policies.length + size + items.length
    let text = `*${count}\r\n${headOf(this.script, name)}${bulk(String(size))}`
    for (const { key } of this.#calls) text += bulk(this.#keyPrefix + key)
    text += bulk(this.now) + bulk(String(policies.length))
    for (const policy of policies) text += bulk(policy)
    for (const item of items) text += bulk(item)
    return text
  }

  /** One for each key; or one for all, if they are the same. */
  #items(): string[] {
    const calls = this.#calls
    const [first] = calls
    if (first === undefined) return []
    if (this.#policies.length > 1)
      return calls.map(({ item }, i) => `${(this.#places[i] as number) + 1}:${item}`)
    return calls.every(({ item }) => item === first.item) ? [first.item] : calls.map(({ item }) => item)
  }

  answer(reply: unknown): void {
    if (!isReply(reply, this.#replyBytes)) {
      this.fail(new UnexpectedReplyError(reply))
      return
    }
    let offset = 0
    for (const call of this.#calls) {
      answerSafely(call, reply, offset)
      offset += call.replyBytes
    }
    this.#letGo()
  }

  fail(error: Error): void {
    for (const call of this.#calls) call.fail(error)
    this.#letGo()
  }

  /** V8 learns to make such lists in the old generation, where what they hold would outlive all minor collections. */
  #letGo(): void {
    this.#calls.length = 0
  }
}

/** A script call of one operation on several keys. */
export class SetCall extends Request {
  readonly isScript = true
  readonly size = 1
  readonly #call: OutgoingSet
  readonly #keyPrefix: string

  constructor(call: OutgoingSet, slot: number | undefined, keyPrefix: string) {
    super(EVALSHA, call.timeoutMs, slot)
    this.#call = call
    this.#keyPrefix = keyPrefix
  }

  argumentsOf(name: string): string[] {
    const { script, keys, now, args } = this.#call
    const subject = name === EVAL ? script.text : script.sha
    return [subject, String(keys.length), ...keys.map((key) => this.#keyPrefix + key), now, ...args]
  }

  encode(name: string): string {
    return command(name, this.argumentsOf(name))
  }

  answer(reply: unknown): void {
    if (isReply(reply, this.#call.replyBytes)) this.#call.answer(reply, 0)
    else this.fail(new UnexpectedReplyError(reply))
  }

  fail(error: Error): void {
    this.#call.fail(error)
  }
}

/** Any other command. */
export class PlainCall extends Request {
  readonly isScript = false
  readonly size = 1
  readonly #args: readonly string[]
  readonly #onReply: (reply: unknown) => void
  readonly #onError: (error: Error) => void

  constructor(
    name: string,
    args: readonly string[],
    timeoutMs: number,
    slot: number | undefined,
    onReply: (reply: unknown) => void,
    onError: (error: Error) => void,
  ) {
    super(name, timeoutMs, slot)
    this.#args = args
    this.#onReply = onReply
    this.#onError = onError
  }

  argumentsOf(): string[] {
    return [...this.#args]
  }

  encode(name: string): string {
    return command(name, this.#args)
  }

  answer(reply: unknown): void {
    this.#onReply(textOf(reply))
  }

  fail(error: Error): void {
    this.#onError(error)
  }
}

/** A clock of the user's may fail in there: that is not to keep others from their answers. */
function answerSafely(call: Outgoing, reply: Buffer, offset: number): void {
  try {
    call.answer(reply, offset)
  } catch (error) {
    call.fail(error as Error)
  }
}

function isReply(reply: unknown, bytes: number): reply is Buffer {
  return Buffer.isBuffer(reply) && reply.length === bytes
}

/** Strings for the bytes that ioredis hands out. */
function textOf(reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString()
  return Array.isArray(reply) ? reply.map(textOf) : reply
}

interface Heads {
  readonly [EVALSHA]: string
  readonly [EVAL]: string
}

const heads = new WeakMap<Script, Heads>()

/** The command's name and the script: the same for all its calls. */
function headOf(script: Script, name: string): string {
  let known = heads.get(script)
  if (known === undefined) {
    known = { [EVALSHA]: bulk(EVALSHA) + bulk(script.sha), [EVAL]: bulk(EVAL) + bulk(script.text) }
    heads.set(script, known)
  }
  return name === EVAL ? known[EVAL] : known[EVALSHA]
}
