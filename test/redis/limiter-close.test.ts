import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Redis from 'ioredis'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RedisLimiter, type RedisLimiterOptions } from '../../lib/redis/index'
import { UNHURRIED_MS, useScene } from './limiter-scene'
import { until } from './until'

const run = promisify(execFile)
const root = join(__dirname, '..', '..')
const scene = useScene()
const unhandled: unknown[] = []
const note = (reason: unknown): unknown => unhandled.push(reason)

beforeEach(() => {
  process.on('unhandledRejection', note)
})
afterEach(async () => {
  await new Promise((resolve) => setTimeout(resolve, 5))
  process.off('unhandledRejection', note)
  expect(unhandled.splice(0)).toEqual([])
})

/** How many connections listen to what hosts of this test announce. */
async function listeners(): Promise<number> {
  const [, count] = (await scene.redis.call('PUBSUB', 'NUMSUB', `${scene.prefix}:denials`)) as [
    string,
    number,
  ]
  return count
}

/** How many hosts this test has. */
function hosts(): Promise<number> {
  return scene.redis.zcard(`${scene.prefix}:hosts`)
}

async function openListening(options: Partial<RedisLimiterOptions> = {}): Promise<RedisLimiter> {
  const before = await hosts()
  const limiter = scene.openReal({ denyCache: true, ...options })
  await new Promise((resolve) => limiter.on('announcements', resolve))
  await until(async () => (await hosts()) > before, 'the host')
  return limiter
}

describe('close', () => {
  test('leaves nothing of its own, and the client as it was', async () => {
    const connections = async (): Promise<number> =>
      String(await scene.redis.client('LIST'))
        .trim()
        .split('\n').length
    const before = await connections()
    const limiter = await openListening()
    await limiter.allow('k')
    expect(await connections()).toBe(before + 1)
    expect(await limiter.close()).toBeUndefined()
    await until(async () => (await connections()) === before, 'the end of the connection')
    expect([await listeners(), await hosts()]).toEqual([0, 0])
    expect(scene.redis.status).toBe('ready')
    expect(await scene.redis.ping()).toBe('PONG')
    // What was spent counts on.
    expect(await scene.openReal().consume('k')).toMatchObject({ source: 'exact', remaining: 8 })
  })

  test('the other limiters of the client go on, and so do their hosts and subscriptions', async () => {
    const one = await openListening({ limit: 1, windowMs: 60_000 })
    const two = await openListening({ limit: 1, windowMs: 60_000 })
    // On one connection.
    expect([await listeners(), await hosts()]).toEqual([1, 2])
    await two.consumeMany(['k', 'k'])
    await one.close()
    expect([await listeners(), await hosts()]).toEqual([1, 1])
    expect(await two.consume('k')).toMatchObject({ allowed: false, source: 'cache' })
    const three = scene.openReal({ limit: 1, windowMs: 60_000 })
    await three.reset('k')
    await until(() => two.allow('k'), 'the reset is heard of')
  })

  test('twice, and at once, and by await using', async () => {
    const limiter = await openListening()
    await Promise.all([limiter.close(), limiter.close()])
    await limiter.close()
    await limiter[Symbol.asyncDispose]()
    {
      await using other = await openListening()
      expect(await other.allow('k')).toBe(true)
    }
    await until(async () => (await listeners()) === 0, 'the end of the subscription')
    expect(await hosts()).toBe(0)
  })

  test('at once after it was made: nothing comes after it', async () => {
    const limiters = Array.from({ length: 20 }, () => scene.openReal({ denyCache: true }))
    await Promise.all(limiters.map((limiter) => limiter.close()))
    await scene.redis.ping()
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect([await listeners(), await hosts()]).toEqual([0, 0])
  })

  test('calls on their way are answered, and counted in Redis', async () => {
    const limiter = await openListening({ limit: 1000, windowMs: 60_000 })
    const calls = Array.from({ length: 300 }, (_, i) =>
      i % 2 === 0 ? limiter.allow('k') : limiter.consume('k'),
    )
    const corrections = [
      limiter.refund('k', 0),
      limiter.penalize('k', 5),
      limiter.reset('other'),
      limiter.block('b', 5),
    ]
    const closing = limiter.close()
    const late = expect(limiter.allow('k')).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    const answers = await Promise.all(calls)
    for (const answer of answers) {
      if (typeof answer === 'boolean') expect(answer).toBe(true)
      else expect(answer).toMatchObject({ allowed: true, source: 'exact' })
    }
    expect(await Promise.all(corrections)).toEqual([0, 5, false, true])
    await Promise.all([closing, late])
    const { remaining } = await scene.openReal({ limit: 1000, windowMs: 60_000 }).peek('k')
    expect(remaining).toBeGreaterThanOrEqual(695)
    expect(remaining).toBeLessThan(720)
  })

  test('whoever waits is told', async () => {
    const limiter = scene.open({ limit: 1, windowMs: 60_000 })
    await limiter.allow('k')
    const waits = [limiter.wait('k'), limiter.wait('k', 1, { priority: 5 }), limiter.wait('other key', 1)]
    const told = Promise.allSettled(waits)
    await waits[2]
    await limiter.close()
    const [first, second] = await told
    for (const wait of [first, second])
      expect(wait).toMatchObject({ status: 'rejected', reason: { code: 'ERR_SLUICE_CLOSED' } })
    expect(await scene.open({ limit: 1, windowMs: 60_000 }).peek('k')).toMatchObject({
      remaining: 0,
      resetAfterMs: 60_000,
    })
  })

  test.each(['exact', 'leased'] as const)(
    'of a client that has no connection any more (%s)',
    async (mode) => {
      const client = scene.connect()
      const limiter = scene.openReal({ client, mode, denyCache: true, timeoutMs: 200, limit: 1000 })
      for (let i = 0; i < 50; i++) await limiter.allow('k')
      client.disconnect()
      await limiter.close()
      await until(async () => (await listeners()) === 0, 'the end of the subscription')
    },
  )

  test('while the server stands still: it takes no longer than a call may', async () => {
    const limiter = await openListening({ timeoutMs: 200, onUnavailable: 'deny', limit: 5 })
    scene.server.pause()
    try {
      const calls = [limiter.consume('k'), limiter.consume('k')]
      const sinceMs = performance.now()
      await limiter.close()
      expect(performance.now() - sinceMs).toBeLessThan(5000)
      for (const decision of await Promise.all(calls)) expect(decision).toMatchObject({ source: 'closed' })
    } finally {
      scene.server.resume()
    }
  })

  test('a constructor that throws leaves nothing behind', async () => {
    const client = new Redis(scene.server.url, { lazyConnect: true })
    const bad: object[] = [
      { tiers: { paid: { limit: 0 } } },
      { tiers: { paid: { windowMs: 0.0001 } } },
      { prefix: '' },
      { clock: () => Number.NaN },
    ]
    for (const options of bad) {
      const open = (): RedisLimiter =>
        new RedisLimiter({
          client,
          prefix: scene.prefix,
          limit: 1,
          windowMs: 1000,
          timeoutMs: UNHURRIED_MS,
          ...options,
        })
      expect(open).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ERR_SLUICE_/) }))
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(client.status).toBe('wait')
    expect([await listeners(), await hosts()]).toEqual([0, 0])
    client.disconnect()
  })
})

describe('a process', () => {
  const options = `{ client, prefix: process.argv[2], limit: 100, windowMs: 60000, timeoutMs: 20000, mode: process.argv[3] }`
  const uses = `
    const { Redis } = require('ioredis')
    const { RedisLimiter } = require('./dist/redis/index.js')
    const client = new Redis(process.argv[1])
    const limiter = new RedisLimiter(${options})
    limiter.on('announcements', async (isConnected) => {
      if (!isConnected) return
      for (let i = 0; i < 50; i++) await limiter.allow('k')
      await limiter.consumeMany(['d', 'd'], { cost: 100 })
      console.log((await limiter.consume('k')).allowed)
      await finish()
    })`

  /** Ends by itself, or is killed and fails. */
  async function output(mode: string, finish: string): Promise<string> {
    const code = `${uses}\nasync function finish() { ${finish} }`
    const args = ['-e', code, scene.server.url, scene.prefix, mode]
    return (await run(process.execPath, args, { cwd: root, timeout: 20_000 })).stdout
  }

  test.each(['exact', 'leased'])(
    'ends by itself once the limiter is closed and the client has quit (%s)',
    async (mode) => {
      expect(await output(mode, 'await limiter.close(); await client.quit(); console.log("done")')).toBe(
        'true\ndone\n',
      )
      expect([await listeners(), await hosts()]).toEqual([0, 0])
    },
  )

  test('whose client goes first ends, too', async () => {
    expect(await output('exact', 'await client.quit(); await limiter.close(); console.log("done")')).toBe(
      'true\ndone\n',
    )
  })

  test('that forgets to close is not kept alive', async () => {
    expect(await output('exact', 'client.disconnect(); console.log("done")')).toBe('true\ndone\n')
  })
})
