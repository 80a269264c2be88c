import type { LocalShare } from './local-share'
import type { Spent } from './spent-record'
import { isSurelyNotDone } from './transport-error'

/** How many are on their way at once: a Redis that has just come back is not to be stormed. */
const AT_ONCE = 128

export interface Report {
  /** What was told: tokens, of how many keys. */
  readonly tokens: number
  readonly keys: number
  /** Tokens of which nobody knows whether Redis has counted them, and those that the share lost count of. */
  readonly lostTokens: number
  /** Whether there is something to tell another time. */
  readonly isLeft: boolean
}

/**
 * Tells Redis, one batch after the other, what the host's share has admitted. What was certainly not done is kept for another
 * time; what may have been done is not told again, as it would be charged twice.
 */
export async function reportSpent(share: LocalShare, tell: (spent: Spent) => Promise<void>): Promise<Report> {
  const { spent, lostTokens } = share.takeSpent()
  const report = { tokens: 0, keys: 0, lostTokens, isLeft: false }
  const keep = (entry: Spent): void => {
    share.record(entry, entry.key, entry.tokens)
    report.isLeft = true
  }
  while (spent.length > 0) {
    const batch = spent.splice(0, AT_ONCE)
    const results = await Promise.allSettled(batch.map(tell))
    let unknown = 0
    results.forEach((result, i) => {
      const entry = batch[i] as Spent
      if (result.status === 'fulfilled') {
        report.tokens += entry.tokens
        report.keys++
      } else if (isSurelyNotDone(result.reason)) keep(entry)
      else {
        unknown++
        report.lostTokens += entry.tokens
      }
    })
    // Redis is too slow, or gone again.
    if (unknown === batch.length) spent.splice(0).forEach(keep)
  }
  return report
}
