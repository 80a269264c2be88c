import type { Parameters } from 'fast-check'

const FIXED_SEED = 20_260_101

/**
 * The same schedules at every run, unless SLUICE_SEED is set: to a number, or to 'random'. fast-check prints the
 * seed and the path of a failure; SLUICE_SEED=<seed> repeats it.
 */
export function seeded<T>(numRuns: number): Parameters<T> {
  return { numRuns, seed: chosenSeed(), endOnFailure: false }
}

function chosenSeed(): number {
  const chosen = process.env['SLUICE_SEED']
  if (chosen === undefined || chosen === '') return FIXED_SEED
  if (chosen === 'random') return Date.now() % 2 ** 31
  const seed = Number(chosen)
  if (!Number.isSafeInteger(seed))
    throw new RangeError(`SLUICE_SEED must be an integer or 'random'; got ${chosen}`)
  return seed
}
