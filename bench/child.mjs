// One job in a process of its own: node child.mjs '{"kind":"time",...}'. Prints its figures as one line of JSON.

import { makeContender } from './contenders.mjs'
import { pointerChase } from './dram.mjs'
import { measureHeap, measureMemory } from './heap.mjs'
import { LOADS } from './jobs.mjs'
import { BATCH, KeyMaker, KeyPool } from './keys.mjs'
import { measure } from './timing.mjs'

const MAX_KEYS = 1_000_000

/** @param {import('./jobs.mjs').TimeJob} job */
function measureTime({ load, contender: name, operation, measureMs }) {
  const { keyCount, fresh, policy } = LOADS[load]
  const contender = makeContender(name, operation, policy, MAX_KEYS)
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

/** @param {import('./jobs.mjs').Job} job @returns {Promise<unknown>} */
async function run(job) {
  switch (job.kind) {
    case 'time':
      return measureTime(job)
    case 'dram':
      return measure(pointerChase(), BATCH, job.measureMs)
    case 'heap':
      return measureHeap(job.contender, job.keyCount)
    case 'memory':
      return measureMemory(job.contender, job.keyCount)
  }
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2] ?? ''))))
