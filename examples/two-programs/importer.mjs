// The other program: a batch job that sends rows to the same partner. It does not say what the quota is; it takes part in
// the one that there is. It has time, so it waits for its turn, and leaves visitors of the API server a reserve.
//
//   node examples/two-programs/importer.mjs     (ROWS, PARTNER_URL)

import { setTimeout as delay } from 'node:timers/promises'
import { Limiter } from 'sluice'

const { PARTNER_URL = 'http://127.0.0.1:4000', LIMITER_NAME = 'partner-quota', ROWS = '1000' } = process.env

// Throws ERR_SLUICE_SHARED_NOT_FOUND if the API server has never run since the machine's start. A program that must not
// depend on that makes the limiter as the API server does.
const quota = Limiter.attach(LIMITER_NAME)
// The same calls on the same counts, but as if fewer could be made at once: it stops while there are some left.
const background = quota.with({ burst: 10 })

async function untilAdmitted() {
  for (;;) {
    const { allowed, retryAfterMs } = background.consume('partner')
    if (allowed) return
    await delay(Math.ceil(retryAfterMs))
  }
}

for (let row = 1; row <= Number(ROWS); row++) {
  await untilAdmitted()
  const answer = await fetch(PARTNER_URL, { method: 'POST', body: `row ${row}` })
  if (!answer.ok) throw new Error(`the partner answered ${answer.status}`)
}
console.log(`imported ${ROWS} rows`)
