import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Redis from 'ioredis'
import { findRedis, missingRedis } from '../../scripts/find-redis.mjs'
import { Guarded } from './guarded'
import { freePort } from './ports'
import { until } from './until'

export const HOST = '127.0.0.1'
// What servers of all versions say who find their port, or the bus port of a cluster's node, in use.
const PORT_TAKEN = /Address already in use|Failed listening on port/
const START_TIMEOUT_MS = 15_000
const PORT_ATTEMPTS = 20
const PROBE_TIMEOUT_MS = 1000
const COMMAND_TIMEOUT_MS = 10_000

/** Lines of redis.conf; a line that may come several times has several values. */
export type RedisConfig = Record<string, string | number | readonly (string | number)[]>

export interface RedisServerOptions {
  /** Added to, or in place of, what is configured by default: no persistence. */
  readonly config?: RedisConfig
  /** Runs as a sentinel. Default false. */
  readonly sentinel?: boolean
}

const DEFAULTS: RedisConfig = { save: '', appendonly: 'no', loglevel: 'notice' }

/** One redis-server on loopback. It ends no later than this process. */
export class RedisServer {
  readonly host = HOST
  readonly #options: RedisServerOptions
  readonly #folder = mkdtempSync(join(tmpdir(), 'sluice-redis-'))
  #port = 0
  #process: Guarded | undefined

  private constructor(options: RedisServerOptions) {
    this.#options = options
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options)
    try {
      for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
        server.#port = await freePort()
        server.#configure()
        if (await server.#run()) return server
      }
      throw new Error(`no free port for redis-server:\n${server.log}`)
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    const password = this.password
    return `redis://${password ? `:${encodeURIComponent(password)}@` : ''}${HOST}:${this.#port}`
  }

  /** The process's id; another one after `restart()`. */
  get pid(): number {
    return this.#process?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.#process !== undefined && !this.#process.hasEnded
  }

  /** The end of what it has logged. */
  get log(): string {
    return this.#process?.log ?? ''
  }

  /** Sends one command over a connection of its own. */
  async send(name: string, ...args: (string | number | Buffer)[]): Promise<unknown> {
    const client = new Redis(this.#port, HOST, {
      ...(this.password ? { password: this.password } : {}),
      commandTimeout: COMMAND_TIMEOUT_MS,
      enableReadyCheck: false,
      lazyConnect: true,
      retryStrategy: () => null,
    })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return await client.call(name, ...args)
    } finally {
      client.disconnect()
    }
  }

  /** One field of INFO, as text; undefined if there is none. */
  async info(field: string): Promise<string | undefined> {
    return fieldOf(String(await this.send('INFO')), field)
  }

  /** SIGSTOP: it keeps its connections and answers nobody. */
  pause(): void {
    this.#process?.signal('SIGSTOP')
  }

  /** SIGCONT. */
  resume(): void {
    this.#process?.signal('SIGCONT')
  }

  /** SIGKILL; resolves when it is gone. What it has on disk stays for `restart()`. */
  async kill(): Promise<void> {
    await this.#process?.kill()
  }

  /**
   * Ends it as an operator would (SIGTERM), if it runs, and starts it anew on the same port, from what is on disk: what
   * CONFIG REWRITE has written, too.
   */
  async restart(): Promise<void> {
    this.#process?.signal('SIGCONT')
    this.#process?.signal('SIGTERM')
    await this.#process?.end()
    for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
      if (await this.#run()) return
      await sleep(50)
    }
    throw new Error(`port ${this.#port} is taken:\n${this.log}`)
  }

  /** Kills it, if it runs, and removes what it has on disk. */
  async stop(): Promise<void> {
    await this.#process?.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** What `requirepass` says. */
  get password(): string | undefined {
    const password = this.#options.config?.['requirepass']
    return password === undefined ? undefined : String(password)
  }

  /** Answers false if somebody else has its port. */
  async #run(): Promise<boolean> {
    this.#process = await Guarded.start(this.#command(), this.#folder)
    try {
      await this.#untilReady(this.#process)
      return true
    } catch (error) {
      await this.#process.kill()
      if (PORT_TAKEN.test(this.log)) return false
      throw error
    }
  }

  #command(): string[] {
    const binary = findRedis()
    if (!binary) throw new Error(missingRedis())
    return [binary, this.#configFile, ...(this.#options.sentinel ? ['--sentinel'] : [])]
  }

  get #configFile(): string {
    return join(this.#folder, 'redis.conf')
  }

  #configure(): void {
    const own = { bind: HOST, port: this.#port, dir: this.#folder }
    writeFileSync(this.#configFile, configText({ ...DEFAULTS, ...own, ...this.#options.config }))
  }

  async #untilReady(process: Guarded): Promise<void> {
    const isReady = async () => {
      if (process.hasEnded) return true
      const info = await infoOf(this.#port, this.password)
      // Another process's answer: this one has lost the race for the port and is about to end.
      return fieldOf(info, 'process_id') === String(process.pid) && (fieldOf(info, 'loading') ?? '0') === '0'
    }
    await until(isReady, 'a redis-server that answers', START_TIMEOUT_MS)
    if (process.hasEnded) throw new Error(`redis-server does not start:\n${process.log}`)
  }
}

function configText(config: RedisConfig): string {
  const lines = Object.entries(config).flatMap(([name, value]) =>
    [value].flat().map((value) => `${name} ${value === '' ? '""' : value}\n`),
  )
  return lines.join('')
}

function fieldOf(info: string, field: string): string | undefined {
  return new RegExp(`^${field}:(.*?)\r?$`, 'm').exec(info)?.[1]
}

/** What INFO answers, or as much of it as came before the connection failed. */
function infoOf(port: number, password: string | undefined): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect({ port, host: HOST, timeout: PROBE_TIMEOUT_MS })
    socket.setEncoding('utf8')
    socket.on('error', () => undefined)
    socket.on('timeout', () => socket.destroy())
    socket.on('data', (text) => {
      answer += text
    })
    socket.on('close', () => resolve(answer))
    socket.end(`${password === undefined ? '' : `AUTH ${JSON.stringify(password)}\r\n`}INFO\r\n`)
  })
}

/** Starts a redis-server of its own on a free port; ready to answer. */
export function startRedis(options?: RedisServerOptions): Promise<RedisServer> {
  return RedisServer.start(options)
}

export interface SharedRedis {
  readonly url: string
  /** Whether the tests have started it; else it is that of REDIS_URL, which may hold anything else, too. */
  readonly isOwn: boolean
  /** A prefix of keys that nobody else has. */
  readonly prefix: string
}

let shared: Promise<SharedRedis> | undefined

/**
 * A server for the tests of one file that need no more than a server: that of REDIS_URL if it is set. It must not be
 * configured, flushed, stopped or counted on to be empty.
 */
export function sharedRedis(): Promise<SharedRedis> {
  shared ??= findShared()
  return shared
}

async function findShared(): Promise<SharedRedis> {
  const prefix = `test-${randomBytes(6).toString('hex')}`
  const url = process.env['REDIS_URL']
  if (url) return { url, isOwn: false, prefix }
  return { url: (await startRedis()).url, isOwn: true, prefix }
}
