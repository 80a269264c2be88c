// One host of several that share a limit: it has a Redis client, and a limiter on it that is the same line of code in all of
// them. This one asks as often as it can bear, and counts the answers.
//
//   node examples/redis/demo.mjs      starts a Redis server and two of these, and compares

import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RedisLimiter } from 'sluice/redis'

const { REDIS_URL = 'redis://127.0.0.1:6379', PREFIX = 'redis-example', MODE = 'exact' } = process.env

const client = new Redis(REDIS_URL)
client.on('error', () => {}) // ioredis tells of every connection that fails, and connects anew by itself
const limiter = new RedisLimiter({
  client,
  prefix: PREFIX,
  mode: MODE === 'leased' ? 'leased' : 'exact',
  limit: 100, // calls a second of each key, on all hosts together
  burst: 200,
  windowMs: 1000,
  hosts: 2, // known from the start: a host that Redis has told nothing yet must not take all of the limit for its own
})

const startOfReport = () => ({
  asked: 0,
  /** @type {Record<string, number>} */
  admitted: { exact: 0, lease: 0, local: 0 },
  /** @type {Record<string, number>} */
  refused: { exact: 0, cache: 0, local: 0 },
  longestMs: 0,
})
let report = startOfReport()
let isStopping = false

async function ask() {
  const startMs = performance.now()
  const { allowed, source } = await limiter.consume('customer-17')
  const { longestMs, admitted, refused } = report
  const counts = allowed ? admitted : refused
  counts[source] = (counts[source] ?? 0) + 1
  report.longestMs = Math.max(longestMs, performance.now() - startMs)
}

/** 1000 calls a second, ten times what the limit allows both hosts: 5 in one tick, which go to Redis together. */
async function load() {
  while (!isStopping) {
    report.asked += 5
    const calls = Array.from({ length: 5 }, ask)
    // Whoever waited for slow answers would ask less often.
    Promise.all(calls).catch(stop)
    await delay(5)
  }
}

/** @param {unknown} [error] */
async function stop(error) {
  isStopping = true
  if (error !== undefined) {
    console.error(error)
    process.exitCode = 1
  }
  await limiter.close() // gives back what it has borrowed, and ends its own connection
  client.disconnect() // the client is yours
  // Nothing else keeps this process running.
  process.off('message', onMessage)
  process.off('disconnect', onDisconnect)
}

/** @param {unknown} message */
function onMessage(message) {
  if (message === 'load') load()
  else if (message === 'stop') stop()
  else if (message === 'report') {
    process.send?.({ report })
    report = startOfReport()
  }
}

/** The demo is gone. */
function onDisconnect() {
  process.exit()
}

limiter.on('state', ({ to, error }) => process.send?.({ state: to, why: error?.message }))
limiter.on('reconciled', ({ tokens }) => process.send?.({ reconciled: tokens }))
process.on('message', onMessage)
process.on('disconnect', onDisconnect)
await client.ping() // connected
process.send?.({ state: 'closed' })
