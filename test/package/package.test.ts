import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = join(__dirname, '..', '..')
const CALLS = `
const clock = new ManualClock()
const limiter = new Limiter({ limit: 2, windowMs: 1000, clock })
console.log([limiter.allow('a'), limiter.allow('a'), limiter.allow('a')].join())
limiter.close()
`
const PRINTED = 'true,true,false\n'

const TYPED = `
import { Limiter, LimitSet, type Decision, type Key, type Lease, type Reservation, type SetDecision } from 'sluice'
const limiter: Limiter = new Limiter({ algorithm: 'fixed-window', limit: 1, windowMs: 1000 })
const held: Limiter = new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: 1000 })
const key: Key = new Uint8Array(4)
const decision: Decision = limiter.tier('paid').consume(key, 2, { partial: true })
export const seconds: number = Math.ceil((decision.retryAfterMs + decision.delayMs) / 1000)
const lease: Lease = held.acquire(key)
const reservation: Reservation = limiter.reserve(key, 5, 1000, { maxDebt: 1 })
const set = new LimitSet([limiter, { name: 'held', limiter: held }])
const answer: SetDecision = set.consume([key, 7], [1, 2])
export const told: [boolean, number, string | undefined] = [lease.release(), reservation.settle(3), answer.limitedBy]
export const waiting: Promise<Lease> = held.waitForLease(key, 1, { maxWaitMs: 5 })
export const again: Limiter = Limiter.restore(limiter.dump())
// @ts-expect-error no such algorithm
new Limiter({ algorithm: 'fixed-windows', limit: 1, windowMs: 1000 })
// @ts-expect-error no such option
new Limiter({ limit: 1, windowMs: 1000, brust: 1 })
// @ts-expect-error no key
limiter.allow(undefined)
// @ts-expect-error no keys
set.allow([undefined, key])
`

/** The tarball as users get it, unpacked into a project that has nothing else. */
describe('the packed tarball', () => {
  const project = mkdtempSync(join(tmpdir(), 'sluice-package-'))
  const installed = join(project, 'node_modules', 'sluice')
  let files: string[] = []

  function write(name: string, text: string): string {
    const path = join(project, name)
    writeFileSync(path, text)
    return path
  }
  function run(...args: string[]): string {
    return execFileSync(process.execPath, args, { cwd: project, encoding: 'utf8' })
  }

  beforeAll(() => {
    const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', project], {
      cwd: root,
      encoding: 'utf8',
    })
    const [tarball] = JSON.parse(packed.slice(packed.search(/^\[/m))) as [
      { filename: string; files: { path: string }[] },
    ]
    files = tarball.files.map(({ path }) => path)
    mkdirSync(installed, { recursive: true })
    execFileSync('tar', ['-xzf', join(project, tarball.filename), '-C', installed, '--strip-components=1'])
    write('package.json', '{ "private": true }')
  }, 300_000)
  afterAll(() => rmSync(project, { recursive: true, force: true }))

  test('carries a binary and no build file, and runs nothing on install', () => {
    expect(files.filter((path) => path.endsWith('.node'))).not.toEqual([])
    const others = files.filter((path) => path !== 'bench/METHOD.md')
    expect(others.filter((path) => /\.gyp$|^native\/|^test\/|^bench\/|^lib\//.test(path))).toEqual([])
    const { scripts, gypfile, dependencies } = JSON.parse(
      readFileSync(join(installed, 'package.json'), 'utf8'),
    )
    expect([scripts.preinstall, scripts.install, scripts.postinstall, dependencies]).toEqual(
      Array(4).fill(undefined),
    )
    expect(gypfile).toBe(false)
  })

  test('require', () => {
    const main = write(
      'main.cjs',
      `const { Limiter } = require('sluice')\nconst { ManualClock } = require('sluice/testing')\n${CALLS}`,
    )
    expect(run(main)).toBe(PRINTED)
  })

  test('import', () => {
    const main = write(
      'main.mjs',
      `import { Limiter } from 'sluice'\nimport { ManualClock } from 'sluice/testing'\n${CALLS}`,
    )
    expect(run(main)).toBe(PRINTED)
  })

  test('both give the same classes', () => {
    const main = write(
      'both.mjs',
      `import { createRequire } from 'node:module'\nimport * as esm from 'sluice'\n
       const cjs = createRequire(import.meta.url)('sluice')\n
       console.log(Object.keys(cjs).every((name) => cjs[name] === esm[name]), Object.keys(cjs).length > 3)`,
    )
    expect(run(main)).toBe('true true\n')
  })

  test('many environments in turn', () => {
    const main = write(
      'workers.mjs',
      `import { once } from 'node:events'\nimport { Worker } from 'node:worker_threads'
       const code = "const { Limiter } = require('sluice'); new Limiter({ limit: 1, windowMs: 1, maxKeys: 10 }).allow('a')"
       for (let i = 0; i < 20; i++) await once(new Worker(code, { eval: true }), 'exit').then(([status]) => { if (status) throw status })
       console.log('done')`,
    )
    expect(run(main)).toBe('done\n')
  })

  test('the command line', () => {
    expect(run(join(installed, 'dist', 'cli', 'main.js'), '--version')).toMatch(/^(sluice )?\d+\.\d+\.\d+\n$/)
  })

  test.each([
    ['commonjs', 'node16', 'main.cts'],
    ['module', 'node16', 'main.mts'],
    ['esnext', 'bundler', 'bundled.ts'],
    ['commonjs', 'node10', 'classic.ts'],
  ])(
    'types: %s, %s resolution',
    (_kind, resolution, name) => {
      const source = TYPED
      const module = resolution === 'node16' ? 'node16' : resolution === 'bundler' ? 'esnext' : 'commonjs'
      const tsc = createRequire(__filename).resolve('typescript/bin/tsc')
      const flags = [
        '--noEmit',
        '--strict',
        '--target',
        'es2022',
        '--module',
        module,
        '--moduleResolution',
        resolution,
      ]
      expect(run(tsc, ...flags, write(name, source))).toBe('')
    },
    60_000,
  )
})
