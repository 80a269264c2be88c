// Several threads or processes that do the same thing at the same time.

import cluster from 'node:cluster'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { nowNs } from './now.mjs'

/**
 * @typedef {import('./crew-member.mjs').Task} Task
 * @typedef {import('./crew-member.mjs').Decide} Decide
 * @typedef {import('./crew-member.mjs').Race} Race
 * @typedef {import('./crew-member.mjs').Reply} Reply
 * @typedef {'threads' | 'processes'} CrewKind
 *
 * One thread or process, as this one sees it.
 * @typedef {object} Member
 * @property {(message: unknown) => void} send
 * @property {() => void} stop
 */

const memberFile = new URL('crew-member.mjs', import.meta.url)
/** So long before they begin, members are told to; by then each is awake and waits for the moment. */
const NOTICE_NS = 10e6
const PATIENCE_MS = 60_000

export class Crew {
  #stopped = false
  /** @type {Member[]} */
  #members = []
  /** For each member, who waits for its answer. @type {({ resolve(reply: Reply): void, reject(error: Error): void } | undefined)[]} */
  #waiting = []

  /** @param {CrewKind} kind */
  constructor(kind) {
    this.kind = kind
  }

  /** All of them listen when this returns. @param {CrewKind} kind @param {number} size @param {URL} [processFile] what processes run */
  static async start(kind, size, processFile = memberFile) {
    const crew = new Crew(kind)
    if (kind === 'processes') cluster.setupPrimary({ exec: fileURLToPath(processFile) })
    const ready = []
    for (let i = 0; i < size; i++) {
      ready.push(crew.#answerOf(i))
      crew.#members.push(kind === 'threads' ? crew.#thread(i) : crew.#process(i))
    }
    await Promise.all(ready)
    return crew
  }

  get size() {
    return this.#members.length
  }

  /** Gives each member its task; nothing else happens until all have answered. @param {(index: number) => Task} taskOf */
  all(taskOf) {
    return Promise.all(this.#members.map((_, index) => this.#ask(index, taskOf(index))))
  }

  /** Those members do the task, all from the same moment on. @param {number[]} indices @param {Decide | Race} task */
  together(indices, task) {
    const startNs = nowNs() + NOTICE_NS
    return Promise.all(indices.map((index) => this.#ask(index, { ...task, startNs })))
  }

  /** One does its task while the others are idle. @param {number} index @param {Task | import('./redis-member.mjs').Prepare} task */
  one(index, task) {
    return this.#ask(index, task)
  }

  stop() {
    this.#stopped = true
    for (const member of this.#members) member.stop()
  }

  /** @param {number} index @param {Task | import('./redis-member.mjs').Prepare} task */
  #ask(index, task) {
    const answer = this.#answerOf(index)
    this.#members[index]?.send(task)
    return answer
  }

  /** What the member says next. @param {number} index @returns {Promise<Reply>} */
  #answerOf(index) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`member ${index} did not answer within ${PATIENCE_MS / 1000} s`)),
        PATIENCE_MS,
      )
      const settle = (/** @type {() => void} */ how) => {
        clearTimeout(timer)
        how()
      }
      this.#waiting[index] = {
        resolve: (reply) => settle(() => resolve(reply)),
        reject: (error) => settle(() => reject(error)),
      }
    })
  }

  /** @param {number} index @returns {Member} */
  #thread(index) {
    const thread = new Worker(memberFile)
    thread.on('message', (message) => this.#answer(index, message))
    thread.on('error', (error) => this.#waiting[index]?.reject(error))
    return { send: (message) => thread.postMessage(message), stop: () => void thread.terminate() }
  }

  /** @param {number} index @returns {Member} */
  #process(index) {
    const worker = cluster.fork()
    worker.on('message', (message) => this.#answer(index, message))
    worker.on('exit', (code, signal) => {
      if (!this.#stopped)
        this.#waiting[index]?.reject(new Error(`member ${index} ended (${signal ?? `exit code ${code}`})`))
    })
    return {
      send: (message) => worker.send(/** @type {object} */ (message)),
      stop: () => worker.process.kill('SIGKILL'),
    }
  }

  /** Rivals send messages of their own over the same channel. @param {number} index @param {{ reply?: Reply }} message */
  #answer(index, { reply }) {
    if (reply !== undefined) this.#waiting[index]?.resolve(reply)
  }
}
