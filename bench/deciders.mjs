// What a member of a crew decides with.

import { createRequire } from 'node:module'
import { Limiter } from '../dist/index.mjs'
import { BATCH, KeyPool } from './keys.mjs'

/**
 * @typedef {import('./hand-written.mjs').Policy} Policy
 *
 * Keys drawn from `count` keys, of which the first has number `first`.
 * @typedef {{ count: number, first: number, seed: number }} KeySpec
 *
 * How a limiter is come by: `source` is a handle or a name, or nothing for one of the member's own.
 * @typedef {{ with: 'sluice', source: import('../dist/index.mjs').LimiterHandle | string | undefined, policy: Policy, maxKeys: number, keys: KeySpec }} SluiceSpec
 * @typedef {{ with: 'loop' }} LoopSpec
 * @typedef {{ with: 'cluster' | 'redis-flexible' | 'redis-script', policy: Policy, keys: KeySpec, port: number }} RemoteSpec
 * @typedef {SluiceSpec | LoopSpec | RemoteSpec} DeciderSpec
 *
 * Decides a batch at once, here. @typedef {{ admitted: number, run: () => void, limiter?: Limiter }} LocalDecider
 *
 * Asks somebody else. `decide` is told how many may be under way, and returns how many it decided: one, or all of them
 * if it asks about all together.
 * @typedef {{ admitted: number, decide: (inFlight: number) => Promise<number>, asksTogether: boolean }} RemoteDecider
 * @typedef {LocalDecider | RemoteDecider} Decider
 *
 * What this uses of packages that need not be installed to check types.
 * @typedef {{ consume(key: string): Promise<unknown> }} FlexibleLimiter
 * @typedef {new (options: object) => FlexibleLimiter} FlexibleClass
 * @typedef {{ evalsha(sha: string, keys: number, ...rest: (string | number)[]): Pipeline, exec(): Promise<[Error | null, unknown][]> }} Pipeline
 * @typedef {{ script(command: 'LOAD', text: string): Promise<string>, evalsha(sha: string, keys: number, ...rest: (string | number)[]): Promise<number>, pipeline(): Pipeline }} RedisClient
 */

/** A token bucket in one word, by the server's clock, as such scripts are commonly written. Times in us. */
export const GCRA_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now) + interval
if full - now > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return 1`

const require = createRequire(import.meta.url)

/** @param {DeciderSpec} spec @returns {Promise<Decider>} */
export async function makeDecider(spec) {
  switch (spec.with) {
    case 'loop':
      return loopDecider()
    case 'sluice':
      return sluiceDecider(spec)
    case 'redis-script':
      return scriptDecider(spec)
    default:
      return flexibleDecider(spec)
  }
}

/** @param {SluiceSpec} spec @returns {LocalDecider} */
function sluiceDecider({ source, policy, maxKeys, keys: { count, first, seed } }) {
  const limiter = source === undefined ? new Limiter({ ...policy, maxKeys }) : Limiter.attach(source)
  const { keys } = new KeyPool(count, false, { first, seed })
  /** @type {LocalDecider} */
  const decider = {
    admitted: 0,
    limiter,
    run() {
      let admitted = 0
      for (let i = 0; i < keys.length; i++) if (limiter.allow(/** @type {string} */ (keys[i]))) admitted++
      if (admitted !== BATCH)
        throw new Error(`wrong count: ${admitted} of ${BATCH} admitted, and all should be`)
      decider.admitted += admitted
    },
  }
  return decider
}

/** Arithmetic in registers: what the machine's cores lose when all of them work. @returns {LocalDecider} */
function loopDecider() {
  let state = 1
  return {
    admitted: 0,
    run() {
      let x = state
      for (let i = 0; i < BATCH * 16; i++) {
        x ^= x << 13
        x ^= x >>> 17
        x ^= x << 5
      }
      state = x
    },
  }
}

/** rate-limiter-flexible, as its users call it. @param {RemoteSpec} spec @returns {RemoteDecider} */
function flexibleDecider({ with: rival, policy: { limit, windowMs }, keys, port }) {
  const flexible = /** @type {Record<string, FlexibleClass>} */ (require('rate-limiter-flexible'))
  const options = { points: limit, duration: windowMs / 1000, keyPrefix: 'bench' }
  const limiter =
    rival === 'cluster'
      ? new /** @type {FlexibleClass} */ (flexible['RateLimiterCluster'])(options)
      : new /** @type {FlexibleClass} */ (flexible['RateLimiterRedis'])({
          ...options,
          storeClient: connect(port),
        })
  const nextKey = keyCycle(keys)
  /** @type {RemoteDecider} */
  const decider = {
    admitted: 0,
    asksTogether: false,
    async decide() {
      // Rejects if the key is over its limit.
      await limiter.consume(nextKey())
      decider.admitted++
      return 1
    },
  }
  return decider
}

/** The least that a limiter on Redis can do: one script, called by its hash. @param {RemoteSpec} spec @returns {Promise<RemoteDecider>} */
async function scriptDecider({ policy: { limit, windowMs }, keys, port }) {
  const client = connect(port)
  const sha = await client.script('LOAD', GCRA_SCRIPT)
  const nextKey = keyCycle(keys)
  const windowUs = windowMs * 1000
  const check = (/** @type {unknown} */ answer) => {
    if (answer !== 1)
      throw new Error(`wrong count: the script answered ${answer}, and all should be admitted`)
    decider.admitted++
  }
  /** @type {RemoteDecider} */
  const decider = {
    admitted: 0,
    asksTogether: true,
    async decide(inFlight) {
      if (inFlight === 1) {
        check(await client.evalsha(sha, 1, nextKey(), windowUs / limit, windowUs))
        return 1
      }
      const pipeline = client.pipeline()
      for (let i = 0; i < inFlight; i++) pipeline.evalsha(sha, 1, nextKey(), windowUs / limit, windowUs)
      for (const [, answer] of await pipeline.exec()) check(answer)
      return inFlight
    },
  }
  return decider
}

/** @param {number} port @returns {RedisClient} */
function connect(port) {
  const { Redis } = /** @type {{ Redis: new (port: number, host: string) => RedisClient }} */ (
    require('ioredis')
  )
  return new Redis(port, '127.0.0.1')
}

/** @param {KeySpec} spec */
function keyCycle({ count, first, seed }) {
  const { keys } = new KeyPool(count, false, { first, seed })
  let at = 0
  return () => /** @type {string} */ (keys[at++ % BATCH])
}
