import type { Cluster, Redis } from 'ioredis'
import { shown, typeError } from '../errors/errors'
import type { Command } from './command'
import { hashSlot } from './slots'

/** The user's client: ioredis 5 or later. */
export type RedisClient = Redis | Cluster

/** What we need of it. */
interface Connection {
  readonly status: string
  readonly isCluster?: boolean
  readonly options?: { readonly keyPrefix?: string }
  readonly stream?: Stream
  /** Of a Cluster: the nodes that serve each slot, the master first. */
  readonly slots?: readonly (readonly string[] | undefined)[]
  nodes?(): readonly Connection[]
  sendCommand(command: Command): unknown
  connect(): Promise<unknown>
  on(event: string, listener: () => void): unknown
}

interface Stream {
  cork?(): void
  uncork?(): void
}

/** @throws TypeError ERR_SLUICE_OPTION_TYPE unless the value is a client of ioredis */
export function checkClient(value: unknown): RedisClient {
  const { status, sendCommand, connect, on } = (value ?? {}) as Partial<Connection>
  const methods = [sendCommand, connect, on]
  if (typeof status === 'string' && methods.every((method) => typeof method === 'function'))
    return value as RedisClient
  throw typeError(
    'ERR_SLUICE_OPTION_TYPE',
    `client must be a Redis or a Cluster of ioredis, not ${shown(value)}`,
  )
}

const OPENING: ReadonlySet<string> = new Set(['wait', 'connecting', 'connect'])

/** The user's client, as the courier sees it. */
export class Link {
  readonly isCluster: boolean
  /** What ioredis is told to put before each key. */
  readonly keyPrefix: string
  readonly #connection: Connection
  /** It has been ready, or has failed to be: whoever comes now does not wait for it. */
  #isPastOpening: boolean
  #lastKey: string | undefined
  #lastSlot = 0

  /**
   * @param onReady commands may be sent
   * @param onLost what was sent is not answered any more
   */
  constructor(client: RedisClient, onReady: () => void, onLost: () => void) {
    const connection = client as unknown as Connection
    this.#connection = connection
    this.isCluster = connection.isCluster === true
    this.keyPrefix = String(connection.options?.keyPrefix ?? '')
    this.#isPastOpening = !OPENING.has(connection.status)
    connection.on('ready', () => {
      this.#isPastOpening = true
      onReady()
    })
    const lost = (): void => {
      this.#isPastOpening = true
      onLost()
    }
    connection.on('close', lost)
    connection.on('end', lost)
  }

  get status(): string {
    return this.#connection.status
  }

  get isReady(): boolean {
    return this.#connection.status === 'ready'
  }

  /** Not yet connected for the first time. */
  get isOpening(): boolean {
    return !this.#isPastOpening && OPENING.has(this.#connection.status)
  }

  /** Connects a client that waits to be told to (`lazyConnect`). */
  open(): void {
    if (this.#connection.status === 'wait') this.#connection.connect().catch(ignore)
  }

  send(command: Command): void {
    const sent = this.#connection.sendCommand(command)
    // Whoever has wrapped sendCommand may return a promise of their own.
    if (sent !== command.promise && sent instanceof Promise) sent.catch(ignore)
  }

  /** What `write` sends goes out in one write for each connection. */
  corked(write: () => void): void {
    const nodes = this.isCluster ? (this.#connection.nodes?.() ?? []) : [this.#connection]
    const streams = nodes.map(({ stream }) => stream)
    for (const stream of streams) stream?.cork?.()
    try {
      write()
    } finally {
      for (const stream of streams) stream?.uncork?.()
    }
  }

  /** The slot of a key, which does not have the client's prefix yet. */
  slotOf(key: string): number {
    if (key !== this.#lastKey) {
      this.#lastSlot = hashSlot(this.keyPrefix + key)
      this.#lastKey = key
    }
    return this.#lastSlot
  }

  /** The names of all nodes that serve keys. */
  get nodes(): ReadonlySet<string> {
    if (!this.isCluster) return new Set([''])
    return new Set((this.#connection.slots ?? []).map((nodes) => nodes?.[0] ?? ''))
  }

  /** The name of the node that serves the key, as far as the client knows; '' if it knows none, and on one node. */
  nodeOf(key: string): string {
    return this.isCluster ? (this.#connection.slots?.[this.slotOf(key)]?.[0] ?? '') : ''
  }
}

function ignore(): void {}
