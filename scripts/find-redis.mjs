// Finds the redis-server (or valkey-server) that the tests start.
// usage: node scripts/find-redis.mjs [--only]
// Prints its path; or one line that says what to install, and exits with 1. Installs one with apt-get where that may be
// done unasked, unless it is told to look only. REDIS_SERVER names another binary.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const names = ['redis-server', 'valkey-server']
// Where packages put servers that the search path of a plain user may lack.
const usualFolders = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/opt/homebrew/bin']

const HOW_TO_INSTALL =
  'apt-get install redis-server, brew install redis, or REDIS_SERVER=/path/to/redis-server; ' +
  'REDIS_URL=redis://... does for the tests that need only one server'

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The path of the server to start, or undefined if there is none. @returns {string | undefined} */
export function findRedis() {
  const chosen = process.env['REDIS_SERVER']
  const folders = [...(process.env['PATH'] ?? '').split(delimiter).filter(Boolean), ...usualFolders]
  if (chosen) return inFolders(chosen.includes('/') ? [''] : folders, [chosen])
  return inFolders(folders, names)
}

/** @param {string[]} folders @param {string[]} programs */
function inFolders(folders, programs) {
  const paths = programs.flatMap((program) => folders.map((folder) => resolve(join(folder, program))))
  return paths.find(isProgram)
}

/** What to tell who has no server, in one line. */
export function missingRedis() {
  const chosen = process.env['REDIS_SERVER']
  const found = chosen ? `REDIS_SERVER=${chosen} is no program` : 'no redis-server and no valkey-server found'
  return `${found}: the Redis tests start their own (${HOW_TO_INSTALL})`
}

/** The path of the server to start; installs one first where that may be done unasked. @returns {string | undefined} */
export function provideRedis() {
  const found = findRedis()
  if (found || process.env['REDIS_SERVER'] || process.env['REDIS_URL'] || !mayInstall()) return found
  console.log('installing redis-server')
  aptGet('update', '-qq')
  aptGet('install', '-y', '-qq', '--no-install-recommends', 'redis-server')
  return findRedis()
}

/** Installing unasked is for machines that are thrown away: those of a CI, and containers. */
function mayInstall() {
  if (process.platform !== 'linux' || !inFolders(usualFolders, ['apt-get'])) return false
  const isRoot = process.getuid?.() === 0
  if (process.env['CI'] === 'true') return isRoot || spawnSync('sudo', ['-n', 'true']).status === 0
  return isRoot && (existsSync('/.dockerenv') || existsSync('/run/.containerenv'))
}

/** @param {string[]} args */
function aptGet(...args) {
  const command = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', ...args]
  if (process.getuid?.() !== 0) command.unshift('sudo', '-n')
  const [program = '', ...rest] = command
  const { status } = spawnSync(program, rest, { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) console.error(`${command.join(' ')} failed`)
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const path = process.argv[2] === '--only' ? findRedis() : provideRedis()
  console.log(path ?? missingRedis())
  process.exitCode = path ? 0 : 1
}
