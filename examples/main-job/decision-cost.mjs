// What one decision costs in this process, in nanoseconds.

import { Limiter } from 'sluice'

const batches = 25
const callsPerBatch = 20_000
const clients = 1000

/** Strings that V8 has not hashed before, as an HTTP parser makes them. */
function freshKeys() {
  return Array.from({ length: callsPerBatch }, (_, index) =>
    Buffer.from(`client-${index % clients}-0123`, 'latin1').toString('latin1'),
  )
}

/** @param {(key: string) => unknown} decide @returns {number} the median over all batches, ns per call */
function medianNs(decide) {
  const results = []
  for (let batch = 0; batch < batches; batch++) {
    const keys = freshKeys()
    const startMs = performance.now()
    for (const key of keys) decide(key)
    results.push(((performance.now() - startMs) * 1e6) / callsPerBatch)
  }
  results.sort((a, b) => a - b)
  return results[batches >> 1] ?? NaN
}

/** @typedef {{ allowNs: number, consumeNs: number, batches: number, callsPerBatch: number, clients: number }} Cost */

/** @returns {Cost} */
export function measureDecisionCost() {
  const limiter = new Limiter({ limit: 1_000_000, windowMs: 1000, maxKeys: 10_000 })
  const cost = {
    allowNs: medianNs((key) => limiter.allow(key)),
    consumeNs: medianNs((key) => limiter.consume(key)),
    batches,
    callsPerBatch,
    clients,
  }
  limiter.close()
  return cost
}
