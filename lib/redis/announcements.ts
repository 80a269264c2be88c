import type { RedisClient } from './client'
import { Courier } from './courier'
import { Subscriber, type Subscription } from './subscriber'

export interface AnnouncementsOptions {
  /** Whether to hear what others announce, for which a connection is made. Default true. */
  readonly listens?: boolean
  /** Between two looks at whether the connection still answers: the shortest of all on the client. Default 5000. */
  readonly checkMs?: number
  /** It is heard again, or not any more. */
  readonly onChange?: (isHeard: boolean) => void
}

/** What is announced of all keys. */
const ALL = '*'
const PUBLISH_TIMEOUT_MS = 1000
const CHECK_MS = 5000

/**
 * Tells other hosts that what they may remember of a key is not true any more, and hears it of them: the Redis key, or `*`, on
 * the channel `<prefix>:denials`. Hearing takes a connection, one for all of a client. Whatever is announced while that is
 * lost is not heard, so once it is back, all is to be forgotten.
 */
export class Announcements {
  readonly #client: RedisClient
  readonly #channel: string
  readonly #onForget: (key: string | undefined) => void
  readonly #onChange: ((isHeard: boolean) => void) | undefined
  readonly #subscription: Subscription | undefined

  /** @param onForget of that Redis key, or of all; what it throws is ignored */
  constructor(
    client: RedisClient,
    prefix: string,
    onForget: (key: string | undefined) => void,
    { listens = true, checkMs = CHECK_MS, onChange }: AnnouncementsOptions = {},
  ) {
    this.#client = client
    this.#channel = `${prefix}:denials`
    this.#onForget = onForget
    this.#onChange = onChange
    if (!listens) return
    this.#subscription = Subscriber.of(client).listen(this.#channel, {
      checkMs,
      onMessage: (key) => this.#forget(key === ALL ? undefined : key),
      onChange: (isHeard) => this.#change(isHeard),
    })
  }

  /** Whether what others announce is heard. */
  get isHeard(): boolean {
    return this.#subscription?.isHeard ?? false
  }

  /** Tells all hosts that listen, this one included. Whether it comes through is not known. @param key all if it is absent */
  publish(key: string | undefined): void {
    const message = [this.#channel, key ?? ALL]
    Courier.of(this.#client).command('PUBLISH', message, PUBLISH_TIMEOUT_MS).catch(ignore)
  }

  close(): void {
    this.#subscription?.close()
  }

  #change(isHeard: boolean): void {
    if (isHeard) this.#forget(undefined)
    this.#onChange?.(isHeard)
  }

  #forget(key: string | undefined): void {
    try {
      this.#onForget(key)
    } catch {
      // A clock of the user's, say, which calls will tell of.
    }
  }
}

function ignore(): void {}
