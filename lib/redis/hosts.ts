import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'

/** What the heartbeat needs of a `Courier`. */
export interface Commander {
  command(name: string, args: readonly string[], timeoutMs: number): Promise<unknown>
}

export interface HostsOptions {
  /** Of all keys. */
  readonly prefix: string
  /** How many there are at least. */
  readonly least: number
  /** What the processes of this machine share: together they are one host. */
  readonly shared?: string | undefined
  /** Default: one that no other has; with `shared`, that of the machine. */
  readonly id?: string
  /** Between two beats. Default 5000. Of all hosts the same. */
  readonly everyMs?: number
  /** Of a beat. Default 1000. */
  readonly timeoutMs?: number
  readonly onChange?: (count: number) => void
}

const BEATS = 3
/** A beat that failed is tried again so much sooner. */
const SOONER = 5
/** How far a beat may be off either way, so that hosts do not beat together. */
const JITTER = 0.1

let script: string | undefined

/**
 * How many hosts share the limits of a prefix. Each says every few seconds that it is there, in a sorted set that has a TTL;
 * who has not been heard of for three beats does not count. While Redis does not answer, the count stays as it was.
 */
export class Hosts {
  readonly #commander: Commander
  readonly #key: string
  readonly #id: string
  readonly #least: number
  readonly #everyMs: number
  readonly #timeoutMs: number
  readonly #isShared: boolean
  readonly #onChange: ((count: number) => void) | undefined
  /** What the last beats were answered. */
  #latest: readonly number[] = []
  #timer: NodeJS.Timeout | undefined
  #isRunning = false

  constructor(commander: Commander, options: HostsOptions) {
    const { prefix, least, shared, id, everyMs = 5000, timeoutMs = 1000, onChange } = options
    this.#commander = commander
    this.#key = `${prefix}:hosts`
    this.#id = id ?? (shared === undefined ? `${hostname()}/${randomUUID()}` : machineId(shared))
    this.#least = least
    this.#everyMs = everyMs
    this.#timeoutMs = timeoutMs
    this.#isShared = shared !== undefined
    this.#onChange = onChange
  }

  /** As far as is known: at least 1, and `least`. */
  get count(): number {
    // One that falls is believed when no beat has said more: a Redis that has lost its data begins to count anew.
    return Math.max(...this.#latest, this.#least, 1)
  }

  /** Begins to beat. */
  start(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    void this.#beat()
  }

  /** Beats no more, and does not count any more. (Of `shared` hosts only time tells that no process is left.) Never rejects. */
  async stop(): Promise<void> {
    if (!this.#isRunning) return
    this.#isRunning = false
    clearTimeout(this.#timer)
    if (this.#isShared) return
    try {
      await this.#tell('leave')
    } catch {
      // It is dropped when three beats are missing.
    }
  }

  /** Never rejects. */
  async #beat(): Promise<void> {
    let isHeard = false
    try {
      const count = Number(await this.#tell('join'))
      isHeard = true
      // Stopped while the beat was under way, which has put the host back.
      if (!this.#isRunning && !this.#isShared) await this.#tell('leave')
      this.#learn(count)
    } catch {
      // The count stays as it was.
    }
    if (!this.#isRunning) return
    const delayMs = this.#everyMs * (1 + JITTER * (2 * Math.random() - 1))
    this.#timer = setTimeout(() => void this.#beat(), isHeard ? delayMs : delayMs / SOONER)
    this.#timer.unref()
  }

  #learn(count: number): void {
    const before = this.count
    if (Number.isSafeInteger(count)) this.#latest = [...this.#latest, count].slice(-BEATS)
    if (this.#isRunning && this.count !== before) this.#onChange?.(this.count)
  }

  #tell(what: 'join' | 'leave'): Promise<unknown> {
    script ??= readFileSync(path.join(__dirname, 'scripts', 'hosts.lua'), 'utf8')
    const lifeMs = String(BEATS * this.#everyMs)
    return this.#commander.command('EVAL', [script, '1', this.#key, this.#id, lifeMs, what], this.#timeoutMs)
  }
}

/** The same in all processes that can share memory; another one on other machines. */
function machineId(shared: string): string {
  return `${hostname()}/${bootId()}/${shared}`
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
