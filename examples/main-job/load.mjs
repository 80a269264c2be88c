// A process that plays HTTP clients: paced ones that stay below the limit, or one that asks as fast as it can.

import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { answerParent, reportProgress } from './parent-line.mjs'

/**
 * @typedef {object} Order
 * @property {number} port
 * @property {string} path
 * @property {string[]} clients
 * @property {number} connections per client; each has one request under way at a time
 * @property {number | null} perSecond requests a second of one connection; null: as fast as it can
 * @property {number} seconds
 */
/** @typedef {{ sent: number, admitted: number, denied: number }} Seen */
/** @typedef {{ seen: Record<string, Seen>, latenciesMs: number[] }} LoadResult */

const progressEveryMs = 250
/** One pool of kept-alive connections per client. @type {Map<string, Agent>} */
const agents = new Map()

/** @param {string} client @param {number} connections */
function agentOf(client, connections) {
  let agent = agents.get(client)
  if (!agent) {
    agent = new Agent({ keepAlive: true, maxSockets: connections })
    agents.set(client, agent)
  }
  return agent
}

/**
 * Sends one request and reads the whole answer.
 * @param {Order} order @param {string} client
 * @returns {Promise<number>} the status
 */
function get(order, client) {
  const { port, path, connections } = order
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      path,
      agent: agentOf(client, connections),
      headers: { 'x-client-id': client },
    }
    const outgoing = request(options, (response) => {
      response.resume()
      response.once('end', () => resolve(response.statusCode ?? 0))
      response.once('error', reject)
    })
    outgoing.once('error', reject)
    outgoing.end()
  })
}

/**
 * One connection of one client until the phase ends. A late answer delays the next request; it is not made up for,
 * so a paced client never exceeds its pace.
 * @param {Order} order @param {string} client @param {number} startMs @param {number} endMs @param {LoadResult} result
 */
async function driveConnection(order, client, startMs, endMs, result) {
  const seen = result.seen[client] ?? { sent: 0, admitted: 0, denied: 0 }
  result.seen[client] = seen
  const intervalMs = order.perSecond === null ? 0 : 1000 / order.perSecond
  let dueMs = startMs
  while (dueMs < endMs) {
    const waitMs = dueMs - performance.now()
    if (waitMs > 0) await delay(Math.ceil(waitMs))
    const sentMs = performance.now()
    if (sentMs >= endMs) return
    seen.sent += 1
    const status = await get(order, client)
    result.latenciesMs.push(performance.now() - sentMs)
    if (status === 200) seen.admitted += 1
    else if (status === 429) seen.denied += 1
    else throw new Error(`${client}: unexpected status ${status}`)
    dueMs = intervalMs === 0 ? performance.now() : Math.max(sentMs + intervalMs, performance.now())
  }
}

/** @param {Order} order @returns {Promise<LoadResult>} */
async function drive(order) {
  /** @type {LoadResult} */
  const result = { seen: {}, latenciesMs: [] }
  const startMs = performance.now()
  const endMs = startMs + order.seconds * 1000
  const ticker = setInterval(() => reportProgress(result.latenciesMs.length), progressEveryMs)
  const staggerMs = order.perSecond === null ? 0 : 1000 / order.perSecond / order.clients.length
  const connections = order.clients.flatMap((client, index) =>
    Array.from({ length: order.connections }, () =>
      driveConnection(order, client, startMs + index * staggerMs, endMs, result),
    ),
  )
  try {
    await Promise.all(connections)
  } finally {
    clearInterval(ticker)
  }
  reportProgress(result.latenciesMs.length)
  if (order.perSecond === null) result.latenciesMs = [] // nobody asks how the abuser fares
  return result
}

answerParent({ drive })
