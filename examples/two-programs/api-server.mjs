// One of two programs that have nothing in common but a quota: a web server that asks a partner's API for each of its
// own requests. It owns the quota: what it says is the limit.
//
//   node examples/two-programs/api-server.mjs     (PORT, PARTNER_URL)
//   node examples/two-programs/demo.mjs           runs both programs against a partner that counts

import { createServer } from 'node:http'
import { Limiter } from 'sluice'

const { PORT = '3000', PARTNER_URL = 'http://127.0.0.1:4000', LIMITER_NAME = 'partner-quota' } = process.env

const quota = new Limiter({
  limit: 100, // calls a second, of all our programs together
  windowMs: 1000,
  burst: 20,
  maxKeys: 100,
  shared: LIMITER_NAME,
})

const server = createServer(async (_, response) => {
  const decision = quota.consume('partner')
  if (!decision.allowed) {
    response.statusCode = 503
    response.setHeader('retry-after', Math.ceil(decision.retryAfterMs / 1000))
    response.end('try again later\n')
    return
  }
  try {
    const answer = await fetch(PARTNER_URL)
    response.writeHead(answer.status).end(await answer.text())
  } catch {
    response.writeHead(502).end('the partner does not answer\n')
  }
})

server.listen(Number(PORT), () => {
  const address = server.address()
  console.log(`listens on port ${typeof address === 'object' ? address?.port : address}`)
})
