// Puts load on server.mjs, kills each of its workers with SIGKILL meanwhile, and compares what all of them admitted
// together with what the limit allows. Takes three seconds; exit code 0 if it obeyed, 1 if not.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Limiter } from 'sluice'
import { startClients } from './clients.mjs'
import { removeLimiter } from './remove-limiter.mjs'

const name = `cluster-example-${process.pid}` // of this run only
const count = Math.min(Math.max(availableParallelism(), 2), 8)

const server = spawn(process.execPath, [fileURLToPath(new URL('server.mjs', import.meta.url))], {
  env: { ...process.env, PORT: '0', WORKERS: String(count), LIMITER_NAME: name },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const serverHasGone = once(server, 'close')
const interruption = new AbortController()
const { signal } = interruption
process.once('SIGINT', () => interruption.abort())
const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]()

/** @returns {Promise<{ pid: number, port: number }>} the next worker that is ready */
async function nextWorker() {
  const { value } = await lines.next()
  const [, pid, port] = /^worker (\d+) listens on port (\d+)$/.exec(value ?? '') ?? []
  if (pid === undefined) throw new Error(`the server does not start: ${value}`)
  return { pid: Number(pid), port: Number(port) }
}

async function run() {
  const workers = []
  while (workers.length < count) workers.push(await nextWorker())
  const startMs = performance.now()
  const clients = startClients(`http://127.0.0.1:${workers[0]?.port}`, 8, signal)
  for (const { pid } of workers) {
    await delay(2000 / count, undefined, { signal })
    process.kill(pid, 'SIGKILL')
    const successor = await nextWorker()
    console.log(`worker ${pid} killed under load, worker ${successor.pid} in its place`)
  }
  await delay(500, undefined, { signal })
  const { admitted, denied, lost } = await clients.stop()
  const limiter = Limiter.attach(name) // to look at it
  const { limit, burst = limit, windowMs = 1 } = limiter.policy
  const { allowed, processes = [] } = limiter.stats({ perProcess: true })
  const elapsedMs = performance.now() - startMs
  limiter.close()

  const living = processes.filter((each) => each.allowed + each.denied > 0)
  for (const each of living) console.log(`worker ${each.pid} admitted ${each.allowed}, denied ${each.denied}`)
  const byDead = allowed - living.reduce((sum, each) => sum + each.allowed, 0)
  console.log(`workers that were killed admitted ${byDead}`)
  console.log(`clients saw ${admitted} admitted, ${denied} denied, ${lost} without an answer`)
  const atMost = Math.floor(burst + (limit / windowMs) * elapsedMs)
  const obeyed = allowed <= atMost && admitted <= allowed && allowed >= burst
  console.log(
    `together admitted ${allowed}; the limit allows ${burst} + ${limit} a second, in ${elapsedMs.toFixed(3)} ms at most ${atMost}: ${obeyed ? 'OK' : 'VIOLATED'}`,
  )
  return obeyed
}

try {
  process.exitCode = (await run()) ? 0 : 1
} finally {
  interruption.abort()
  server.kill()
  await serverHasGone // and its workers with it
  removeLimiter(name)
}
