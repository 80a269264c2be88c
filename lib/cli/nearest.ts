import { nearest as fewestEdits } from '../policy/options'

/** The candidate that `given` was most likely meant to be: one that it abbreviates, or else the fewest edits away. */
export function nearest(given: string, candidates: readonly string[]): string {
  const abbreviated = candidates.find((candidate) => given !== '' && candidate.startsWith(given))
  return abbreviated ?? fewestEdits(given, candidates)
}
