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
 *
 * @typedef {{ refill: () => void, run: () => Promise<number> }} TimedAsync
 *
 * ns per operation: of the median sample and of the shortest one.
 * @typedef {{ medianNs: number, leastNs: number, samples: number }} Timing
 */

const WARM_UP_BATCHES = 100
const MIN_SAMPLES = 20

/**
 * @param {Timed} timed
 * @param {number} operations in one batch
 * @param {number} measureMs about how long to measure
 * @returns {Timing}
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
    minSamples: MIN_SAMPLES,
  }).run({ async: false })
  if (error !== undefined) throw error
  return timing(stats.sample.map((seconds) => (seconds * 1e9) / operations))
}

/**
 * The same for what is awaited, in the same steps without the package, which counts the time of its own promises.
 * @param {TimedAsync} timed
 * @param {number} operations in one batch
 * @param {number} measureMs about how long to measure
 * @returns {Promise<Timing>}
 */
export async function measureAsync({ refill, run }, operations, measureMs) {
  const once = async () => {
    refill()
    const start = process.hrtime.bigint()
    await run()
    return Number(process.hrtime.bigint() - start) / operations
  }
  const warmMs = performance.now()
  for (let batch = 0; isWarming(batch, warmMs, measureMs); batch++) await once()
  /** @type {number[]} */
  const samples = []
  const startMs = performance.now()
  while (samples.length < MIN_SAMPLES || performance.now() - startMs < measureMs) {
    await once()
    samples.push(await once())
  }
  return timing(samples)
}

/** @param {number[]} samples ns per operation @returns {Timing} */
function timing(samples) {
  const sorted = samples.sort((a, b) => a - b)
  return {
    medianNs: /** @type {number} */ (sorted[sorted.length >> 1]),
    leastNs: /** @type {number} */ (sorted[0]),
    samples: sorted.length,
  }
}

/** Runs until the compiler has had its say. @param {Timed} timed @param {number} measureMs */
function warmUp({ refill, run }, measureMs) {
  const startMs = performance.now()
  for (let batch = 0; isWarming(batch, startMs, measureMs); batch++) {
    refill()
    run()
  }
}

/** @param {number} batch @param {number} startMs @param {number} measureMs */
function isWarming(batch, startMs, measureMs) {
  return batch < WARM_UP_BATCHES || performance.now() - startMs < measureMs / 2
}
