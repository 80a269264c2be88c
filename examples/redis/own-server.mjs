// A redis-server (or valkey-server) for the time of the demo: on a socket in a folder of its own, storing nothing.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// The shell stays beside the server, and ends it when its input ends: when this process does, however that comes about.
const guard = `
for program in redis-server valkey-server; do
  if command -v $program >/dev/null; then
    $program --port 0 --unixsocket "$1/redis.sock" --save '' --appendonly no --dir "$1" >/dev/null 2>&1 &
    echo $!
    exec >&- 2>/dev/null
    read line
    kill -9 $!
    wait $!
    rm -rf "$1"
    exit
  fi
done`

/** @returns {Promise<{ url: string, pause: () => void, resume: () => void, stop: () => Promise<unknown> } | undefined>} nothing if no server is installed */
export async function startServer() {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-redis-example-'))
  const shell = spawn('/bin/sh', ['-c', guard, 'guard', folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true, // Ctrl-C is for the demo, which ends it then
  })
  shell.stdin.on('error', () => {})
  const end = once(shell, 'close')
  let text = ''
  for await (const chunk of shell.stdout) text += chunk
  const pid = Number(text)
  if (!(pid > 0)) {
    await end
    rmSync(folder, { recursive: true, force: true })
    return undefined
  }
  return {
    url: join(folder, 'redis.sock'),
    pause: () => process.kill(pid, 'SIGSTOP'),
    resume: () => process.kill(pid, 'SIGCONT'),
    stop: () => {
      shell.stdin.end()
      return end
    },
  }
}
