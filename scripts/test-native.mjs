// Builds the core's own tests (test/native/*_test.cc) plain, with ASan + UBSan and with TSan, and runs them.
// usage: node scripts/test-native.mjs [--only plain|address|thread]
// With SLUICE_REPORT_DIR set, writes {passed, failed} to native.json there.

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeHeadersDir } from './node-headers.mjs'

/** @typedef {'plain' | 'address' | 'thread'} Variant */
/** @typedef {{ name: string, command: string[], cwd: string }} NativeTest */
/** @typedef {{ passed: boolean, seconds: number, output: string, reason: string }} TestResult */

const root = fileURLToPath(new URL('..', import.meta.url))
const testTimeoutMs = 300_000
/** @type {Record<Variant, { sanitize: string, title: string }>} */
const variants = {
  plain: { sanitize: 'none', title: 'plain' },
  address: { sanitize: 'address', title: 'ASan + UBSan' },
  thread: { sanitize: 'thread', title: 'TSan' },
}
const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
}

/** Ends the program with one line. @param {string} message @returns {never} */
function fail(message) {
  console.error(`test-native: ${message}`)
  process.exit(1)
}

/** @param {string} name @returns {name is Variant} */
function isVariant(name) {
  return Object.hasOwn(variants, name)
}

/** @returns {Variant[]} */
function chosenVariants() {
  try {
    const { only } = parseArgs({ options: { only: { type: 'string' } } }).values
    if (only === undefined) return ['plain', 'address', 'thread']
    if (isVariant(only)) return [only]
    fail(`--only ${only}: not one of plain, address, thread.`)
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error))
  }
}

/** @param {string} command @param {string[]} args */
function runs(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function checkTools() {
  if (!runs('cmake', ['--version'])) fail('cmake is not installed (Debian: apt-get install cmake).')
  if (process.platform === 'win32') return
  if (!runs('c++', ['--version'])) fail('no C++ compiler (Debian: apt-get install build-essential).')
  if (!runs('make', ['--version']) && !runs('ninja', ['--version'])) {
    fail('neither make nor ninja is installed (Debian: apt-get install build-essential).')
  }
}

/** @param {Variant} variant */
function buildDirOf(variant) {
  return join(root, 'build-core', variant)
}

/** Configures and builds one variant; shows the tools' output only if they fail. @param {Variant} variant */
function build(variant) {
  const script = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  const headersDir = nodeHeadersDir()
  const env = { ...process.env, ...(headersDir ? { npm_config_nodedir: headersDir } : {}) }
  const options = ['--directory', join(root, 'native'), '--out', buildDirOf(variant), '--log-level', 'warn']
  options.push('--config', 'RelWithDebInfo', `--CDSLUICE_SANITIZE=${variants[variant].sanitize}`)
  for (const command of ['configure', 'build']) {
    const parallel = command === 'build' ? ['--parallel', String(availableParallelism())] : []
    const result = spawnSync(process.execPath, [script, command, ...options, ...parallel], {
      cwd: root,
      env,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    })
    if (result.status === 0) continue
    console.error(`${result.stdout}${result.stderr}`)
    fail(`the ${variants[variant].title} ${command} failed, see above.`)
  }
}

/** The tests that CMake registered, in file order. @param {Variant} variant @returns {NativeTest[]} */
function listTests(variant) {
  const args = ['--test-dir', buildDirOf(variant), '-C', 'RelWithDebInfo', '--show-only=json-v1']
  const result = spawnSync('ctest', args, { encoding: 'utf8' })
  if (result.status !== 0) fail(`ctest cannot list the tests: ${result.error?.message ?? result.stderr}`)
  /** @type {{ tests: { name: string, command: string[] }[] }} */
  const listing = JSON.parse(result.stdout)
  return listing.tests.map(({ name, command }) => ({ name, command, cwd: buildDirOf(variant) }))
}

/**
 * What to put before a command so that it runs without address randomisation: older ThreadSanitizers stop with
 * "unexpected memory mapping" on kernels that randomise more bits than they expect.
 * @param {Variant} variant @returns {string[]}
 */
function launcherFor(variant) {
  if (variant !== 'thread' || process.platform !== 'linux') return []
  if (runs('setarch', ['-R', 'true'])) return ['setarch', '-R']
  console.log('  setarch -R is not possible here: TSan runs with address randomisation')
  return []
}

/** @param {NativeTest} test @param {string[]} launcher @returns {Promise<TestResult>} */
function runTest(test, launcher) {
  const [command = '', ...args] = [...launcher, ...test.command]
  const startMs = performance.now()
  return new Promise((resolve) => {
    const env = { ...process.env, ...sanitizerOptions }
    const child = spawn(command, args, {
      cwd: test.cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: testTimeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (output += text))
    /** @param {boolean} passed @param {string} reason */
    const finish = (passed, reason) =>
      resolve({ passed, reason, output, seconds: (performance.now() - startMs) / 1000 })
    child.on('error', (error) => finish(false, error.message))
    child.on('close', (code, signal) =>
      finish(code === 0, signal ? `killed by ${signal}` : `exit code ${code}`),
    )
  })
}

/** @param {Variant} variant @returns {Promise<{ passed: number, failed: number }>} */
async function testVariant(variant) {
  console.log(`native tests, ${variants[variant].title}: building`)
  build(variant)
  const tests = listTests(variant)
  if (tests.length === 0) fail('no test: test/native has no file that ends in _test.cc.')
  const launcher = launcherFor(variant)
  let passed = 0
  for (const test of tests) {
    const result = await runTest(test, launcher)
    const verdict = result.passed ? 'ok    ' : 'FAILED'
    const reason = result.passed ? '' : `  ${result.reason}`
    console.log(
      `  ${verdict} ${test.name} (${variants[variant].title}, ${result.seconds.toFixed(1)} s)${reason}`,
    )
    if (result.passed) passed += 1
    else console.log(result.output.replace(/^/gm, '         '))
  }
  return { passed, failed: tests.length - passed }
}

/** @param {{ passed: number, failed: number }} totals */
function report(totals) {
  const dir = process.env['SLUICE_REPORT_DIR']
  if (dir) {
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, 'native.json'), JSON.stringify(totals))
  }
  console.log(`native tests: ${totals.passed} passed, ${totals.failed} failed`)
}

async function main() {
  const chosen = chosenVariants()
  checkTools()
  const totals = { passed: 0, failed: 0 }
  for (const variant of chosen) {
    const { passed, failed } = await testVariant(variant)
    totals.passed += passed
    totals.failed += failed
  }
  report(totals)
  process.exitCode = totals.failed === 0 ? 0 : 1
}

await main()
