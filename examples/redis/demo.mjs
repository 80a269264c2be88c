// Starts a Redis server and two hosts that share one limit through it, stops the server for two seconds under load, and
// compares what the hosts admitted with what the limit allows. Takes seven seconds; exit code 0 if it was obeyed, 1 if not.
//
//   node examples/redis/demo.mjs              every call is decided in Redis
//   node examples/redis/demo.mjs --leased     hosts borrow tokens, and decide by themselves
//   REDIS_URL=redis://... node examples/redis/demo.mjs      on a server of yours, which is not stopped
//
// Needs ioredis, and redis-server or valkey-server where REDIS_URL is not set.

import { fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startServer } from './own-server.mjs'
import { printHead, printPhase } from './table.mjs'

/** @typedef {import('./table.mjs').Report} Report */

const [burst, perSecond] = [200, 100] // as in host.mjs
const prefix = `redis-example-${process.pid}` // of this run only
const mode = process.argv.includes('--leased') ? 'leased' : 'exact'
const interruption = new AbortController()
const { signal } = interruption
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => interruption.abort())

/** One host, as this process sees it. */
class Host extends EventEmitter {
  state = ''

  /** @param {string} name @param {string} url */
  constructor(name, url) {
    super()
    this.name = name
    this.process = fork(fileURLToPath(new URL('host.mjs', import.meta.url)), {
      env: { ...process.env, REDIS_URL: url, PREFIX: prefix, MODE: mode },
    })
    this.end = once(this.process, 'exit')
    this.process.on('message', (message) => this.#hear(/** @type {any} */ (message)))
    this.end.then(() => this.emit('ended'))
  }

  /** @param {{ state?: string, why?: string, reconciled?: number, report?: Report }} message */
  #hear({ state, why, reconciled, report }) {
    if (state === 'open') console.log(`  ${this.name} stops asking Redis for a while: ${why}`)
    if (state === 'closed' && this.state !== '') console.log(`  ${this.name} is answered by Redis again`)
    if (reconciled !== undefined)
      console.log(`  ${this.name} tells Redis what it admitted alone: ${reconciled}`)
    if (state !== undefined) this.state = state
    if (report !== undefined) this.emit('report', report)
    this.emit('message')
  }

  /** @param {'load' | 'report' | 'stop'} message */
  tell(message) {
    if (this.process.connected) this.process.send(message)
  }

  /** Rejects after ten seconds, or if the process ends. */
  async untilAnswered() {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(10_000)])
    const ended = once(this, 'ended', { signal: inTime }).then(() => {
      throw new Error(`${this.name} has ended`)
    })
    const answered = (async () => {
      while (this.state !== 'closed') await once(this, 'message', { signal: inTime })
    })()
    await Promise.race([ended, answered])
    ended.catch(() => {})
  }

  /** What it did since the last time. @returns {Promise<Report>} */
  async report() {
    const answer = once(this, 'report', { signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]) })
    this.tell('report')
    const [report] = await answer
    return report
  }
}

/** @type {Host[]} */
const hosts = []
/** Admitted in the name of Redis, and, since it was stopped, by the hosts alone. */
const total = { shared: 0, alone: 0 }

/** @param {string} title @returns how many calls Redis has admitted in it */
async function endPhase(title) {
  const reports = await Promise.all(hosts.map((host) => host.report()))
  const shared = reports.reduce((sum, { admitted: { exact = 0, lease = 0 } }) => sum + exact + lease, 0)
  total.shared += shared
  total.alone += reports.reduce((sum, { admitted: { local = 0 } }) => sum + local, 0)
  printPhase(title, reports)
  return shared
}

/** @param {string} what @param {number} admitted @param {string} who @param {number} elapsedMs */
function judge(what, admitted, who, elapsedMs) {
  const atMost = Math.floor(burst + (perSecond / 1000) * elapsedMs)
  const obeyed = admitted <= atMost
  console.log(
    `${what} admitted ${admitted}; ${who} ${burst} + ${perSecond} a second, in ${elapsedMs.toFixed(3)} ms at most ${atMost}: ${obeyed ? 'OK' : 'VIOLATED'}`,
  )
  return obeyed
}

/** @param {NonNullable<Awaited<ReturnType<typeof startServer>>>} server */
async function stopServer(server) {
  server.pause()
  await delay(2000, undefined, { signal })
  await endPhase('Redis does not')
  server.resume()
  await Promise.all(hosts.map((host) => host.untilAnswered()))
  await endPhase('until it does')
  await delay(2000, undefined, { signal })
  const shared = await endPhase('Redis answers')
  return shared > 0
}

/** @param {Awaited<ReturnType<typeof startServer>>} server */
async function run(server) {
  await Promise.all(hosts.map((host) => host.untilAnswered()))
  console.log(
    `two hosts, one limit in Redis: ${perSecond} calls a second, bursts of ${burst}; each asks 1000 times a second (mode ${mode})\n`,
  )
  printHead()
  const startMs = performance.now()
  for (const host of hosts) host.tell('load')
  await delay(2000, undefined, { signal })
  const aloneSinceMs = performance.now()
  await endPhase('Redis answers')
  total.alone = 0
  const hasReturned = server && (await stopServer(server))
  const endMs = performance.now()

  console.log()
  const obeyed = judge('through Redis the hosts', total.shared, 'the limit allows', endMs - startMs)
  if (hasReturned === undefined) {
    console.log('REDIS_URL is set: that server is not stopped')
    return obeyed
  }
  if (!hasReturned) console.log('Redis came back, and nothing was decided there: VIOLATED')
  return judge('alone', total.alone, 'two halves of it allow', endMs - aloneSinceMs) && obeyed && hasReturned
}

async function main() {
  const { REDIS_URL } = process.env
  const server = REDIS_URL ? undefined : await startServer()
  const url = REDIS_URL || server?.url
  if (url === undefined) {
    console.error('found neither redis-server nor valkey-server: install one, or set REDIS_URL')
    return false
  }
  let obeyed = false
  try {
    hosts.push(new Host('host 1', url), new Host('host 2', url))
    obeyed = await run(server)
  } finally {
    server?.resume()
    for (const host of hosts) host.tell('stop')
    const late = setTimeout(() => hosts.map((host) => host.process.kill('SIGKILL')), 5000)
    const codes = await Promise.all(hosts.map(async ({ end }) => (await end)[0]))
    clearTimeout(late)
    await server?.stop()
    if (obeyed && codes.some((code) => code !== 0)) {
      console.log('a host did not end by itself: VIOLATED')
      obeyed = false
    }
  }
  return obeyed
}

try {
  import.meta.resolve('ioredis')
  process.exitCode = (await main()) ? 0 : 1
} catch (error) {
  const { code, name, message } = /** @type {Error & { code?: string }} */ (error)
  process.exitCode = 1
  if (code === 'ERR_MODULE_NOT_FOUND') console.error('needs ioredis: npm install ioredis')
  else if (signal.aborted) console.error('interrupted')
  else if (name === 'AbortError') console.error('Redis does not answer')
  else console.error(message)
}
