// The progress line on stderr: rewritten in place on a terminal, one line per phase elsewhere.

export class Progress {
  #isTerminal = process.stderr.isTTY === true
  #title = ''
  #startMs = performance.now()

  /** @param {string} line */
  note(line) {
    this.clear()
    process.stderr.write(`${line}\n`)
  }

  /** @param {string} title */
  startPhase(title) {
    this.#title = title
    if (this.#isTerminal) this.update(0)
    else this.note(`${this.#seconds()} ${title}`)
  }

  /** @param {number} requests answered so far in this phase */
  update(requests) {
    if (!this.#isTerminal) return
    const count = requests === 0 ? '' : `, ${requests.toLocaleString('en-US')} requests`
    process.stderr.write(`\r\x1b[K${this.#seconds()} ${this.#title}${count}`)
  }

  /** Leaves an empty line on a terminal. */
  clear() {
    if (this.#isTerminal) process.stderr.write('\r\x1b[K')
  }

  #seconds() {
    return `[${((performance.now() - this.#startMs) / 1000).toFixed(1).padStart(4)} s]`
  }
}
