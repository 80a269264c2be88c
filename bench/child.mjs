// One job in a process of its own: node child.mjs '{"kind":"time",...}'. Prints its figures as one line of JSON.

import { makeContender } from './contenders.mjs'
import { pointerChase } from './dram.mjs'
import { measureHeap, measureMemory } from './heap.mjs'
import { LOADS } from './jobs.mjs'
import { BATCH, KeyMaker, KeyPool } from './keys.mjs'
import { measure } from './timing.mjs'

const MAX_KEYS = 1_000_000

/** @param {import('./jobs.mjs').TimeJob & { region?: string }} job */
function measureTime({ load, contender: name, operation, measureMs, region }) {
  const { keyCount, fresh, policy } = LOADS[load]
  const contender = makeContender(name, operation, policy, MAX_KEYS, region)
  const pool = new KeyPool(keyCount, fresh)
  const maker = new KeyMaker()
  if (name !== 'floor') for (let i = 0; i < keyCount; i++) contender.allow(maker.make(i))
  const expected = load === 'denied' && name !== 'floor' ? 0 : BATCH
  return measure(
    {
      refill() {
        pool.refill()
        contender.refresh?.()
      },
      run() {
        const admitted = contender.run(pool)
        if (admitted !== expected)
          throw new Error(`${name} admitted ${admitted} of ${BATCH}, expected ${expected}`)
        return admitted
      },
    },
    BATCH,
    measureMs,
  )
}

/**
 * What is about threads and processes is loaded only if it is asked for: nothing more than needed shares a process with
 * what is timed.
 * @param {import('./jobs.mjs').Job & { region?: string }} job
 * @returns {Promise<unknown>}
 */
async function run(job) {
  switch (job.kind) {
    case 'time':
      return measureTime(job)
    case 'algorithm':
      return (await import('./algorithm-calls.mjs')).measureAlgorithm(job)
    case 'dram':
      return measure(pointerChase(), BATCH, job.measureMs)
    case 'heap':
      return measureHeap(job.contender, job.keyCount)
    case 'memory':
      return measureMemory(job.contender, job.keyCount)
    case 'together':
      return (await import('./together.mjs')).measureTogether(job)
    case 'exact':
      return (await import('./together.mjs')).checkExact(job)
    case 'rival':
      return (await import('./rivals.mjs')).measureRival(job)
    case 'redis':
      return (await import('./redis-turns.mjs')).measureRedis(job)
  }
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2] ?? ''))))
