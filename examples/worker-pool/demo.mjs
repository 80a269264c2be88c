// A pool of worker threads that renders documents, with a limit on the pages of each customer in all threads together.
// The limiter is handed to the threads as a handle; it has no name, lives in the memory of this process and ends with
// it. Takes two seconds; exit code 0 if every customer got what the limit allows, and no more, 1 if not.

import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { Limiter } from 'sluice'

/** @typedef {import('./worker.mjs').Job} Job */
/** @typedef {import('./worker.mjs').Result} Result */

const policy = { limit: 400, windowMs: 1000, burst: 200 } // pages a second of each customer
const limiter = new Limiter({ ...policy, maxKeys: 10_000 })
const threads = Array.from({ length: Math.max(availableParallelism(), 2) }, () => {
  return new Worker(new URL('worker.mjs', import.meta.url), { workerData: { limiter: limiter.handle() } })
})

// Two customers send more than they may. The third sends 20 documents of 3 pages, and is not to notice them.
const smallJobs = 20
const customers = ['busy-1', 'busy-2', 'small']
const counts = Object.fromEntries(customers.map((customer) => [customer, { rendered: 0, refused: 0 }]))
let jobs = 0

/** @returns {Job} */
function nextJob() {
  jobs += 1
  if (jobs % 10 === 0 && jobs <= smallJobs * 10) return { customer: 'small', document: 'a\fb\fc' }
  return { customer: `busy-${1 + (jobs % 2)}`, document: 'page\f'.repeat(jobs % 7) }
}

/** @param {Worker} thread @param {number} endMs */
async function keepBusy(thread, endMs) {
  while (performance.now() < endMs) {
    const job = nextJob()
    thread.postMessage(job)
    const [{ pages, allowed }] = /** @type {[Result]} */ (await once(thread, 'message'))
    const count = counts[job.customer] ?? { rendered: 0, refused: 0 }
    count[allowed ? 'rendered' : 'refused'] += pages
  }
}

const startMs = performance.now()
await Promise.all(threads.map((thread) => keepBusy(thread, startMs + 2000)))
const elapsedMs = performance.now() - startMs
await Promise.all(threads.map((thread) => thread.terminate()))

console.log(
  `${threads.length} threads; each customer may have ${policy.burst} pages at once, ${policy.limit} a second`,
)
const atMost = Math.floor(policy.burst + (policy.limit / policy.windowMs) * elapsedMs)
let obeyed = counts['small']?.refused === 0 && counts['small'].rendered === smallJobs * 3
for (const [customer, { rendered, refused }] of Object.entries(counts)) {
  console.log(
    `${customer}: ${rendered} pages rendered, ${refused} refused; in ${elapsedMs.toFixed(3)} ms at most ${atMost}`,
  )
  obeyed &&= rendered <= atMost
}
limiter.close()
console.log(obeyed ? 'OK' : 'VIOLATED')
process.exitCode = obeyed ? 0 : 1
