import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const cli = join(__dirname, '..', '..', 'dist', 'cli', 'main.js')

test('a reader that goes away, as head does, ends replay quietly', async () => {
  const child = spawn(process.execPath, [cli, 'replay', '--limit', '1', '--top', '100000', '--json'])
  const exited = once(child, 'exit')
  let complaints = ''
  child.stderr.on('data', (chunk) => {
    complaints += chunk
  })
  const lines = Array.from({ length: 100_000 }, (_, i) => {
    const client = `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`
    const line = `${client} - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"\n`
    return line + line
  })
  child.stdout.once('data', () => child.stdout.destroy())
  child.stdin.end(lines.join(''))
  const [status] = await exited
  expect([status, complaints]).toEqual([0, ''])
}, 60_000)
