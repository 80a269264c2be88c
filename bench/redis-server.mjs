// A Redis server for one job.

import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'

const START_ATTEMPTS = 3

/** Nothing if there is none on this machine. @returns {string | undefined} */
export function redisVersion() {
  const { status, stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  return status === 0 ? (/v=(\S+)/.exec(stdout)?.[1] ?? 'of unknown version') : undefined
}

/** Keeps nothing on disk. It is of this job's process group, and ends with it. */
export async function startRedis() {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const server = await start(port)
    if (server !== undefined) return { port, stop: () => server.kill('SIGKILL') }
    if (attempt === START_ATTEMPTS) throw new Error('redis-server did not start')
  }
}

/** Nothing if it ended at once: somebody may have taken the port meanwhile. @param {number} port */
async function start(port) {
  const settings = { port, bind: '127.0.0.1', save: '', appendonly: 'no', dir: tmpdir() }
  const server = spawn(
    'redis-server',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = new Promise((resolve) => server.once('exit', () => resolve(false)))
  const ready = new Promise((resolve) => {
    server.stdout.setEncoding('utf8').on('data', (text) => {
      if (text.includes('Ready to accept connections')) resolve(true)
    })
  })
  return (await Promise.race([ready, ended])) === true ? server : undefined
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
      server.close(() => resolve(port))
    })
  })
}
