/** Receives one line: bytes[start, end), without its line end. The bytes are valid during the call only. */
export type OnLine = (bytes: Buffer, start: number, end: number, lineNumber: number) => void

/** Bytes kept of a line that spans chunks. Servers cap a request far below; what is cut off is user agent or noise. */
export const MAX_LINE_BYTES = 1024 * 1024

const NEWLINE = 0x0a
const RETURN = 0x0d

/** Cuts chunks of bytes into lines. A line ends with LF, CR LF or the end of the input. */
export class LineSplitter {
  /** Lines seen so far. */
  lines = 0
  readonly #onLine: OnLine
  #kept: Buffer[] = []
  #keptBytes = 0
  #open = false

  constructor(onLine: OnLine) {
    this.#onLine = onLine
  }

  /** Takes the next chunk and calls back for every line that ends in it. */
  push(chunk: Buffer): void {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (this.#open) {
        this.#keep(chunk.subarray(start, end))
        this.#emitKept()
      } else {
        this.#emit(chunk, start, end)
      }
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start))
  }

  /** Says that the input has ended: calls back for a last line without a line end. */
  end(): void {
    if (this.#open) this.#emitKept()
  }

  #keep(part: Buffer): void {
    this.#open = true
    const bytes = Math.min(part.length, MAX_LINE_BYTES - this.#keptBytes)
    if (bytes === 0) return
    this.#kept.push(part.subarray(0, bytes))
    this.#keptBytes += bytes
  }

  #emitKept(): void {
    const line = Buffer.concat(this.#kept, this.#keptBytes)
    this.#kept = []
    this.#keptBytes = 0
    this.#open = false
    this.#emit(line, 0, line.length)
  }

  #emit(bytes: Buffer, start: number, end: number): void {
    this.lines++
    this.#onLine(bytes, start, end > start && bytes[end - 1] === RETURN ? end - 1 : end, this.lines)
  }
}
