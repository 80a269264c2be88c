// A process of a server under PM2, in cluster mode: see ecosystem.config.cjs. Runs by itself too.
//
//   node examples/pm2/server.mjs     (PORT, REQUESTS_PER_SECOND)
//   node examples/pm2/demo.mjs       reloads it under load, as PM2 does, and counts

import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { Limiter } from 'sluice'

const {
  PORT = '3000',
  REQUESTS_PER_SECOND = '50',
  LIMITER_NAME = 'pm2-example',
  NODE_APP_INSTANCE = '0', // set by PM2
} = process.env

const limiter = new Limiter({
  limit: Number(REQUESTS_PER_SECOND), // of each client, in all processes together
  windowMs: 1000,
  burst: 100,
  maxKeys: 100_000,
  shared: {
    name: LIMITER_NAME,
    // A release may come with another limit. The first of its processes changes it for the old ones too, and what
    // clients have spent stays spent.
    changePolicy: true,
  },
})

const server = createServer((request, response) => {
  // In earnest: a key that you have checked. One that the client may choose freely limits nobody.
  const client = String(request.headers['x-api-key'] ?? request.socket.remoteAddress)
  const decision = limiter.consume(client)
  if (!decision.allowed) {
    response.statusCode = 429
    response.setHeader('retry-after', Math.ceil(decision.retryAfterMs / 1000))
  }
  response.end(decision.allowed ? `hello from instance ${NODE_APP_INSTANCE}\n` : 'too many requests\n')
})

server.listen(Number(PORT), () => {
  const address = server.address()
  console.log(`listens on port ${typeof address === 'object' ? address?.port : address}`)
  process.send?.('ready') // see wait_ready
})

// PM2 asks a process to go with SIGINT, and kills it if it has not gone after 1.6 s. The limiter minds neither; this is
// for the requests under way.
process.once('SIGINT', () => {
  if (cluster.worker) cluster.worker.once('disconnect', () => process.exit(0)).disconnect()
  else server.close()
})
