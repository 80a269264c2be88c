import { bulk } from './resp'

/** What a command asks for, and whom it tells. */
export interface Errand {
  /** Of a Cluster's key; nothing if any node will do. */
  readonly slot: number | undefined
  /** Nobody waits for the answer any more. */
  readonly isOver: boolean
  /** As they go out, keys with the client's prefix. */
  argumentsOf(name: string): string[]
  /** Name and arguments, in the protocol of Redis. */
  encode(name: string): string
}

/** Takes the place of a command whose time was up before it was sent. */
const NOTHING = `*1\r\n${bulk('PING')}`

/**
 * What ioredis (5 and later) takes for one of its commands. Its own class costs several times as much, and would be sent
 * after its time: ioredis keeps commands over a reconnection, and a decision that was given up must not be charged
 * then. This one turns into a PING.
 */
export class Command {
  readonly name: string
  /** Resolves like the promise of any command. For those who trace commands; we do not wait for it. */
  readonly promise: Promise<unknown>
  /** ioredis and others call these without `this`, and put their own in their place. */
  resolve: (reply: unknown) => void
  reject: (error: Error) => void

  // What ioredis reads and writes.
  isReadOnly = false
  inTransaction = false
  isTraced = false
  isResolved = false
  isSettled = false
  pipelineIndex: number | undefined
  ignore: boolean | undefined
  readonly #errand: Errand

  /** @param onReply, onError called once between them; must not throw */
  constructor(
    name: string,
    errand: Errand,
    onReply: (reply: unknown) => void,
    onError: (error: Error) => void,
  ) {
    this.name = name
    this.#errand = errand
    let resolvePromise: (reply: unknown) => void
    let rejectPromise: (error: Error) => void
    this.promise = new Promise((resolve, reject) => {
      resolvePromise = resolve
      rejectPromise = reject
    })
    this.promise.catch(ignore)
    this.resolve = (reply) => {
      if (this.isSettled) return
      this.isResolved = true
      this.isSettled = true
      resolvePromise(reply)
      onReply(reply)
    }
    this.reject = (error) => {
      if (this.isSettled) return
      this.isSettled = true
      rejectPromise(error)
      onError(error)
    }
  }

  /** For error messages and traces. */
  get args(): string[] {
    return this.#errand.argumentsOf(this.name)
  }

  getSlot(): number | null {
    return this.#errand.slot ?? null
  }

  getKeys(): string[] {
    return []
  }

  toWritable(): string {
    return this.#errand.isOver ? NOTHING : this.#errand.encode(this.name)
  }

  /** `commandTimeout`: calls have a deadline of their own. */
  setTimeout(): void {}

  setBlockingTimeout(): void {}

  extractBlockingTimeout(): undefined {}

  setReplyContext(): void {}

  stringifyArguments(): void {}

  transformReply(reply: unknown): unknown {
    return reply
  }
}

function ignore(): void {}
