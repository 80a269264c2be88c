import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sharedRedis } from '../redis/servers'

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

const REDIS_CALLS = `
const client = new Redis(process.env.REDIS_URL)
const limiter = new RedisLimiter({ client, prefix: process.env.PREFIX, limit: 2, windowMs: 60_000, timeoutMs: 10_000 })
const decisions = []
for (let i = 0; i < 3; i++) decisions.push(await limiter.consume('a'))
console.log(decisions.map(({ allowed, source }) => allowed + ' ' + source).join())
await limiter.reset('a')
await limiter.close()
await client.quit()
`
const REDIS_PRINTED = 'true exact,true exact,false exact\n'

const REDIS_TYPED = `
import { Redis, Cluster } from 'ioredis'
import type { Decision, SetDecision } from 'sluice'
import { RedisLimiter, RedisLimitSet, type RedisLease, type RedisLimiterOptions, type StateChange } from 'sluice/redis'
const options: RedisLimiterOptions = { client: new Redis(), prefix: 'api', limit: 1, windowMs: 1000, onUnavailable: 'deny' }
const limiter: RedisLimiter = new RedisLimiter(options)
const held: RedisLimiter = new RedisLimiter({ client: new Cluster([]), algorithm: 'concurrency', limit: 1, holdMs: 1000 })
export const allowed: Promise<boolean> = limiter.allow('key', 2)
export const decision: Promise<Decision> = limiter.tier('paid').consume(7)
export const lease: Promise<RedisLease> = held.acquire('key')
export const answer: Promise<SetDecision> = new RedisLimitSet([limiter, { name: 'held', limiter: held }]).consume('key')
limiter.on('state', (change: StateChange) => console.log(change.to, change.error?.message))
// @ts-expect-error no client
new RedisLimiter({ limit: 1, windowMs: 1000 })
// @ts-expect-error no such policy
new RedisLimiter({ ...options, onUnavailable: 'block' })
// @ts-expect-error a promise is no answer
if (limiter.allow('key')) console.log()
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
    return runWith({}, ...args)
  }
  function runWith(env: Record<string, string>, ...args: string[]): string {
    const options = { cwd: project, encoding: 'utf8', env: { ...process.env, ...env } } as const
    return execFileSync(process.execPath, args, options)
  }
  function checkTypes(module: string, resolution: string, file: string): string {
    const tsc = createRequire(__filename).resolve('typescript/bin/tsc')
    const flags = ['--noEmit', '--strict', '--target', 'es2022']
    return run(tsc, ...flags, '--module', module, '--moduleResolution', resolution, file)
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
      const module = resolution === 'node16' ? 'node16' : resolution === 'bundler' ? 'esnext' : 'commonjs'
      expect(checkTypes(module, resolution, write(name, TYPED))).toBe('')
    },
    60_000,
  )

  test('the scripts for Redis are in it, all of them, and can be read', () => {
    const names = (listed: readonly string[]) =>
      listed.filter((path) => path.endsWith('.lua')).map((path) => basename(path))
    const sources = readdirSync(join(root, 'lib', 'redis', 'scripts'))
    expect(names(files).sort()).toEqual(names(sources).sort())
    expect(sources.length).toBeGreaterThan(10)
  })

  test('sluice/redis loads where ioredis is not installed', () => {
    const required = write('redis.cjs', `console.log(typeof require('sluice/redis').RedisLimiter)`)
    const imported = write(
      'redis.mjs',
      `import { RedisLimiter } from 'sluice/redis'\nconsole.log(typeof RedisLimiter)`,
    )
    expect([run(required), run(imported)]).toEqual(['function\n', 'function\n'])
    const without = write(
      'without.cjs',
      `const { RedisLimiter } = require('sluice/redis')
       try { new RedisLimiter({ limit: 1, windowMs: 1000 }) } catch ({ code }) { console.log(code) }
       try { require('ioredis') } catch ({ code }) { console.log(code) }`,
    )
    expect(run(without)).toBe('ERR_SLUICE_OPTION_TYPE\nMODULE_NOT_FOUND\n')
  })

  describe('with ioredis', () => {
    beforeAll(() => {
      symlinkSync(join(root, 'node_modules', 'ioredis'), join(project, 'node_modules', 'ioredis'))
    })

    test.each([
      [
        'require',
        'decide.cjs',
        `const { Redis } = require('ioredis'); const { RedisLimiter } = require('sluice/redis')`,
      ],
      [
        'import',
        'decide.mjs',
        `import { Redis } from 'ioredis'; import { RedisLimiter } from 'sluice/redis'`,
      ],
    ])('a real decision, by %s', async (kind, name, head) => {
      const { url, prefix } = await sharedRedis()
      const main = write(name, `${head}\nasync function main() {${REDIS_CALLS}}\nmain()`)
      expect(runWith({ REDIS_URL: url, PREFIX: `${prefix}-${kind}` }, main)).toBe(REDIS_PRINTED)
    })

    test('both ways of loading give the same classes', () => {
      const main = write(
        'redis-both.mjs',
        `import { createRequire } from 'node:module'\nimport * as esm from 'sluice/redis'\n
         const cjs = createRequire(import.meta.url)('sluice/redis')\n
         console.log(Object.keys(cjs).sort().join(), Object.keys(cjs).every((name) => cjs[name] === esm[name]))`,
      )
      expect(run(main)).toBe('RedisLimitSet,RedisLimiter,RedisView true\n')
    })

    test.each([
      ['node16', 'node16', 'redis-types.cts'],
      ['node16', 'node16', 'redis-types.mts'],
      ['esnext', 'bundler', 'redis-types.ts'],
      ['commonjs', 'node10', 'redis-classic.ts'],
    ])(
      'types: %s, %s resolution, %s',
      (module, resolution, name) => {
        expect(checkTypes(module, resolution, write(name, REDIS_TYPED))).toBe('')
      },
      120_000,
    )

    test('its demo', () => {
      const demo = join(installed, 'examples', 'redis', 'demo.mjs')
      expect(runWith({ REDIS_URL: '' }, demo)).toMatch(
        /through Redis the hosts admitted .*: OK\nalone admitted .*: OK\n$/,
      )
    }, 60_000)
  })
})
