import type { Readable } from 'node:stream'

/** What a command reads and writes: the process's own streams, or a test's. */
export interface CliIo {
  stdin: Readable & { isTTY?: boolean }
  stdout: { write(text: string): unknown; columns?: number }
  stderr: { write(text: string): unknown }
}

/** Runs a command with the arguments after its name. Resolves to the exit code: 0, or 2 for bad usage or input. */
export type RunCommand = (args: readonly string[], io: CliIo) => Promise<number>

/** An entry of the command table. The module of a command is loaded when the command is run. */
export interface Command {
  name: string
  summary: string
  load(): Promise<RunCommand>
}
