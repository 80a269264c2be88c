import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, test } from 'vitest'

const examples = join(__dirname, '../../examples')

const started: ChildProcess[] = []
const names: string[] = []

/** A process in a group of its own, so that whatever it leaves behind ends with the test. */
function start(file: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(examples, file)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  started.push(child)
  return child
}

/** A demo, to its end. `limiter`: what the name of its limiter begins with. */
async function run(file: string, limiter?: string) {
  const startMs = performance.now()
  const child = start(file)
  const name = `${limiter}-${child.pid}`
  if (limiter !== undefined) names.push(name)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  return { code, output, wallMs: performance.now() - startMs, name }
}

function regions(): string[] {
  return readdirSync('/dev/shm').filter((file) => file.startsWith('sluice.'))
}

/** The numbers in the groups of `pattern`. */
function numbersIn(output: string, pattern: RegExp): number[] {
  const match = pattern.exec(output)
  expect(match, `${pattern} in ${output}`).not.toBeNull()
  return match!.slice(1).map(Number)
}

afterEach(() => {
  for (const { pid } of started.splice(0)) {
    try {
      process.kill(-pid!, 'SIGKILL')
    } catch {
      // It has ended, and all that it started.
    }
  }
  for (const name of names.splice(0)) rmSync(`/dev/shm/sluice.${name}`, { force: true })
})

describe('the demo of', () => {
  test('cluster: workers that are killed and replaced keep one limit', async () => {
    const { code, output, wallMs, name } = await run('cluster/demo.mjs', 'cluster-example')
    expect(code, output).toBe(0)
    const [admitted, burst, perSecond, elapsedMs, atMost] = numbersIn(
      output,
      /together admitted (\d+); the limit allows (\d+) \+ (\d+) a second, in ([\d.]+) ms at most (\d+): OK/,
    ) as [number, number, number, number, number]
    expect(elapsedMs).toBeLessThan(wallMs)
    expect(atMost).toBe(Math.floor(burst + (perSecond * elapsedMs) / 1000))
    expect(admitted).toBeLessThanOrEqual(atMost)
    expect(admitted).toBeGreaterThanOrEqual(burst)
    expect(output.match(/killed under load/g)?.length).toBeGreaterThanOrEqual(2)
    const [seen, denied] = numbersIn(output, /clients saw (\d+) admitted, (\d+) denied/) as [number, number]
    expect(seen).toBeLessThanOrEqual(admitted)
    expect(denied).toBeGreaterThan(0)
    expect(output).toContain(`removed ${name}`)
    expect(regions()).not.toContain(`sluice.${name}`)
  }, 60_000)

  test('worker-pool: threads keep one limit for each customer', async () => {
    const { code, output, wallMs } = await run('worker-pool/demo.mjs')
    expect(code, output).toBe(0)
    const [burst, perSecond] = numbersIn(output, /may have (\d+) pages at once, (\d+) a second/) as [
      number,
      number,
    ]
    for (const customer of ['busy-1', 'busy-2']) {
      const [rendered, refused, elapsedMs] = numbersIn(
        output,
        new RegExp(`${customer}: (\\d+) pages rendered, (\\d+) refused; in ([\\d.]+) ms`),
      ) as [number, number, number]
      expect(elapsedMs).toBeLessThan(wallMs)
      expect(rendered).toBeLessThanOrEqual(Math.floor(burst + (perSecond * elapsedMs) / 1000))
      expect(refused).toBeGreaterThan(0)
    }
    expect(output).toContain('small: 60 pages rendered, 0 refused')
  }, 60_000)

  test('pm2: a reload, and one with another limit, hand nobody a fresh burst', async () => {
    const { code, output, wallMs, name } = await run('pm2/demo.mjs', 'pm2-example')
    expect(code, output).toBe(0)
    const [admitted, burst, firstRate, firstMs, secondRate, secondMs, atMost] = numbersIn(
      output,
      /together admitted (\d+); the limits allow (\d+) \+ (\d+) a second for ([\d.]+) ms, (\d+) a second for ([\d.]+) ms, at most (\d+): OK/,
    ) as [number, number, number, number, number, number, number]
    expect(firstMs + secondMs).toBeLessThan(wallMs)
    expect(atMost).toBe(Math.floor(burst + (firstRate * firstMs + secondRate * secondMs) / 1000))
    expect(admitted).toBeLessThanOrEqual(atMost)
    expect(admitted).toBeGreaterThanOrEqual(burst)
    expect(output).toContain(`removed ${name}`)
    expect(output.match(/reloaded 2 processes/g)).toHaveLength(2)
    expect(regions()).not.toContain(`sluice.${name}`)
  }, 60_000)

  test('two-programs: a web server and an importer spend one quota', async () => {
    const { code, output, wallMs, name } = await run('two-programs/demo.mjs', 'partner-quota')
    expect(code, output).toBe(0)
    const [calls, burst, perSecond, elapsedMs, atMost] = numbersIn(
      output,
      /together (\d+) calls to the partner; the quota allows (\d+) \+ (\d+) a second, in ([\d.]+) ms at most (\d+): OK/,
    ) as [number, number, number, number, number]
    expect(elapsedMs).toBeLessThan(wallMs)
    expect(atMost).toBe(Math.floor(burst + (perSecond * elapsedMs) / 1000))
    expect(calls).toBeLessThanOrEqual(atMost)
    expect(output).toContain(`removed ${name}`)
    const [served, refused] = numbersIn(output, /(\d+) visits served, (\d+) refused/) as [number, number]
    expect(served).toBeGreaterThan(0)
    expect(refused).toBe(0)
    expect(calls).toBe(served + 100)
    expect(regions()).not.toContain(`sluice.${name}`)
  }, 60_000)
})

describe('a demo that is interrupted', () => {
  test.each([
    ['cluster', 'cluster-example', /killed under load/],
    ['pm2', 'pm2-example', /reloaded/],
    ['two-programs', 'partner-quota', /started/],
  ])(
    'of %s leaves no limiter, which takes that its processes have ended',
    async (folder, limiter, when) => {
      const child = start(`${folder}/demo.mjs`)
      names.push(`${limiter}-${child.pid}`)
      for await (const line of createInterface({ input: child.stdout })) {
        // As a terminal does: to all processes of the group.
        if (when.test(line)) process.kill(-child.pid!, 'SIGINT')
      }
      expect(child.exitCode ?? (await once(child, 'exit'))[0]).not.toBe(0)
      expect(regions()).not.toContain(`sluice.${limiter}-${child.pid}`)
    },
    60_000,
  )
})

describe('the server for PM2, run by plain node', () => {
  const name = `e2e-pm2-${process.pid}`

  /** Its address. */
  async function startServer(instance: number): Promise<string> {
    names.push(name)
    const child = start('pm2/server.mjs', {
      LIMITER_NAME: name,
      NODE_APP_INSTANCE: String(instance),
      PORT: '0',
      REQUESTS_PER_SECOND: '1',
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const [port] = numbersIn(line, /listens on port (\d+)/)
      return `http://127.0.0.1:${port}`
    }
    throw new Error('the server ended without a word')
  }

  /** How many of that many requests are admitted, of one client, to these servers in turn. */
  async function admittedOf(requests: number, servers: readonly string[]): Promise<number> {
    let admitted = 0
    for (let i = 0; i < requests; i++) {
      const response = await fetch(servers[i % servers.length]!, { headers: { 'x-api-key': 'one' } })
      await response.text()
      expect([200, 429]).toContain(response.status)
      if (response.status === 429) expect(response.headers.get('retry-after')).toBe('1')
      else admitted += 1
    }
    return admitted
  }

  test('shares one limit among processes, and keeps it when all of them are killed', async () => {
    const startMs = performance.now()
    const servers = [await startServer(0), await startServer(1)]
    const before = await admittedOf(150, servers)
    expect(before).toBeGreaterThanOrEqual(100)
    for (const child of started) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    const after = await admittedOf(50, [await startServer(2)])
    const elapsedS = (performance.now() - startMs) / 1000
    expect(before + after).toBeLessThanOrEqual(Math.floor(100 + elapsedS))
  })
})
