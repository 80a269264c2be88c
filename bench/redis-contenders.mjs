// What decides in the comparison with Redis: a limiter or a bare script, called as its users call it.

import { createRequire } from 'node:module'
import { Limiter } from '../dist/index.mjs'
import { RedisLimiter } from '../dist/redis/index.mjs'
import { GCRA_SCRIPT } from './deciders.mjs'
import { BATCH, KeyPool } from './keys.mjs'

/**
 * `ask` is one decision; with `asksTogether`, as many as it is told, in one pipeline. Some do not leave the process:
 * they must give the event loop its turn now and then. `check` throws unless so many decisions were made as they should.
 * @typedef {object} RedisAsker
 * @property {(inFlight: number) => Promise<unknown>} ask
 * @property {boolean} asksTogether
 * @property {boolean} isLocal
 * @property {(decisions: number) => void} [check]
 *
 * What this uses of ioredis, which need not be installed to check types.
 * @typedef {{ evalsha(sha: string, keys: number, ...rest: (string | number)[]): Pipeline, exec(): Promise<[Error | null, unknown][]> }} Pipeline
 * @typedef {object} RedisClient
 * @property {(command: 'LOAD', text: string) => Promise<string>} script
 * @property {(sha: string, keys: number, ...rest: (string | number)[]) => Promise<unknown>} evalsha
 * @property {(...command: string[]) => Promise<unknown>} call
 * @property {() => Pipeline} pipeline
 * @property {(section: string) => Promise<string>} info
 * @property {(command: 'RESETSTAT') => Promise<unknown>} config
 * @property {() => void} disconnect
 */

const DAY_MS = 86_400_000
const KEYS = 1000
const HOT_KEY = 'user-000000000000'
/** Under these nothing runs out while it is measured; or everything has. */
const busyPolicy = { limit: 1_000_000, windowMs: DAY_MS }
const hotPolicy = { limit: 1_000_000_000, windowMs: 10_000 }
const spentPolicy = { limit: 1, windowMs: DAY_MS }
/** A machine that stands still for a moment must not turn decisions over to the local share. */
const TIMEOUT_MS = 5000

const EMPTY_SCRIPT = 'return 1'

/** @type {Record<import('./redis-jobs.mjs').RedisContender, (port: number) => Promise<RedisAsker>>} */
export const REDIS_CONTENDERS = {
  bare: (port) => script(port, EMPTY_SCRIPT, []),
  'bare-pipeline': (port) => pipeline(port, EMPTY_SCRIPT, []),
  bucket: (port) => script(port, GCRA_SCRIPT, bucketArguments()),
  'bucket-pipeline': (port) => pipeline(port, GCRA_SCRIPT, bucketArguments()),
  flexible,
  store,
  exact: async (port) => sluice(port, busyPolicy, keyCycle(), { source: ['exact'], allowed: true }),
  'exact-hot': async (port) => sluice(port, hotPolicy, hotKey, { source: ['exact'], allowed: true }),
  leased: async (port) =>
    sluice(port, hotPolicy, hotKey, { mode: 'leased', source: ['lease', 'exact'], allowed: true }),
  denied: async (port) => denied(port),
  'native-denied': nativeDenied,
}

/** @param {number} port @returns {RedisClient} */
export function connect(port) {
  const { Redis } = /** @type {{ Redis: new (port: number, host: string) => RedisClient }} */ (
    createRequire(import.meta.url)('ioredis')
  )
  return new Redis(port, '127.0.0.1')
}

/** @param {number} port @param {string} text @param {number[]} args @returns {Promise<RedisAsker>} */
async function script(port, text, args) {
  const client = connect(port)
  const sha = await client.script('LOAD', text)
  const nextKey = keyCycle()
  const ask = async () => expectOne(await client.evalsha(sha, 1, nextKey(), ...args))
  return { ask, asksTogether: false, isLocal: false }
}

/** @param {number} port @param {string} text @param {number[]} args @returns {Promise<RedisAsker>} */
async function pipeline(port, text, args) {
  const client = connect(port)
  const sha = await client.script('LOAD', text)
  const nextKey = keyCycle()
  const ask = async (/** @type {number} */ inFlight) => {
    const commands = client.pipeline()
    for (let i = 0; i < inFlight; i++) commands.evalsha(sha, 1, nextKey(), ...args)
    for (const [, answer] of await commands.exec()) expectOne(answer)
  }
  return { ask, asksTogether: true, isLocal: false }
}

/** @param {unknown} answer */
function expectOne(answer) {
  if (answer !== 1) throw new Error(`wrong count: the script answered ${answer}, and all should be admitted`)
}

function bucketArguments() {
  const windowUs = busyPolicy.windowMs * 1000
  return [windowUs / busyPolicy.limit, windowUs]
}

/** @param {number} port @returns {Promise<RedisAsker>} */
async function flexible(port) {
  const { RateLimiterRedis } =
    /** @type {{ RateLimiterRedis: new (options: object) => { consume(key: string): Promise<unknown> } }} */ (
      createRequire(import.meta.url)('rate-limiter-flexible')
    )
  const { limit: points, windowMs } = busyPolicy
  const limiter = new RateLimiterRedis({ points, duration: windowMs / 1000, storeClient: connect(port) })
  const nextKey = keyCycle()
  // Rejects if the key is over its limit.
  return { ask: () => limiter.consume(nextKey()), asksTogether: false, isLocal: false }
}

/** The store of express-rate-limit, which its middleware asks once for each request. @param {number} port @returns {Promise<RedisAsker>} */
async function store(port) {
  const { RedisStore } =
    /** @type {{ RedisStore: new (options: object) => { init(options: object): Promise<void>, increment(key: string): Promise<{ totalHits: number }> } }} */ (
      createRequire(import.meta.url)('rate-limit-redis')
    )
  const client = connect(port)
  const counts = new RedisStore({
    sendCommand: (/** @type {string[]} */ ...command) => client.call(...command),
  })
  await counts.init({ windowMs: busyPolicy.windowMs })
  const nextKey = keyCycle()
  const ask = async () => {
    const { totalHits } = await counts.increment(nextKey())
    if (totalHits > busyPolicy.limit) throw new Error('wrong count: all should be admitted')
  }
  return { ask, asksTogether: false, isLocal: false }
}

/**
 * @param {number} port
 * @param {{ limit: number, windowMs: number }} policy
 * @param {() => string} nextKey
 * @param {{ mode?: 'leased', source: ('exact' | 'lease' | 'cache')[], allowed: boolean }} expected
 * @returns {RedisAsker}
 */
function sluice(port, policy, nextKey, { mode, source, allowed }) {
  const client = /** @type {import('../dist/redis/index.mjs').RedisLimiterOptions['client']} */ (
    /** @type {unknown} */ (connect(port))
  )
  const limiter = new RedisLimiter({
    client,
    prefix: `bench-${source.join('-')}-${allowed}`,
    ...policy,
    timeoutMs: TIMEOUT_MS,
    ...(mode === undefined ? {} : { mode }),
  })
  const outcome = allowed ? 'allowed' : 'denied'
  const count = () => {
    const { sources } = limiter.stats()
    return source.reduce((sum, name) => sum + sources[name][outcome], 0)
  }
  let before = 0
  return {
    ask: () => limiter.allow(nextKey()),
    asksTogether: false,
    isLocal: source.length > 1,
    check(decisions) {
      const made = count() - before
      before += made
      if (made !== decisions) {
        const how = `${outcome} by ${source.join(' or ')}`
        throw new Error(`wrong count: ${made} of ${decisions} decisions were ${how}`)
      }
    },
  }
}

/** @param {number} port */
async function denied(port) {
  const asker = sluice(port, spentPolicy, hotKey, { source: ['cache', 'exact'], allowed: false })
  if ((await asker.ask(1)) !== true) throw new Error('wrong count: the first call should be admitted')
  return asker
}

/** What a host would say without Redis, awaited like the others. @returns {Promise<RedisAsker>} */
async function nativeDenied() {
  const limiter = new Limiter({ ...spentPolicy, maxKeys: 100_000 })
  limiter.allow(HOT_KEY)
  const ask = async () => {
    if (limiter.allow(HOT_KEY)) throw new Error('wrong count: none should be admitted')
  }
  return { ask, asksTogether: false, isLocal: true }
}

function keyCycle() {
  const { keys } = new KeyPool(KEYS, false)
  let at = 0
  return () => /** @type {string} */ (keys[at++ % BATCH])
}

function hotKey() {
  return HOT_KEY
}
