// The list of what is measured of Redis mode, against a server on loopback. A job has all its contenders: they take turns.

import { redisVersion } from './redis-server.mjs'

/**
 * Who decides, each in a process of its own.
 * @typedef {'bare' | 'bare-pipeline' | 'bucket' | 'bucket-pipeline' | 'flexible' | 'store' | 'exact' | 'exact-hot' | 'leased' | 'denied' | 'native-denied'} RedisContender
 *
 * @typedef {object} RedisJob
 * @property {'redis'} kind
 * @property {RedisContender[]} contenders
 * @property {number} inFlight decisions under way at a time
 * @property {number} measureMs
 *
 * @typedef {import('./jobs.mjs').Entry} Entry
 * @typedef {import('./jobs.mjs').Plan} Plan
 */

/** @type {Record<RedisContender, string>} */
export const REDIS_TITLES = {
  bare: 'empty script, EVALSHA',
  'bare-pipeline': 'empty script, pipeline',
  bucket: 'bare token bucket, EVALSHA',
  'bucket-pipeline': 'bare token bucket, pipeline',
  flexible: 'rate-limiter-flexible',
  store: 'rate-limit-redis',
  exact: 'sluice, exact',
  'exact-hot': 'sluice, exact',
  leased: 'sluice, leased',
  denied: 'sluice, denied key',
  'native-denied': 'native Limiter, denied key',
}

/** Calls under way at a time. */
export const LEVELS = [1, 64, 512]
const SINGLE = /** @type {RedisContender[]} */ (['bare', 'bucket', 'flexible', 'store', 'exact'])
const HOT = /** @type {RedisContender[]} */ (['exact-hot', 'leased', 'denied', 'native-denied'])

/** Each contender's turns in a job. */
export const TURNS = 8
/** It decides so many turns' time before that. */
export const WARM_UP_TURNS = 5

/** A job's contenders, on 1,000 keys; with `hot` on one key. @param {number} inFlight @param {boolean} isHot */
export function contendersOf(inFlight, isHot) {
  if (isHot) return HOT
  return inFlight === 1
    ? SINGLE
    : [...SINGLE, .../** @type {RedisContender[]} */ (['bare-pipeline', 'bucket-pipeline'])]
}

/** @param {number} inFlight @param {boolean} [isHot] */
export function redisJobName(inFlight, isHot = false) {
  return `redis/${isHot ? 'hot/' : ''}${inFlight}`
}

/** @param {Plan} plan @param {string | undefined} only part of a name */
export function redisJobs({ measureMs }, only) {
  if (redisVersion() === undefined) return []
  const all = [
    ...LEVELS.map((inFlight) => entryOf(inFlight, false, measureMs / 2)),
    ...[1, 64].map((inFlight) => entryOf(inFlight, true, measureMs / 2)),
  ]
  return only === undefined ? all : all.filter(({ name }) => name.includes(only))
}

/** @param {number} inFlight @param {boolean} isHot @param {number} measureMs @returns {Entry} */
function entryOf(inFlight, isHot, measureMs) {
  const contenders = contendersOf(inFlight, isHot)
  return {
    name: redisJobName(inFlight, isHot),
    job: { kind: 'redis', contenders, inFlight, measureMs },
    seconds: 1.5 + (contenders.length * (TURNS + WARM_UP_TURNS) * measureMs) / 1000,
  }
}
