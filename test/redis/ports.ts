import { once } from 'node:events'
import { createServer } from 'node:net'

// Below the ports that systems give to outgoing connections, so that a stopped server finds its port free again. A
// node of a cluster listens on the port that is 10,000 above, too.
const LOWEST = 10_100
const COUNT = 12_600
export const BUS_OFFSET = 10_000

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** A port that nobody listens on, at this moment. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * COUNT)
    if ((await isFree(port)) && (await isFree(port + BUS_OFFSET))) return port
  }
}
