import { type Algorithm, Limiter, type LimiterOptions, type PolicyVariant } from '../../lib/index'

export const ALGORITHMS = [
  'token-bucket',
  'fixed-window',
  'sliding-window',
  'sliding-log',
  'strict-window',
  'leaky-bucket',
  'concurrency',
] as const satisfies readonly Algorithm[]

/** A policy under which a key can spend so much at once, in a window of 1000 ms. */
export function policyOf(algorithm: Algorithm, capacity: number): PolicyVariant & { limit: number } {
  if (algorithm === 'leaky-bucket') return { limit: capacity, windowMs: 1000, queue: capacity - 1 }
  return { limit: capacity, [algorithm === 'concurrency' ? 'holdMs' : 'windowMs']: 1000 }
}

/** A limiter's options with such a policy of 10. */
export function tenOf(algorithm: Algorithm, more: Partial<LimiterOptions> = {}): LimiterOptions {
  return { algorithm, ...policyOf(algorithm, 10), maxKeys: 100, ...more }
}

/** The first microsecond after 13 twelfths of a second, when the twelfths in which 0 lies counts no more. */
export const PAST_RING_MS = Math.ceil((13 / 12) * 1e6) / 1000

/** Ten spent at time 0: how long until one more fits, and until all has come back. */
export const AFTER_TEN: Readonly<Record<Algorithm, { retryAfterMs: number; resetAfterMs: number }>> = {
  'token-bucket': { retryAfterMs: 100, resetAfterMs: 1000 },
  'fixed-window': { retryAfterMs: 1000, resetAfterMs: 1000 },
  // In the next window the ten count for less and less: for nine after a tenth of it.
  'sliding-window': { retryAfterMs: 1100, resetAfterMs: 2000 },
  'sliding-log': { retryAfterMs: 1000, resetAfterMs: 1000 },
  'strict-window': { retryAfterMs: PAST_RING_MS, resetAfterMs: PAST_RING_MS },
  'leaky-bucket': { retryAfterMs: 100, resetAfterMs: 1000 },
  concurrency: { retryAfterMs: PAST_RING_MS, resetAfterMs: PAST_RING_MS },
}

const opened: Limiter[] = []

export function open(options: LimiterOptions): Limiter {
  return kept(new Limiter(options))
}

/** To be closed when the test is over. */
export function kept(limiter: Limiter): Limiter {
  opened.push(limiter)
  return limiter
}

/** For `afterEach`. */
export function closeAll(): void {
  for (const limiter of opened.splice(0)) limiter.close()
}
