import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runs } from '../../scripts/plot/runs.mjs'

const root = join(__dirname, '../..')
const committed = join(root, 'docs/plots')
const LIMIT = 20
const WINDOW_MS = 10_000
/** Of the same traffic, counted in the pictures' own data; the worst case of each is in docs/algorithms.md. */
const WORST = {
  'token-bucket': 2 * LIMIT,
  'fixed-window': 2 * LIMIT,
  'sliding-window': 2 * LIMIT - 1,
  'sliding-log': LIMIT,
  'strict-window': LIMIT,
  'leaky-bucket': LIMIT,
}

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plots-'))
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, 'scripts/plot-algorithms.mjs'), folder],
    { encoding: 'utf8' },
  )
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
}, 60_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const names = readdirSync(committed)

/** The most calls in any interval [t, t + WINDOW_MS): one of them begins at a call. */
function mostInAnyWindow(timesMs: readonly number[]): number {
  return Math.max(
    ...timesMs.map((from) => timesMs.filter((ms) => ms >= from && ms < from + WINDOW_MS).length),
  )
}

describe('the plots', () => {
  it('are one for each algorithm, and shown in the documents', () => {
    expect(names.sort()).toEqual([...Object.keys(WORST), 'concurrency'].map((name) => `${name}.svg`).sort())
    expect(readdirSync(folder).sort()).toEqual(names)
    const document = readFileSync(join(root, 'docs/algorithms.md'), 'utf8')
    for (const name of names) expect(document).toContain(`(plots/${name})`)
  })

  it.each(names)('%s is what the engine does', (name) => {
    expect(readFileSync(join(folder, name), 'utf8')).toBe(readFileSync(join(committed, name), 'utf8'))
  })

  it.each(Object.entries(WORST))('no window of %s has more than %d', (algorithm, worst) => {
    const run = runs().find(({ policy }) => policy.algorithm === algorithm)
    const most = mostInAnyWindow(run?.admittedMs ?? [])
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(worst)
    expect(run?.verdict).toBe(`most in any 10 s: ${most}`)
    expect(readFileSync(join(committed, `${algorithm}.svg`), 'utf8')).toContain(`>most in any 10 s: ${most}<`)
  })

  it('never more than the limit is held at once', () => {
    const run = runs().find(({ policy }) => policy.algorithm === 'concurrency')
    expect(Math.max(...(run?.admitted ?? []).map(([, held]) => held))).toBe(LIMIT)
  })
})
