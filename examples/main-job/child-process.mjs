// The main process's end of the lines to its children.

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** @typedef {import('./parent-line.mjs').Message} Message */
/** @typedef {{ resolve: (value: any) => void, reject: (error: Error) => void }} Pending */

export class Child {
  #name
  #process
  /** @type {Pending | undefined} */
  #pending
  #onProgress
  /** @type {Promise<void>} */
  #gone

  /** @param {string} file beside this one @param {(sent: number) => void} onProgress */
  constructor(file, onProgress = () => {}) {
    this.#name = file
    this.#onProgress = onProgress
    this.#process = fork(fileURLToPath(new URL(file, import.meta.url)), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#process.on('message', (message) => this.#receive(/** @type {Message} */ (message)))
    this.#gone = new Promise((resolve) => {
      this.#process.once('exit', (code, signal) => {
        this.#settle((pending) => pending.reject(new Error(`${file} ended early (${signal ?? code})`)))
        resolve()
      })
    })
  }

  /**
   * Calls a handler of the child. One call at a time.
   * @template T
   * @param {string} call @param {unknown} argument
   * @returns {Promise<T>}
   */
  ask(call, argument = null) {
    return new Promise((resolve, reject) => {
      if (this.#pending) throw new Error(`${this.#name} is still busy`)
      this.#pending = { resolve, reject }
      this.#process.send({ call, argument }, (error) => {
        if (error) this.#settle((pending) => pending.reject(error))
      })
    })
  }

  /** Ends the child and waits until it has gone. */
  async stop() {
    if (this.#process.connected) this.#process.disconnect()
    const killer = setTimeout(() => this.#process.kill('SIGKILL'), 1000)
    await this.#gone
    clearTimeout(killer)
  }

  /** @param {Message} message */
  #receive(message) {
    if ('progress' in message) this.#onProgress(message.progress)
    else if ('error' in message) this.#settle((pending) => pending.reject(new Error(message.error)))
    else this.#settle((pending) => pending.resolve(message.result))
  }

  /** @param {(pending: Pending) => void} settle */
  #settle(settle) {
    const pending = this.#pending
    this.#pending = undefined
    if (pending) settle(pending)
  }
}
