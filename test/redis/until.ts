import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 5

/** Waits until a condition holds. A condition that throws does not hold yet. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 20_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  let failure: unknown
  while (performance.now() < deadlineMs) {
    try {
      if (await condition()) return
      failure = undefined
    } catch (error) {
      failure = error
    }
    await sleep(POLL_MS)
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: failure })
}
