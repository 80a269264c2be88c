// One line that says how far we are. Overwritten on a terminal, repeated now and then elsewhere.

const QUIET_MS = 5000

export class Progress {
  #startMs = performance.now()
  #lastMs = -Infinity
  #done = 0
  #doneSeconds = 0
  #count
  #totalSeconds

  /** @param {number} count of jobs @param {number} totalSeconds guessed for all of them */
  constructor(count, totalSeconds) {
    this.#count = count
    this.#totalSeconds = totalSeconds
  }

  /** @param {string} name of the job that starts */
  start(name) {
    const nowMs = performance.now()
    const text = `case ${this.#done + 1} of ${this.#count}, about ${this.#secondsLeft(nowMs)} s left: ${name}`
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${text}`)
    } else if (nowMs - this.#lastMs > QUIET_MS) {
      process.stderr.write(`${text}\n`)
      this.#lastMs = nowMs
    }
  }

  /** @param {number} seconds guessed for the job that ended */
  end(seconds) {
    this.#done++
    this.#doneSeconds += seconds
  }

  clear() {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  }

  /** The guess for the rest, corrected by how long the jobs so far took. @param {number} nowMs */
  #secondsLeft(nowMs) {
    const left = this.#totalSeconds - this.#doneSeconds
    const pace = this.#doneSeconds === 0 ? 1 : (nowMs - this.#startMs) / 1000 / this.#doneSeconds
    return Math.round(left * pace)
  }
}
