import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'

/**
 * A shell stands between this process and the program. It waits for a line, or for the end of its input, which comes
 * when this process ends, however it ends; then it kills the program, waits until it is gone, and removes the folder.
 */
const GUARD = `dir=$1; shift
"$@" 2>&1 &
echo $! >&2
exec >&- 2>&-
read line
kill -9 $!
wait $!
[ "$line" = keep ] || rm -rf "$dir"`

const LOG_CHARACTERS = 8192

/**
 * Those whose guard waits. They end as well when the process that has forked this one ends: a worker of vitest goes on
 * when vitest itself is killed.
 */
const running = new Set<Guarded>()
process.once('disconnect', () => {
  for (const guarded of running) void guarded.stop()
})

/** A program that ends no later than this process. */
export class Guarded {
  /** Resolves when the program has ended, whatever the reason. */
  readonly ended: Promise<unknown>
  readonly #guard: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #folder: string
  #hasEnded = false
  #pid = 0
  #log = ''

  private constructor(command: string[], folder: string) {
    // A session of its own: Ctrl-C in a terminal reaches neither the guard nor the program.
    this.#guard = spawn('/bin/sh', ['-c', GUARD, 'guard', folder, ...command], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    })
    this.#folder = folder
    const { stdin, stdout } = this.#guard
    stdin.on('error', () => undefined)
    // Its output ends with it: then the guard may go, and with it what the system still keeps of the program.
    stdout.setEncoding('utf8').on('data', (text) => {
      this.#log = (this.#log + text).slice(-LOG_CHARACTERS)
    })
    stdout.once('end', () => stdin.end('keep\n'))
    running.add(this)
    this.ended = once(this.#guard, 'close').finally(() => {
      this.#hasEnded = true
      running.delete(this)
    })
    this.ended.catch(() => undefined)
  }

  /** Starts it in a folder, which is removed by `stop()` and at the end of this process. */
  static async start(command: string[], folder: string): Promise<Guarded> {
    const guarded = new Guarded(command, folder)
    const [line] = await Promise.race([
      once(guarded.#guard.stderr.setEncoding('utf8'), 'data'),
      guarded.ended.then(() => ['']),
    ])
    guarded.#pid = Number(line)
    if (!(guarded.#pid > 0)) throw new Error(`cannot start ${command.join(' ')}: ${line}`)
    guarded.#detach()
    return guarded
  }

  /** Nothing of it keeps this process alive. */
  #detach(): void {
    const { stdin, stdout, stderr } = this.#guard
    for (const end of [this.#guard, stdin, stdout, stderr] as unknown as { unref(): void }[]) end.unref()
  }

  get pid(): number {
    return this.#pid
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** The end of what it has written, errors too. */
  get log(): string {
    return this.#log
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#hasEnded) process.kill(this.#pid, signal)
  }

  /** Kills it, if it still runs; its folder stays. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.end()
  }

  /** Waits until it has ended by itself; its folder stays. */
  async end(): Promise<void> {
    this.#guard.ref()
    await this.ended
  }

  /** Kills it, if it still runs, and removes its folder. */
  async stop(): Promise<void> {
    this.#guard.ref()
    this.#guard.stdin.end()
    await this.ended
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
