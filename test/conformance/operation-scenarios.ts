import type { Scenario, ScenarioStep, VectorPolicy } from './format'

const bucket = { algorithm: 'token-bucket', limit: 10, windowMs: 1000 } as const
const window = { algorithm: 'fixed-window', limit: 10, windowMs: 1000 } as const
const sliding = { algorithm: 'sliding-window', limit: 10, windowMs: 1000 } as const
const log = { algorithm: 'sliding-log', limit: 10, windowMs: 1000 } as const
const strict = { algorithm: 'strict-window', limit: 10, windowMs: 1200 } as const
const leaky = { algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 9 } as const
const places = { algorithm: 'concurrency', limit: 10, holdMs: 1200 } as const

const all: VectorPolicy[] = [bucket, window, sliding, log, strict, leaky, places]
const settling: VectorPolicy[] = [bucket, window, sliding, log, strict, leaky]

const partialSteps: ScenarioStep[] = [
  [50, 'consumePartial', 'k', 0],
  [50, 'consumePartial', 'k', 7],
  [50, 'consumePartial', 'k', 7],
  [50, 'consumePartial', 'k', 7],
  [50, 'consumePartial', 'k', 0],
  [350, 'consumePartial', 'k', 1000],
  [5000, 'consumePartial', 'k', 1000],
  [10_000, 'block', 'k', 10],
  [10_000, 'consumePartial', 'k', 1],
]

const reservingSteps: ScenarioStep[] = [
  [0, 'reserve', 'k', 6, 60_000, { as: 'low' }],
  [0, 'reserve', 'k', 11, 60_000],
  [0, 'reserve', 'k', 2, 60_000, { as: 'high' }],
  [0, 'reserve', 'k', 1, 60_000, { as: 'exact' }],
  [0, 'reserve', 'k', 2, 60_000],
  [0, 'settle', 'k', 1, { of: 'exact' }],
  [100, 'settle', 'k', 2, { of: 'low' }],
  [100, 'peek', 'k'],
  [100, 'settle', 'k', 5, { of: 'high' }],
  [100, 'peek', 'k'],
  [3000, 'reserve', 'k', 4, 60_000, { as: 'cancelled' }],
  [3000, 'cancel', 'k', { of: 'cancelled' }],
  [3000, 'peek', 'k'],
]

const expiringSteps: ScenarioStep[] = [
  [0, 'reserve', 'a', 10, 50, { as: 'early' }],
  [0, 'reserve', 'b', 10, 50, { as: 'late' }],
  [0, 'reserve', 'c', 5, 50, { as: 'more' }],
  [49.999, 'settle', 'a', 5, { of: 'early' }],
  [49.999, 'peek', 'a'],
  [50.001, 'settle', 'b', 5, { of: 'late' }],
  [50.001, 'peek', 'b'],
  [50.001, 'settle', 'c', 8, { of: 'more' }],
  [50.001, 'peek', 'c'],
]

const owingSteps: ScenarioStep[] = [
  [0, 'reserve', 'a', 5, 60_000, { as: 'default' }],
  [0, 'settle', 'a', 16, { of: 'default' }],
  [0, 'peek', 'a'],
  [0, 'consume', 'a', 10],
  [0, 'penalize', 'a', 1],
  [2100, 'peek', 'a'],
  [0, 'reserve', 'b', 5, 60_000, { as: 'more than there is' }],
  [0, 'settle', 'b', 26, { of: 'more than there is' }],
  [0, 'reserve', 'c', 5, 60_000, 0, { as: 'none' }],
  [0, 'settle', 'c', 16, { of: 'none' }],
  [0, 'peek', 'c'],
  [0, 'reserve', 'd', 5, 60_000, 3, { as: 'some' }],
  [0, 'settle', 'd', 16, { of: 'some' }],
  [0, 'peek', 'd'],
  [0, 'refund', 'd', 2],
  [0, 'peek', 'd'],
]

function forEach(policies: VectorPolicy[], name: string, steps: ScenarioStep[]): Scenario[] {
  return policies.map((policy) => ({ name: `${policy.algorithm}: ${name}`, policy, steps }))
}

const escalate = { blockMs: [2000, 5000, 60_000], forgetMs: 10_000 }

/** Offences at 0, 2000.5 (the block ends at 2001), 7001 and 67 001 ms, and after good behaviour. */
const offendingSteps: ScenarioStep[] = [
  [0, 'consume', 'k', 10],
  [0.5, 'peek', 'k'],
  [0.5, 'consume', 'k', 11],
  [0.5, 'consume', 'k', 1],
  [0.5, 'consume', 'k', 1],
  [1999, 'allow', 'k', 0],
  [2001, 'consume', 'k', 10],
  [2001, 'allow', 'k', 1],
  [2001, 'peek', 'k'],
  [7001, 'consume', 'k', 10],
  [7001, 'consumePartial', 'k', 2],
  [67_001, 'consume', 'k', 10],
  [67_001, 'reserve', 'k', 1, 1000],
  [127_001, 'block', 'k', 3000],
  [137_000.999, 'consume', 'k', 10],
  [137_000.999, 'consume', 'k', 1],
  [207_001, 'consume', 'k', 10],
  [207_001, 'consume', 'k', 1],
  [207_001, 'reset', 'k'],
  [207_001, 'consume', 'k', 10],
  [207_001, 'consume', 'k', 1],
  [207_001, 'peek', 'l'],
]

export const operationScenarios: Scenario[] = [
  ...forEach(all, 'partial consumption takes what there is', partialSteps),
  ...forEach(settling, 'a reservation is settled for less, for more and exactly', reservingSteps),
  ...forEach(settling, 'after ttlMs an estimate stands, and more is still charged', expiringSteps),
  ...forEach(settling, 'settling above the estimate goes down to maxDebt, at most one capacity', owingSteps),
  ...forEach(
    [bucket, window, sliding, log, strict].map((policy) => ({ ...policy, escalate })),
    'repeat offenders are blocked for longer and longer',
    offendingSteps,
  ),
  {
    name: 'partial consumption under tiers, and of what a new key begins with',
    policy: { ...bucket, initial: 3, tiers: { paid: { limit: 100 } } },
    steps: [
      [10, 'consumePartial', 'k', 5],
      [10, 'consumePartial', 'k', 5],
      [10, 'consumePartial', 'l', 500, { tier: 'paid' }],
      [210, 'consumePartial', 'k', 5],
    ],
  },
  {
    name: 'reservations under tiers are settled under them',
    policy: { ...window, tiers: { paid: { limit: 100 } } },
    steps: [
      [0, 'reserve', 'k', 60, 1000, { tier: 'paid', as: 'paid' }],
      [0, 'peek', 'k'],
      [500, 'settle', 'k', 170, { of: 'paid' }],
      [500, 'peek', 'k', { tier: 'paid' }],
      [500, 'reserve', 'k', 1, 1000, { tier: 'paid', as: 'refused' }],
    ],
  },
]
