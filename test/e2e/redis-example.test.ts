import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findRedis } from '../../scripts/find-redis.mjs'
import { sharedRedis } from '../redis/servers'
import { until } from '../redis/until'

const demo = join(__dirname, '../../examples/redis/demo.mjs')
const folders: string[] = []
const started: ChildProcess[] = []

/** A folder of its own for each demo, which makes that of its server in it. */
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-example-test-'))
  folders.push(folder)
  return folder
}

/** @returns the demo, in a group of its own, with a server that it starts itself unless `env` says otherwise */
function start(folder: string, env: Record<string, string> = {}, ...args: string[]) {
  const child = spawn(process.execPath, [demo, ...args], {
    env: { ...process.env, REDIS_URL: '', TMPDIR: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  started.push(child)
  return child
}

/** To its end. */
async function run(folder: string, env: Record<string, string> = {}, ...args: string[]) {
  const startMs = performance.now()
  const child = start(folder, env, ...args)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  return { code, output, child, wallMs: performance.now() - startMs }
}

/** Neither its server, whose folder goes last, nor its hosts, which are in its group. */
async function nothingIsLeft(folder: string, child: ChildProcess): Promise<void> {
  await until(() => readdirSync(folder).length === 0, 'the folder of the server to go')
  await until(() => !isAlive(-child.pid!), 'the hosts to end')
  started.splice(started.indexOf(child), 1)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

interface Row {
  title: string
  asked: number
  admitted: { exact: number; lease: number; local: number }
  refused: { exact: number; cache: number; local: number }
}

/** The lines of the table: two for each phase. */
function rowsOf(output: string): Row[] {
  let title = ''
  return output.split('\n').flatMap((line) => {
    const match = /^(\S.*?)? +host \d +([\d -]+?) +[\d.]+ ms$/.exec(line)
    if (match === null) return []
    title = match[1] ?? title
    const cells = match[2]!.split(/ +/).map((cell) => (cell === '-' ? 0 : Number(cell)))
    const [asked, admitted, exact, lease, local, refused, refusedExact, cache, refusedLocal] = cells as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ]
    expect(exact + lease + local, line).toBe(admitted)
    expect(refusedExact + cache + refusedLocal, line).toBe(refused)
    return [
      {
        title,
        asked,
        admitted: { exact, lease, local },
        refused: { exact: refusedExact, cache, local: refusedLocal },
      },
    ]
  })
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Checks the arithmetic of such a line. @returns how many were admitted */
function verdict(output: string, begin: string, wallMs: number): number {
  const match = new RegExp(
    `^${begin} admitted (\\d+); .* (\\d+) \\+ (\\d+) a second, in ([\\d.]+) ms at most (\\d+): OK$`,
    'm',
  ).exec(output)
  expect(match, output).not.toBeNull()
  const [admitted, burst, perSecond, elapsedMs, atMost] = match!.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ]
  expect(elapsedMs).toBeLessThan(wallMs)
  expect(atMost).toBe(Math.floor(burst + (perSecond * elapsedMs) / 1000))
  expect(admitted).toBeLessThanOrEqual(atMost)
  return admitted
}

beforeAll(() => {
  expect(findRedis(), 'a redis-server').toBeDefined()
})
afterAll(() => {
  for (const { pid } of started) {
    try {
      process.kill(-pid!, 'SIGKILL')
    } catch {
      // It has ended, and all that it started.
    }
  }
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

describe.concurrent('the demo of Redis', () => {
  test.each(['exact', 'leased'])(
    'in mode %s: two hosts share a limit, go on without Redis, and come back',
    async (mode) => {
      const folder = newFolder()
      const { code, output, child, wallMs } = await run(
        folder,
        {},
        ...(mode === 'leased' ? ['--leased'] : []),
      )
      expect(code, output).toBe(0)
      expect(output).toContain(`(mode ${mode})`)
      const rows = rowsOf(output)
      const titles = ['Redis answers', 'Redis does not', 'until it does', 'Redis answers']
      expect(rows.map(({ title }) => title)).toEqual(titles.flatMap((title) => [title, title]))
      const shared = sum(rows.map(({ admitted }) => admitted.exact + admitted.lease))
      const alone = sum(rows.slice(2).map(({ admitted }) => admitted.local))
      expect(verdict(output, 'through Redis the hosts', wallMs)).toBe(shared)
      expect(verdict(output, 'alone', wallMs)).toBe(alone)
      for (const { asked } of rows) expect(asked).toBeGreaterThan(0)
      // Each host is answered, stands for itself while Redis does not answer, and is answered again.
      for (const i of [0, 1, 6, 7]) expect(rows[i]!.admitted.exact).toBeGreaterThan(0)
      for (const i of [2, 3]) expect(rows[i]!.admitted.local).toBeGreaterThan(0)
      for (const host of ['host 1', 'host 2']) {
        expect(output).toMatch(
          new RegExp(`${host} stops asking Redis for a while: Redis did not answer within 100 ms`),
        )
        expect(output).toContain(`${host} is answered by Redis again`)
        expect(output).toContain(`${host} tells Redis what it admitted alone`)
      }
      await nothingIsLeft(folder, child)
    },
    60_000,
  )

  test('on a server of the user, which is not stopped', async () => {
    const { url } = await sharedRedis()
    const folder = newFolder()
    const { code, output, child, wallMs } = await run(folder, { REDIS_URL: url })
    expect(code, output).toBe(0)
    expect(verdict(output, 'through Redis the hosts', wallMs)).toBeGreaterThanOrEqual(200)
    expect(output).toContain('REDIS_URL is set: that server is not stopped')
    expect(rowsOf(output)).toHaveLength(2)
    await nothingIsLeft(folder, child)
  }, 60_000)

  test('says what is missing', async () => {
    const [folder, bin] = [newFolder(), newFolder()]
    const none = await run(folder, { PATH: bin })
    expect(none).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^found neither redis-server nor valkey-server.*\n$/),
    })
    // With a server of either name it goes on.
    symlinkSync(findRedis()!, join(bin, 'valkey-server'))
    symlinkSync('/bin/rm', join(bin, 'rm'))
    const child = start(folder, { PATH: bin })
    const [line] = await once(createInterface({ input: child.stdout }), 'line')
    expect(line).toContain('two hosts, one limit in Redis')
    child.kill('SIGTERM')
    expect((await once(child, 'exit'))[0]).toBe(1)
    await nothingIsLeft(folder, child)
  }, 60_000)
})

describe.concurrent('a demo of Redis that is interrupted', () => {
  test.each([
    ['by Ctrl-C', 'SIGINT', true],
    ['by a signal to itself alone', 'SIGTERM', false],
    ['by SIGKILL', 'SIGKILL', false],
  ] as const)(
    '%s while its server stands still leaves nothing running',
    async (_how, name, toGroup) => {
      const folder = newFolder()
      const child = start(folder)
      for await (const line of createInterface({ input: child.stdout })) {
        if (/stops asking/.test(line)) process.kill(toGroup ? -child.pid! : child.pid!, name)
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      expect(child.exitCode).not.toBe(0)
      await nothingIsLeft(folder, child)
    },
    60_000,
  )
})
