// Times batches with the `benchmark` package. One of its "samples" is one batch of decisions.

import { createRequire } from 'node:module'

/**
 * What this uses of the package, which brings no types.
 * @typedef {object} BenchmarkOptions
 * @property {string} setup source text, run before each sample, untimed
 * @property {string} fn source text, timed
 * @property {number} initCount runs of `fn` in a sample
 * @property {number} minTime s a sample must last; tiny, so that it is always `initCount` runs
 * @property {number} maxTime s
 * @property {number} minSamples
 *
 * @typedef {object} Finished
 * @property {{ sample: number[] }} stats s per run of `fn`, one for each sample
 * @property {Error | undefined} error
 *
 * @typedef {new (options: BenchmarkOptions) => { run(options: { async: boolean }): Finished }} Benchmark
 */

/**
 * What is measured.
 * @typedef {object} Timed
 * @property {() => void} refill makes the next batch ready; untimed
 * @property {() => number} run decides the batch
 */

const WARM_UP_BATCHES = 100

/**
 * @param {Timed} timed
 * @param {number} operations in one batch
 * @param {number} measureMs about how long to measure
 * @returns {{ medianNs: number, samples: number }} ns per operation
 */
export function measure(timed, operations, measureMs) {
  warmUp(timed, measureMs)
  // For each sample the package calls setup and fn twice: once to try them out, untimed, which also brings code and data
  // back into the caches after its bookkeeping, and once for real.
  Object.assign(globalThis, { sluiceBench: timed })
  const Benchmark = /** @type {Benchmark} */ (createRequire(import.meta.url)('benchmark'))
  const { stats, error } = new Benchmark({
    setup: 'sluiceBench.refill()',
    fn: 'sluiceBench.run()',
    initCount: 1,
    minTime: 1e-9,
    maxTime: measureMs / 1000,
    minSamples: 20,
  }).run({ async: false })
  if (error !== undefined) throw error
  const sorted = stats.sample.map((seconds) => (seconds * 1e9) / operations).sort((a, b) => a - b)
  return { medianNs: /** @type {number} */ (sorted[sorted.length >> 1]), samples: sorted.length }
}

/** Runs until the compiler has had its say. @param {Timed} timed @param {number} measureMs */
function warmUp({ refill, run }, measureMs) {
  const startMs = performance.now()
  for (let batch = 0; batch < WARM_UP_BATCHES || performance.now() - startMs < measureMs / 2; batch++) {
    refill()
    run()
  }
}
