/** In the order of the engine's numbers (`kId` in native/core), the first of which is 1. */
export const ALGORITHMS = [
  'token-bucket',
  'fixed-window',
  'sliding-window',
  'sliding-log',
  'strict-window',
  'leaky-bucket',
  'concurrency',
] as const

/** See docs/algorithms.md for what each guarantees, and when to choose it. */
export type Algorithm = (typeof ALGORITHMS)[number]

/** @internal The engine's number of what holds leased tokens (lib/limiter/purse.ts). No limiter has that algorithm. */
export const PURSE_ID = 8
/** @internal What the command line calls it. */
export const PURSE = 'purse'

/** What distinguishes algorithms as far as options go. */
export interface AlgorithmTraits {
  /** The options of a policy. */
  readonly options: readonly string[]
  /** The greatest limit. */
  readonly maxLimit: number
  /** Whether all policies of a limiter have the window in common. */
  readonly sharesWindow: boolean
  /** Whether the engine counts windows from the epoch. */
  readonly alignsToEpoch: boolean
}

const SAFE = Number.MAX_SAFE_INTEGER
const window = { sharesWindow: true, alignsToEpoch: true, options: ['limit', 'windowMs'] }

export const TRAITS: Readonly<Record<Algorithm, AlgorithmTraits>> = {
  'token-bucket': {
    options: ['limit', 'windowMs', 'burst', 'initial', 'rememberMs', 'evenly'],
    maxLimit: SAFE,
    sharesWindow: false,
    alignsToEpoch: false,
  },
  'fixed-window': {
    options: ['limit', 'windowMs', 'initial', 'rememberMs', 'evenly'],
    maxLimit: SAFE,
    sharesWindow: true,
    alignsToEpoch: false, // unless asked for
  },
  'sliding-window': { ...window, maxLimit: 2 ** 32 },
  'sliding-log': { ...window, maxLimit: 64, alignsToEpoch: false },
  'strict-window': { ...window, maxLimit: 2 ** 31 },
  'leaky-bucket': {
    options: ['limit', 'windowMs', 'queue'],
    maxLimit: SAFE,
    sharesWindow: false,
    alignsToEpoch: false,
  },
  concurrency: { ...window, options: ['limit', 'holdMs'], maxLimit: 2 ** 31 },
}
