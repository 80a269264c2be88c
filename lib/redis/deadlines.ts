/** Something that must be over by a certain time. The links are its list's. */
export abstract class Due {
  dueMs = 0
  before: Due | undefined
  after: Due | undefined
  isListed = false

  abstract readonly timeoutMs: number
}

/** All that is not over yet, and one timer for each timeout that is in use. Keeps the process alive only while something is due. */
export class Deadlines<Item extends Due> {
  readonly #queues = new Map<number, Queue<Item>>()
  readonly #expire: (items: Item[], timeoutMs: number) => void

  /** @param expire called with those whose time is up, when they are no longer listed */
  constructor(expire: (items: Item[], timeoutMs: number) => void) {
    this.#expire = expire
  }

  /** Its time has begun at `startMs` of `performance.now()`. */
  add(item: Item, startMs: number): void {
    let queue = this.#queues.get(item.timeoutMs)
    if (queue === undefined) {
      const { timeoutMs } = item
      const forget = (): unknown => this.#queues.delete(timeoutMs)
      queue = new Queue<Item>(timeoutMs, (items) => this.#expire(items, timeoutMs), forget)
      this.#queues.set(timeoutMs, queue)
    }
    queue.add(item, startMs)
  }

  remove(item: Item): void {
    if (item.isListed) this.#queues.get(item.timeoutMs)?.remove(item)
  }

  /** Removes and returns all. */
  drain(): Item[] {
    return [...this.#queues.values()].flatMap((queue) => queue.takeUntil(Number.POSITIVE_INFINITY))
  }
}

/** Those of one timeout, and so in the order of their times. */
class Queue<Item extends Due> {
  readonly #timeoutMs: number
  readonly #expire: (items: Item[]) => void
  readonly #onIdle: () => void
  #first: Item | undefined
  #last: Item | undefined
  #timer: NodeJS.Timeout | undefined
  /** For when the timer is set; long ago once it rings. */
  #ringsMs = 0

  /** @param onIdle called when nothing is due and no timer runs */
  constructor(timeoutMs: number, expire: (items: Item[]) => void, onIdle: () => void) {
    this.#timeoutMs = timeoutMs
    this.#expire = expire
    this.#onIdle = onIdle
  }

  add(item: Item, startMs: number): void {
    item.dueMs = startMs + this.#timeoutMs
    item.isListed = true
    // Nearly always the last one.
    let before: Due | undefined = this.#last
    while (before !== undefined && before.dueMs > item.dueMs) before = before.before
    const after = before === undefined ? this.#first : before.after
    this.#join(before, item)
    this.#join(item, after)
    if (before !== undefined) return
    if (this.#timer === undefined || item.dueMs < this.#ringsMs) this.#arm()
    else this.#timer.ref()
  }

  remove(item: Item): void {
    this.#join(item.before, item.after)
    item.isListed = false
    item.before = undefined
    item.after = undefined
    if (this.#first === undefined) this.#timer?.unref()
  }

  takeUntil(ms: number): Item[] {
    const taken: Item[] = []
    while (this.#first !== undefined && this.#first.dueMs <= ms) {
      taken.push(this.#first)
      this.remove(this.#first)
    }
    return taken
  }

  #join(before: Due | undefined, after: Due | undefined): void {
    if (before === undefined) this.#first = after as Item | undefined
    else before.after = after
    if (after === undefined) this.#last = before as Item | undefined
    else after.before = before
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#ringsMs = (this.#first as Item).dueMs
    this.#timer = setTimeout(() => {
      this.#ringsMs = Number.NEGATIVE_INFINITY
      // What has arrived while the event loop was blocked is read before anything is called late.
      setImmediate(() => this.#ring())
    }, this.#ringsMs - performance.now())
  }

  #ring(): void {
    const items = this.takeUntil(performance.now())
    this.#timer = undefined
    if (this.#first === undefined) this.#onIdle()
    else this.#arm()
    if (items.length > 0) this.#expire(items)
  }
}
