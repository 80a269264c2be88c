// Does to server.mjs, without PM2, what `pm2 start` and `pm2 reload` do to it: processes of node:cluster, replaced one
// after the other under load; then once more for a release with a higher limit. Compares what all of them admitted
// with what the limits allow. Takes three seconds; exit code 0 if they were obeyed, 1 if not.

import cluster from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Limiter } from 'sluice'
import { startClients } from '../cluster/clients.mjs'
import { removeLimiter } from '../cluster/remove-limiter.mjs'

const name = `pm2-example-${process.pid}` // of this run only

const interruption = new AbortController()
const { signal } = interruption
process.once('SIGINT', () => interruption.abort())

cluster.setupPrimary({
  exec: fileURLToPath(new URL('server.mjs', import.meta.url)),
  stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
})
let port = 0
cluster.on('listening', (_, address) => {
  port = address.port
})

/** @typedef {{ process: import('node:child_process').ChildProcess, end: Promise<string> }} Instance */

/** @param {number} index @param {number} perSecond @returns {Promise<Instance>} once it is ready */
async function start(index, perSecond) {
  const worker = cluster.fork({
    NODE_APP_INSTANCE: String(index),
    PORT: '0',
    REQUESTS_PER_SECOND: String(perSecond),
    LIMITER_NAME: name,
  })
  worker.on('error', () => {}) // a connection was being handed to it when it went
  /** @type {Promise<string>} */
  const ready = new Promise((resolve) => worker.once('message', () => resolve('ready')))
  /** @type {Promise<string>} */
  const end = new Promise((resolve) => worker.once('exit', () => resolve('ended')))
  if ((await Promise.race([ready, end])) === 'ended') throw new Error('a process ended without being asked')
  return { process: worker.process, end }
}

/** @param {Instance} instance */
async function stop(instance) {
  instance.process.kill('SIGINT')
  await instance.end
}

/** @param {Instance[]} instances @param {number} perSecond */
async function reload(instances, perSecond) {
  for (const [index, old] of instances.entries()) {
    instances[index] = await start(index, perSecond)
    await stop(old)
  }
  console.log(`reloaded ${instances.length} processes, with ${perSecond} a second`)
}

/** @param {Instance[]} instances */
async function run(instances) {
  while (instances.length < 2) instances.push(await start(instances.length, 50))
  const startMs = performance.now()
  const clients = startClients(`http://127.0.0.1:${port}`, 8, signal)
  await delay(800, undefined, { signal })
  await reload(instances, 50)
  await delay(400, undefined, { signal })
  const raiseMs = performance.now()
  await reload(instances, 80)
  await delay(800, undefined, { signal })
  const { admitted, denied, lost } = await clients.stop()
  const limiter = Limiter.attach(name) // to look at it
  const { allowed } = limiter.stats()
  const endMs = performance.now()
  limiter.close()

  const atMost = Math.floor(100 + 0.05 * (raiseMs - startMs) + 0.08 * (endMs - raiseMs))
  const obeyed = allowed <= atMost && admitted <= allowed && allowed >= 100
  console.log(`clients saw ${admitted} admitted, ${denied} denied, ${lost} without an answer`)
  console.log(
    `together admitted ${allowed}; the limits allow 100 + 50 a second for ${(raiseMs - startMs).toFixed(3)} ms, 80 a second for ${(endMs - raiseMs).toFixed(3)} ms, at most ${atMost}: ${obeyed ? 'OK' : 'VIOLATED'}`,
  )
  return obeyed
}

/** @type {Instance[]} */
const instances = []
try {
  process.exitCode = (await run(instances)) ? 0 : 1
} finally {
  interruption.abort()
  await Promise.all(instances.map(stop))
  removeLimiter(name)
}
