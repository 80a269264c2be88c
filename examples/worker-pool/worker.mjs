// A thread of the pool. It asks the limiter itself, because only it knows what a document costs: its pages are counted
// once it has been opened. That takes no message to anybody.

import { pbkdf2Sync } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { Limiter } from 'sluice'

/** @typedef {{ customer: string, document: string }} Job */
/** @typedef {{ pages: number, allowed: boolean, retryAfterMs: number }} Result */

const limiter = Limiter.attach(workerData.limiter) // the same table as in the main thread, not a copy

/** @param {string} page */
function render(page) {
  return pbkdf2Sync(page, 'stands for the work of a real renderer', 300, 32, 'sha256')
}

parentPort?.on('message', (/** @type {Job} */ { customer, document }) => {
  const pages = document.split('\f')
  const { allowed, retryAfterMs } = limiter.consume(customer, pages.length)
  if (allowed) pages.forEach(render)
  parentPort?.postMessage({ pages: pages.length, allowed, retryAfterMs })
})
