// What the figures were measured on.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { arch, cpus, loadavg, release, totalmem, type } from 'node:os'
import { fileURLToPath } from 'node:url'
import { redisVersion } from './redis-server.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * @typedef {object} Machine
 * @property {string} processor
 * @property {number} cores
 * @property {number} memoryGb
 * @property {string} system
 * @property {Record<string, string>} versions
 * @property {string} commit
 * @property {number} load runnable processes, mean of the last minute
 * @property {string} time
 */

/** @returns {Machine} */
export function describeMachine() {
  return {
    processor: cpus()[0]?.model ?? 'unknown processor',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()} ${arch()}`,
    versions: {
      node: process.versions.node,
      v8: process.versions.v8,
      sluice: versionIn('../package.json'),
      benchmark: versionIn('./node_modules/benchmark/package.json'),
      'rate-limiter-flexible': versionIn('./node_modules/rate-limiter-flexible/package.json'),
      'rate-limit-redis': versionIn('./node_modules/rate-limit-redis/package.json'),
      ioredis: versionIn('./node_modules/ioredis/package.json'),
      redis: redisVersion() ?? 'not there',
    },
    commit: commit(),
    load: loadavg()[0] ?? 0,
    time: new Date().toISOString(),
  }
}

/** @param {string} path */
function versionIn(path) {
  return String(JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version)
}

function commit() {
  const head = git(['rev-parse', '--short', 'HEAD'])
  if (head === '') return 'unknown'
  return git(['status', '--porcelain']) === '' ? head : `${head} and uncommitted changes`
}

/** @param {string[]} parts */
function git(parts) {
  const { status, stdout } = spawnSync('git', parts, { cwd: root, encoding: 'utf8' })
  return status === 0 ? stdout.trim() : ''
}
