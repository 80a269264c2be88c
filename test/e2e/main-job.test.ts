import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const script = join(__dirname, '../../examples/main-job/main.mjs')

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

interface Outcome {
  readonly ok: boolean
  readonly policy: { readonly limit: number; readonly windowMs: number; readonly burst: number }
  readonly clients: readonly {
    readonly client: string
    readonly sent: number
    readonly admitted: number
    readonly denied: number
    readonly allowedAtMost: number
    readonly violations: readonly string[]
  }[]
  readonly latency: Readonly<Record<string, { requests: number; p50Ms: number; p99Ms: number }>>
  readonly cost: { readonly allowNs: number; readonly consumeNs: number }
}

/** Runs the main job to its end. `interruptWhen`: sends SIGINT once stderr matches. */
function runMainJob(args: readonly string[], interruptWhen?: RegExp): Promise<Ended> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  let interrupted = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (interrupted || !interruptWhen?.test(stderr)) return
    interrupted = true
    child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

describe('main job', () => {
  it('gives every client what the policy allows and no more', async () => {
    const { code, stdout, stderr } = await runMainJob(['--json', '--seconds', '2'])
    expect(code, stderr + stdout).toBe(0)
    const outcome: Outcome = JSON.parse(stdout)
    expect(outcome.ok).toBe(true)
    expect(outcome.clients).toHaveLength(9)
    for (const { client, sent, admitted, denied, allowedAtMost, violations } of outcome.clients) {
      expect(violations, client).toEqual([])
      expect(admitted + denied, client).toBe(sent)
      expect(admitted, client).toBeGreaterThan(0)
      expect(admitted, client).toBeLessThanOrEqual(allowedAtMost)
      if (client === 'abuser') expect(denied).toBeGreaterThan(0)
      else expect(denied, client).toBe(0)
    }
    for (const [name, { requests, p50Ms, p99Ms }] of Object.entries(outcome.latency)) {
      expect(requests, name).toBeGreaterThan(0)
      expect(p50Ms, name).toBeGreaterThan(0)
      expect(p99Ms, name).toBeGreaterThanOrEqual(p50Ms)
    }
    expect(outcome.cost.allowNs).toBeGreaterThan(0)
    expect(outcome.cost.consumeNs).toBeGreaterThan(0)
  }, 60_000)

  it('prints a table with a verdict per client', async () => {
    const { code, stdout, stderr } = await runMainJob(['--seconds', '1'])
    expect(code, stderr + stdout).toBe(0)
    expect(stdout).toMatch(/client-8 .* OK\n/)
    expect(stdout).toMatch(/abuser .* OK\n/)
    expect(stdout).toMatch(/cost per decision +allow \d+ ns, consume \d+ ns/)
    expect(stderr).toContain('phase 1 of')
  }, 60_000)

  it.each([
    ['--seconds', '0'],
    ['--seconds', 'soon'],
    ['--secnds', '3'],
  ])('refuses %s %s with one line and exit code 2', async (...args) => {
    const { code, stdout, stderr } = await runMainJob(args)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(stderr).toContain(args[0])
  })

  it('leaves nothing running when interrupted', async () => {
    const { code, stderr } = await runMainJob(['--seconds', '30'], /phase 3 of/)
    expect(code, stderr).toBe(130)
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(stderr)?.[1])
    expect(await canConnect(port)).toBe(false)
  }, 60_000)
})
