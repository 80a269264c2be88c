// Checks the C++ sources: format (clang-format) and the direction of includes.
// usage: node scripts/lint-native.mjs [--write]     --write formats the files in place

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** @typedef {'core' | 'binding' | 'tests'} Part */

const root = fileURLToPath(new URL('..', import.meta.url))
/** @type {Record<Part, string>} */
const folders = {
  core: join(root, 'native', 'core'),
  binding: join(root, 'native', 'binding'),
  tests: join(root, 'test', 'native'),
}
/** Headers of the operating system that single core files may use. */
const coreExceptions = new Map([
  ['memory.cc', ['sys/mman.h']],
  [
    'shared_memory.cc',
    [
      'dirent.h',
      'errno.h',
      'fcntl.h',
      'sys/file.h',
      'sys/mman.h',
      'sys/stat.h',
      'sys/statvfs.h',
      'time.h',
      'unistd.h',
    ],
  ],
  ['clock.h', ['time.h']],
])
const nodeApiHeaders = ['node_api.h', 'napi.h']

/** @param {string} dir @returns {string[]} */
function sourcesIn(dir) {
  if (!existsSync(dir)) return []
  const entries = readdirSync(dir, { recursive: true, encoding: 'utf8' })
  return entries
    .filter((entry) => /\.(h|cc)$/.test(entry))
    .map((entry) => join(dir, entry))
    .sort()
}

/** @param {string[]} files @param {boolean} write @returns {boolean} whether all is well */
function checkFormat(files, write) {
  if (spawnSync('clang-format', ['--version'], { stdio: 'ignore' }).status !== 0) {
    console.error('lint-native: clang-format is not installed (Debian: apt-get install clang-format).')
    return false
  }
  const mode = write ? ['-i'] : ['--dry-run', '-Werror']
  const { status } = spawnSync('clang-format', [...mode, ...files], { cwd: root, stdio: 'inherit' })
  if (status !== 0) console.error('lint-native: wrong format, see above; `npm run format` puts it right.')
  return status === 0
}

/** @param {string} path @param {string[]} dirs */
function isInside(path, dirs) {
  return dirs.some((dir) => path.startsWith(dir + sep)) && existsSync(path)
}

/**
 * @param {Part} part @param {string} file @param {string} header what stands between <> or ""
 * @param {boolean} quoted
 */
function isAllowed(part, file, header, quoted) {
  if (quoted) {
    const from = part === 'core' ? [folders.core] : [folders.core, folders[part]]
    return [join(root, 'native', header), join(dirname(file), header)].some((path) => isInside(path, from))
  }
  if (part === 'tests') return !/^(node\/)?(node|napi|js_native|v8|uv)/.test(header)
  if (/^[a-z_]+$/.test(header)) return true // the C++ standard library: <atomic>, but not <stdlib.h>
  if (part === 'binding') return nodeApiHeaders.includes(header)
  return coreExceptions.get(basename(file))?.includes(header) ?? false
}

/** @param {Part} part @returns {string[]} one line for each include that goes the wrong way */
function wrongIncludes(part) {
  const wrong = []
  for (const file of sourcesIn(folders[part])) {
    const lines = readFileSync(file, 'utf8').split('\n')
    for (const [index, line] of lines.entries()) {
      const include = /^\s*#\s*include\b\s*(?:<([^>]+)>|"([^"]+)")?/.exec(line)
      if (!include) continue
      const header = include[1] ?? include[2]
      if (header !== undefined && isAllowed(part, file, header, include[1] === undefined)) continue
      wrong.push(`${relative(root, file)}:${index + 1}: ${line.trim()}`)
    }
  }
  return wrong
}

/** @returns {boolean} whether all is well */
function checkIncludes() {
  const rules = {
    core: 'core may include the C++ standard library and core only',
    binding: 'binding may include core, the C++ standard library, <node_api.h> and <napi.h> only',
    tests: 'core tests may include core, their own headers and no header of Node',
  }
  let isFine = true
  for (const part of /** @type {Part[]} */ (['core', 'binding', 'tests'])) {
    for (const line of wrongIncludes(part)) {
      console.error(`${line}\n  ${rules[part]}`)
      isFine = false
    }
  }
  return isFine
}

function main() {
  const files = Object.values(folders).flatMap(sourcesIn)
  if (files.length === 0) {
    console.error('lint-native: found no C++ source')
    process.exit(1)
  }
  const results = [checkFormat(files, process.argv.includes('--write')), checkIncludes()]
  if (results.includes(false)) process.exit(1)
  console.log(`lint-native: ${files.length} C++ files are well formatted and include in the right direction`)
}

main()
