import type { Cluster, Redis } from 'ioredis'
import type { RedisClient } from './client'
import { Courier } from './courier'

export interface AnnouncementsOptions {
  /** Whether to hear what others announce, for which a connection is made. Default true. */
  readonly listens?: boolean
  /** Between two looks at whether the connection still answers. Default 5000. */
  readonly checkMs?: number
  /** It is heard again, or not any more. */
  readonly onChange?: (isHeard: boolean) => void
}

/** What is announced of all keys. */
const ALL = '*'
const PUBLISH_TIMEOUT_MS = 1000
const CHECK_MS = 5000
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 10_000

/**
 * Tells other hosts that what they may remember of a key is not true any more, and hears it of them: the Redis key, or `*`, on
 * the channel `<prefix>:denials`. Hearing takes a connection of its own, a duplicate of the user's (of a Cluster: to any of
 * its nodes). Whatever is announced while that is lost is not heard, so once it is back, all is to be forgotten.
 */
export class Announcements {
  readonly #client: RedisClient
  readonly #channel: string
  readonly #onForget: (key: string | undefined) => void
  readonly #checkMs: number
  readonly #onChange: ((isHeard: boolean) => void) | undefined
  #subscriber: Redis | undefined
  #isHeard = false
  #attempts = 0
  #timer: NodeJS.Timeout | undefined

  /** @param onForget of that Redis key, or of all; what it throws is ignored */
  constructor(
    client: RedisClient,
    prefix: string,
    onForget: (key: string | undefined) => void,
    { listens = true, checkMs = CHECK_MS, onChange }: AnnouncementsOptions = {},
  ) {
    this.#client = client
    this.#channel = `${prefix}:denials`
    this.#onForget = onForget
    this.#checkMs = checkMs
    this.#onChange = onChange
    if (listens) this.#open()
  }

  /** Whether what others announce is heard. */
  get isHeard(): boolean {
    return this.#isHeard
  }

  /** Tells all hosts that listen, this one included. Whether it comes through is not known. @param key all if it is absent */
  publish(key: string | undefined): void {
    const message = [this.#channel, key ?? ALL]
    Courier.of(this.#client).command('PUBLISH', message, PUBLISH_TIMEOUT_MS).catch(ignore)
  }

  close(): void {
    clearTimeout(this.#timer)
    const subscriber = this.#subscriber
    this.#subscriber = undefined
    this.#isHeard = false
    subscriber?.disconnect()
  }

  #open(): void {
    const subscriber = this.#duplicate()
    if (subscriber === undefined) {
      this.#retry()
      return
    }
    this.#subscriber = subscriber
    // A reply may be lost without a word.
    this.#after(CHECK_MS, () => this.#lose(subscriber))
    subscriber.on('error', ignore)
    subscriber.on('connect', () => unref(subscriber))
    subscriber.on('end', () => this.#lose(subscriber))
    subscriber.on('message', (_channel: string, key: string) => this.#forget(key === ALL ? undefined : key))
    subscriber
      .connect()
      .then(() => subscriber.subscribe(this.#channel))
      .then(
        () => this.#hear(subscriber),
        () => this.#lose(subscriber),
      )
  }

  /** Not connected yet; nothing if the user's client knows no node. */
  #duplicate(): Redis | undefined {
    const client = this.#client
    const nodes = client.isCluster ? (client as Cluster).nodes('all') : [client as Redis]
    // Connects anew by another object each time: to another node of a Cluster, and in our own time.
    return nodes[Math.floor(Math.random() * nodes.length)]?.duplicate({
      lazyConnect: true,
      retryStrategy: () => null,
      sentinelRetryStrategy: () => null,
      reconnectOnError: null,
      maxRetriesPerRequest: null,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      enableAutoPipelining: false,
      readOnly: false,
    })
  }

  #hear(subscriber: Redis): void {
    if (this.#subscriber !== subscriber) return
    this.#isHeard = true
    this.#attempts = 0
    this.#forget(undefined)
    this.#checkLater(subscriber)
    this.#onChange?.(true)
  }

  /** A connection may be gone without a word: then whoever only listens never finds out. */
  #checkLater(subscriber: Redis): void {
    let isAnswered = true
    const check = (): void => {
      if (this.#subscriber !== subscriber) return
      if (!isAnswered) {
        this.#lose(subscriber)
        return
      }
      isAnswered = false
      subscriber.ping().then(() => {
        isAnswered = true
      }, ignore)
      this.#after(this.#checkMs, check)
    }
    this.#after(this.#checkMs, check)
  }

  #lose(subscriber: Redis): void {
    if (this.#subscriber !== subscriber) return
    const wasHeard = this.#isHeard
    this.#subscriber = undefined
    this.#isHeard = false
    subscriber.disconnect()
    this.#retry()
    if (wasHeard) this.#onChange?.(false)
  }

  #retry(): void {
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** this.#attempts++, LAST_RETRY_MS)
    this.#after(delayMs * (0.5 + Math.random() / 2), () => this.#open())
  }

  #after(delayMs: number, action: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(action, delayMs)
    this.#timer.unref()
  }

  #forget(key: string | undefined): void {
    try {
      this.#onForget(key)
    } catch {
      // A clock of the user's, say, which calls will tell of.
    }
  }
}

/** Hearing alone keeps no process alive. */
function unref(subscriber: Redis): void {
  const { stream } = subscriber as unknown as { stream?: { unref?(): void } }
  stream?.unref?.()
}

function ignore(): void {}
