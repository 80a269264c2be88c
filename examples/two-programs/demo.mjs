// Runs the API server and the importer at the same time, against a partner that counts their calls, and compares those
// with the quota. Takes two seconds; exit code 0 if it was obeyed, 1 if not.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Limiter } from 'sluice'
import { removeLimiter } from '../cluster/remove-limiter.mjs'

const name = `partner-quota-${process.pid}` // of this run only
const rows = 100

const calls = { GET: 0, POST: 0 }
const partner = createServer((request, response) => {
  calls[request.method === 'POST' ? 'POST' : 'GET'] += 1
  request.resume()
  response.end('done\n')
})
await once(partner.listen(0, '127.0.0.1'), 'listening')
const partnerAddress = /** @type {import('node:net').AddressInfo} */ (partner.address())

/** @type {{ kill: () => void, end: Promise<unknown> }[]} */
const programs = []
process.once('SIGINT', stopPrograms)

async function stopPrograms() {
  for (const { kill } of programs) kill()
  await Promise.all(programs.map(({ end }) => end))
}

/** @param {string} file */
function startProgram(file) {
  const program = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    env: {
      ...process.env,
      PORT: '0',
      ROWS: String(rows),
      PARTNER_URL: `http://127.0.0.1:${partnerAddress.port}`,
      LIMITER_NAME: name,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  programs.push({ kill: () => program.kill(), end: once(program, 'close') })
  return program
}

/** @param {import('node:child_process').ChildProcessByStdio<null, import('node:stream').Readable, null>} program */
async function firstLine({ stdout }) {
  for await (const line of createInterface({ input: stdout })) return line
  throw new Error('the program ended without a word')
}

/** Asks the API server 50 times a second at most, until told to stop. @param {string} url @param {AbortSignal} stop */
async function visit(url, stop) {
  const seen = { served: 0, refused: 0 }
  while (!stop.aborted) {
    const response = await fetch(url)
    await response.text()
    seen[response.status === 200 ? 'served' : 'refused'] += 1
    await delay(20)
  }
  return seen
}

/** @param {string} url */
async function run(url) {
  const startMs = performance.now()
  console.log('both programs started')
  const importer = new AbortController()
  const [imported, { served, refused }] = await Promise.all([
    firstLine(startProgram('importer.mjs')).finally(() => importer.abort()),
    visit(url, importer.signal),
  ])
  const elapsedMs = performance.now() - startMs

  const limiter = Limiter.attach(name) // to look at it
  const { limit, burst = limit, windowMs = 1 } = limiter.policy
  const { allowed } = limiter.stats()
  limiter.close()
  const total = calls.GET + calls.POST
  const atMost = Math.floor(burst + (limit / windowMs) * elapsedMs)
  const obeyed =
    total <= atMost && total === allowed && calls.GET === served && calls.POST === rows && refused === 0
  console.log(`importer: ${imported}`)
  console.log(`API server: ${served} visits served, ${refused} refused`)
  console.log(
    `together ${total} calls to the partner; the quota allows ${burst} + ${limit} a second, in ${elapsedMs.toFixed(3)} ms at most ${atMost}: ${obeyed ? 'OK' : 'VIOLATED'}`,
  )
  return obeyed
}

try {
  const [, port] = /listens on port (\d+)/.exec(await firstLine(startProgram('api-server.mjs'))) ?? []
  process.exitCode = (await run(`http://127.0.0.1:${port}`)) ? 0 : 1
} finally {
  await stopPrograms()
  partner.closeAllConnections()
  partner.close()
  removeLimiter(name)
}
