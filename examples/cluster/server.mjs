// An HTTP server with a worker on every core, and one limit for all of them together.
//
//   node examples/cluster/server.mjs     (PORT, WORKERS)
//   node examples/cluster/demo.mjs       puts load on it, kills its workers, and counts
//
// The limiter has a name, so every process that makes it gets the same one: same keys, same counts, no message sent.
// It outlives its processes: a worker that is killed and restarted, or a restart of the whole server, hands nobody a
// fresh burst. It stays until the machine restarts, or until `npx sluice remove cluster-example`.

import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { availableParallelism } from 'node:os'
import { Limiter } from 'sluice'

const { PORT = '3000', WORKERS = availableParallelism(), LIMITER_NAME = 'cluster-example' } = process.env

// The primary makes it too, and first: a wrong option ends the start here, not in every worker.
const limiter = new Limiter({
  limit: 50, // requests a second of each client
  windowMs: 1000,
  burst: 100,
  maxKeys: 100_000,
  shared: LIMITER_NAME,
})

/** @type {import('node:http').RequestListener} */
function answer(request, response) {
  // In earnest: a key that you have checked. One that the client may choose freely limits nobody.
  const client = String(request.headers['x-api-key'] ?? request.socket.remoteAddress)
  const decision = limiter.consume(client)
  if (!decision.allowed) {
    response.statusCode = 429
    response.setHeader('retry-after', Math.ceil(decision.retryAfterMs / 1000))
  }
  response.end(decision.allowed ? 'hello\n' : 'too many requests\n')
}

function startWorker() {
  // The error: a connection was being handed to a worker that has just died.
  cluster.fork().on('error', () => {})
}

if (cluster.isPrimary) {
  for (let i = 0; i < Number(WORKERS); i++) startWorker()
  cluster.on('listening', ({ process: { pid } }, { port }) =>
    console.log(`worker ${pid} listens on port ${port}`),
  )
  cluster.on('exit', startWorker)
} else {
  createServer(answer).listen(Number(PORT))
}
