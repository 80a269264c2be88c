// The server process: an HTTP server with two routes that do the same work. /limited asks the limiter first.

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { Limiter } from 'sluice'
import { Audit } from './audit.mjs'
import { measureDecisionCost } from './decision-cost.mjs'
import { answerParent } from './parent-line.mjs'
import { policy } from './plan.mjs'

const limiter = new Limiter({ ...policy, maxKeys: 10_000 })
const audit = new Audit()
const page = Buffer.alloc(128 * 1024, 'sluice')

/** @param {import('node:http').ServerResponse} response */
function servePage(response) {
  // Stands for the work of a real handler.
  const digest = createHash('sha256').update(page).digest('hex')
  response.writeHead(200, { 'content-type': 'text/plain' }).end(digest)
}

/** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
function serveLimited(request, response) {
  const client = String(request.headers['x-client-id'])
  const beforeMs = performance.now()
  const decision = limiter.consume(client)
  audit.record(client, beforeMs, performance.now(), decision.allowed)
  if (decision.allowed) return servePage(response)
  const retryAfter = String(Math.ceil(decision.retryAfterMs / 1000))
  response
    .writeHead(429, { 'content-type': 'text/plain', 'retry-after': retryAfter })
    .end('too many requests')
}

const server = createServer((request, response) => {
  if (request.url === '/limited') serveLimited(request, response)
  else if (request.url === '/open') servePage(response)
  else response.writeHead(404).end()
})
server.keepAliveTimeout = 120_000 // idle connections of a phase without the abuser stay open

/** @returns {Promise<number>} the port */
function listen() {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : 0)
    })
  })
}

const port = await listen()

answerParent({
  port: () => port,
  endPhase: () => audit.endPhase(),
  measureCost: () => measureDecisionCost(),
  stats: () => limiter.stats(),
})
