// Builds the addon with node-gyp into build/Release/sluice.node. Compiles only what changed.
// usage: node scripts/build-native.mjs

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeHeadersDir } from './node-headers.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const buildDir = join(root, 'build')
const addon = join(buildDir, 'Release', 'sluice.node')
const stampFile = join(buildDir, 'configured-for.json')

/** Ends the program with one line. @param {string} message @returns {never} */
function fail(message) {
  console.error(`build-native: ${message}`)
  process.exit(1)
}

/** @param {string} command @param {string[]} args */
function runs(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function checkTools() {
  // On Windows node-gyp looks for Visual Studio and Python itself.
  if (process.platform === 'win32') return
  const compiler = process.env['CXX'] ?? (process.platform === 'darwin' ? 'clang++' : 'g++')
  if (!runs('/bin/sh', ['-c', `${compiler} --version`])) {
    fail(`no C++ compiler: '${compiler}' does not run. Install one with C++20 (Debian: build-essential).`)
  }
  const make = process.env['MAKE'] ?? 'make'
  if (!runs(make, ['--version'])) fail(`'${make}' does not run. Install make (Debian: build-essential).`)
  const pythons = [process.env['npm_config_python'], process.env['PYTHON'], 'python3', 'python']
  if (!pythons.some((python) => python && runs(python, ['--version']))) {
    fail('no Python: node-gyp needs Python 3 (Debian: python3).')
  }
}

/** @param {string[]} commands @param {string | undefined} headersDir */
function nodeGyp(commands, headersDir) {
  const script = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
  const options = ['--release', '--loglevel=warn', ...(headersDir ? [`--nodedir=${headersDir}`] : [])]
  for (const command of commands) {
    const { status, signal } = spawnSync(process.execPath, [script, command, ...options], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    if (status !== 0) fail(`node-gyp ${command} failed (${signal ?? `exit code ${status}`}), see above.`)
  }
}

/** What the makefiles depend on. @param {string | undefined} headersDir */
function configuration(headersDir) {
  const gyp = readFileSync(join(root, 'binding.gyp'), 'utf8')
  return JSON.stringify({ node: process.version, arch: process.arch, headersDir, root, gyp })
}

function main() {
  checkTools()
  const startMs = performance.now()
  const before = existsSync(addon) ? statSync(addon).mtimeMs : undefined
  const headersDir = nodeHeadersDir()
  const wanted = configuration(headersDir)
  const isConfigured = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted
  nodeGyp(isConfigured ? ['build'] : ['configure', 'build'], headersDir)
  if (!existsSync(addon)) fail(`node-gyp ended well but ${addon} is missing.`)
  mkdirSync(buildDir, { recursive: true })
  writeFileSync(stampFile, wanted)
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1)
  const outcome = statSync(addon).mtimeMs === before ? 'up to date' : 'built'
  console.log(`build-native: build/Release/sluice.node ${outcome} (${seconds} s)`)
}

main()
