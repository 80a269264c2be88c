import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { HOST } from './servers'

/** What goes from client to server, or from server to client. */
export type Direction = 'requests' | 'replies'

/** One direction of one connection. */
class Stream {
  readonly #to: Socket
  /** What has come and not gone on yet, oldest first. */
  readonly #waiting: { readonly bytes: Buffer; readonly dueMs: number }[] = []
  #timer: NodeJS.Timeout | undefined
  #isHeld = false

  constructor(to: Socket) {
    this.#to = to
  }

  /** It goes on when it is due, and not before what came earlier. */
  push(bytes: Buffer, delayMs: number): void {
    this.#waiting.push({ bytes, dueMs: performance.now() + delayMs })
    this.#flush()
  }

  hold(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.#flush()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#waiting.length = 0
    this.#to.destroy()
  }

  #flush(): void {
    clearTimeout(this.#timer)
    if (this.#isHeld) return
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const leftMs = next.dueMs - performance.now()
      if (leftMs > 0) {
        this.#timer = setTimeout(() => this.#flush(), Math.ceil(leftMs))
        return
      }
      this.#waiting.shift()
      this.#to.write(next.bytes)
    }
  }
}

/** A client's connection, and that to the server on its behalf. */
class Connection {
  readonly #client: Socket
  readonly #streams: Record<Direction, Stream>
  /** Bytes are missing: what follows would be misread. */
  hasHole = false

  constructor(proxy: TcpProxy, client: Socket, server: Socket, onClose: () => void) {
    this.#client = client
    this.#streams = { requests: new Stream(server), replies: new Stream(client) }
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.once('close', () => {
        this.close()
        onClose()
      })
    }
    client.on('data', (bytes) => proxy.carry(this, 'requests', bytes))
    server.on('data', (bytes) => proxy.carry(this, 'replies', bytes))
  }

  push(direction: Direction, bytes: Buffer, delayMs: number): void {
    this.#streams[direction].push(bytes, delayMs)
  }

  hold(isHeld: boolean): void {
    this.#streams.requests.hold(isHeld)
    this.#streams.replies.hold(isHeld)
  }

  close(): void {
    this.#streams.requests.close()
    this.#streams.replies.close()
  }

  /** Sends the client the beginning of a reply, and closes. */
  breakOff(bytes: Buffer): void {
    this.hasHole = true
    this.#client.end(bytes, () => this.close())
  }
}

/**
 * A bad network between clients and a server on loopback. It lets everything pass until it is told otherwise; what it is
 * told holds, for all connections, until `pass()`.
 */
export class TcpProxy {
  readonly host = HOST
  readonly #targetPort: number
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #dropped = new Set<Direction>()
  #port = 0
  #delayMs = 0
  #isHolding = false
  #isRefusing = false
  #replyBytesLeft = Number.POSITIVE_INFINITY

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer((client) => this.#accept(client))
    this.#server.unref()
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, HOST)
    await once(proxy.#server, 'listening')
    proxy.#port = (proxy.#server.address() as AddressInfo).port
    return proxy
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `redis://${HOST}:${this.port}`
  }

  /** How many connections it has now. */
  get connections(): number {
    return this.#connections.size
  }

  /** Everything takes this much longer, each way. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs
  }

  /** Keeps everything back, and sends it on at `pass()`: a network that was away for a while. */
  hold(): void {
    this.#isHolding = true
    for (const connection of this.#connections) connection.hold(true)
  }

  /**
   * Swallows everything, or one direction only: a black hole. `pass()` cuts the connections that have lost something.
   */
  drop(direction: Direction | 'both' = 'both'): void {
    if (direction !== 'replies') this.#dropped.add('requests')
    if (direction !== 'requests') this.#dropped.add('replies')
  }

  /** Destroys all connections, once. New ones are accepted. */
  cut(): void {
    for (const connection of this.#connections) connection.close()
  }

  /** Destroys the connection that carries this many bytes of replies, counted from now over all, after that byte. */
  cutAfter(replyBytes: number): void {
    this.#replyBytesLeft = replyBytes
  }

  /** Destroys new connections as soon as they are made. Those that there are stay. */
  refuse(): void {
    this.#isRefusing = true
  }

  /** All is well again. */
  pass(): void {
    this.#delayMs = 0
    this.#isHolding = false
    this.#isRefusing = false
    this.#replyBytesLeft = Number.POSITIVE_INFINITY
    this.#dropped.clear()
    for (const connection of this.#connections) {
      if (connection.hasHole) connection.close()
      else connection.hold(false)
    }
  }

  /** Ends it and all its connections. */
  async stop(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.cut()
    await closed
  }

  /** @internal */
  carry(connection: Connection, direction: Direction, bytes: Buffer): void {
    if (this.#dropped.has(direction)) connection.hasHole = true
    if (connection.hasHole) return
    if (direction === 'replies') {
      if (bytes.length >= this.#replyBytesLeft) {
        connection.breakOff(bytes.subarray(0, this.#replyBytesLeft))
        this.#replyBytesLeft = Number.POSITIVE_INFINITY
        return
      }
      this.#replyBytesLeft -= bytes.length
    }
    connection.push(direction, bytes, this.#delayMs)
  }

  #accept(client: Socket): void {
    if (this.#isRefusing) {
      client.destroy()
      return
    }
    const server = connect(this.#targetPort, HOST)
    const connection = new Connection(this, client, server, () => this.#connections.delete(connection))
    connection.hold(this.#isHolding)
    this.#connections.add(connection)
  }
}

/** Starts a proxy in front of a server on loopback; in this process. */
export function startProxy(targetPort: number): Promise<TcpProxy> {
  return TcpProxy.start(targetPort)
}
