// For the demos: HTTP clients that ask again as soon as they have their answer, on a new connection each time, so that
// all processes of a server get their share of them.

import { setTimeout as delay } from 'node:timers/promises'

/** @typedef {{ admitted: number, denied: number, lost: number }} Seen lost: no answer, the server was killed */

/**
 * @param {string} url @param {number} clients @param {AbortSignal} signal ends them too
 * @returns {{ stop: () => Promise<Seen> }}
 */
export function startClients(url, clients, signal) {
  const seen = { admitted: 0, denied: 0, lost: 0 }
  let isOver = false
  async function ask() {
    try {
      const response = await fetch(url, {
        headers: { 'x-api-key': 'busy', connection: 'close' },
        // A connection that was just being handed to a worker when that was killed is never closed.
        signal: AbortSignal.timeout(500),
      })
      await response.text()
      if (response.status === 200) seen.admitted += 1
      else if (response.status === 429) seen.denied += 1
      else throw new Error(`unexpected status ${response.status}`)
    } catch {
      seen.lost += 1
      await delay(1)
    }
  }
  const all = Array.from({ length: clients }, async () => {
    while (!isOver && !signal.aborted) await ask()
  })
  return {
    async stop() {
      isOver = true
      await Promise.all(all)
      return seen
    },
  }
}
