import type { Cluster, Redis } from 'ioredis'
import type { RedisClient } from './client'

/** One that listens to a channel. What its methods throw hurts no other. */
export interface Listener {
  /** Between two looks at whether the connection still answers. */
  readonly checkMs: number
  onMessage(message: string): void
  /** It is heard from now on, or not any more. */
  onChange(isHeard: boolean): void
}

/** A listener on its channel. */
export interface Subscription {
  /** Whether what is said on the channel comes here. */
  readonly isHeard: boolean
  /** It is told nothing any more. */
  close(): void
}

interface Entry {
  readonly listener: Listener
  isHeard: boolean
}

class Channel {
  readonly name: string
  readonly entries = new Set<Entry>()
  /** SUBSCRIBE is under way. */
  isAsked = false

  constructor(name: string) {
    this.name = name
  }

  get isHeard(): boolean {
    return some(this.entries, (entry) => entry.isHeard)
  }
}

/** Until a new connection is heard. */
const CHECK_MS = 5000
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 10_000

const subscribers = new WeakMap<object, Subscriber>()

/**
 * The one connection on which all that use a client listen: a duplicate of the client (of a Cluster: to any of its nodes).
 * It is there while there are listeners, and is made anew when it is lost. A channel that the server refuses is asked for
 * again with each check.
 */
export class Subscriber {
  readonly #client: RedisClient
  readonly #channels = new Map<string, Channel>()
  #connection: Redis | undefined
  /** The connection takes commands. */
  #isReady = false
  /** Something has been heard on this connection. */
  #isProven = false
  #attempts = 0
  #timer: NodeJS.Timeout | undefined

  private constructor(client: RedisClient) {
    this.#client = client
  }

  /** The one of this client. */
  static of(client: RedisClient): Subscriber {
    let subscriber = subscribers.get(client)
    if (subscriber === undefined) {
      subscriber = new Subscriber(client)
      subscribers.set(client, subscriber)
    }
    return subscriber
  }

  /** The listener is told nothing before this has returned. */
  listen(name: string, listener: Listener): Subscription {
    if (this.#channels.size === 0) this.#open()
    const channel = this.#channels.get(name) ?? new Channel(name)
    const entry = { listener, isHeard: false }
    this.#channels.set(name, channel)
    channel.entries.add(entry)
    // Even if others hear the channel: their connection may be gone without a word.
    if (this.#isReady) this.#subscribe(channel)
    return {
      get isHeard() {
        return entry.isHeard
      },
      close: () => this.#leave(channel, entry),
    }
  }

  #leave(channel: Channel, entry: Entry): void {
    entry.isHeard = false
    if (!channel.entries.delete(entry) || channel.entries.size > 0) return
    this.#channels.delete(channel.name)
    if (this.#channels.size === 0) {
      clearTimeout(this.#timer)
      this.#attempts = 0
      this.#drop()
    } else if (this.#isReady) {
      this.#connection?.unsubscribe(channel.name).catch(ignore)
    }
  }

  #open(): void {
    const connection = this.#duplicate()
    if (connection === undefined) {
      this.#retry()
      return
    }
    this.#connection = connection
    // A reply may be lost without a word.
    this.#after(CHECK_MS, () => this.#lose(connection))
    connection.on('error', ignore)
    connection.on('connect', () => unref(connection))
    connection.on('end', () => this.#lose(connection))
    connection.on('message', (name: string, message: string) => this.#take(name, message))
    connection.connect().then(
      () => this.#subscribeAll(connection),
      () => this.#lose(connection),
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

  #subscribeAll(connection: Redis): void {
    if (this.#connection !== connection) return
    this.#isReady = true
    for (const channel of this.#channels.values()) this.#subscribe(channel)
  }

  /** One command for each channel: the server may refuse one of them. */
  #subscribe(channel: Channel): void {
    const connection = this.#connection
    if (connection === undefined || channel.isAsked) return
    channel.isAsked = true
    const answered = (then: () => void) => (): void => {
      if (this.#connection !== connection) return
      channel.isAsked = false
      then()
    }
    connection.subscribe(channel.name).then(
      answered(() => this.#hear(connection, channel)),
      answered(() => this.#refuse(connection)),
    )
  }

  #hear(connection: Redis, channel: Channel): void {
    this.#attempts = 0
    if (!this.#isProven) {
      this.#isProven = true
      this.#checkLater(connection)
    }
    for (const entry of [...channel.entries]) {
      // One that was told before may have closed this one, or the connection.
      if (entry.isHeard || this.#connection !== connection || !channel.entries.has(entry)) continue
      entry.isHeard = true
      tell(() => entry.listener.onChange(true))
    }
  }

  /** A connection on which nothing is heard is of no use; otherwise those that are heard keep theirs. */
  #refuse(connection: Redis): void {
    const isOfUse = some(this.#channels.values(), (channel) => channel.isAsked || channel.isHeard)
    if (!isOfUse) this.#lose(connection)
  }

  #take(name: string, message: string): void {
    const channel = this.#channels.get(name)
    if (channel === undefined) return
    for (const entry of [...channel.entries])
      if (channel.entries.has(entry)) tell(() => entry.listener.onMessage(message))
  }

  /** A connection may be gone without a word: then whoever only listens never finds out. */
  #checkLater(connection: Redis): void {
    let isAnswered = true
    const check = (): void => {
      if (this.#connection !== connection) return
      if (!isAnswered) {
        this.#lose(connection)
        return
      }
      isAnswered = false
      connection.ping().then(() => {
        isAnswered = true
      }, ignore)
      for (const channel of this.#channels.values())
        if (some(channel.entries, (entry) => !entry.isHeard)) this.#subscribe(channel)
      this.#after(this.#checkMs(), check)
    }
    this.#after(this.#checkMs(), check)
  }

  /** The shortest that any listener asks for. */
  #checkMs(): number {
    let leastMs = Number.POSITIVE_INFINITY
    for (const { entries } of this.#channels.values())
      for (const { listener } of entries) leastMs = Math.min(leastMs, listener.checkMs)
    return leastMs
  }

  #lose(connection: Redis): void {
    if (this.#connection !== connection) return
    this.#drop()
    const lost: [Channel, Entry][] = []
    for (const channel of this.#channels.values()) {
      channel.isAsked = false
      for (const entry of channel.entries) {
        if (entry.isHeard) lost.push([channel, entry])
        entry.isHeard = false
      }
    }
    this.#retry()
    for (const [channel, entry] of lost)
      if (channel.entries.has(entry)) tell(() => entry.listener.onChange(false))
  }

  #drop(): void {
    const connection = this.#connection
    this.#connection = undefined
    this.#isReady = false
    this.#isProven = false
    connection?.disconnect()
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
}

function some<T>(values: Iterable<T>, test: (value: T) => boolean): boolean {
  for (const value of values) if (test(value)) return true
  return false
}

/** What it throws shows as its own, later. */
function tell(action: () => void): void {
  try {
    action()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/** Hearing alone keeps no process alive. */
function unref(connection: Redis): void {
  const { stream } = connection as unknown as { stream?: { unref?(): void } }
  stream?.unref?.()
}

function ignore(): void {}
