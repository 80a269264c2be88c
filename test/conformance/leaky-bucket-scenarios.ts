import type { Scenario } from './format'

const DAY_MS = 86_400_000
const YEAR_MS = 365 * DAY_MS
const tenPerSecond = { algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 3 } as const
const paid = { tier: 'paid' }

export const leakyBucketScenarios: Scenario[] = [
  {
    name: 'leaky bucket: one at once, the queue one after the other, then none',
    policy: tenPerSecond,
    steps: [
      [0, 'peek', 'k'],
      [0, 'consume', 'k', 1],
      [0, 'consume', 'k', 1],
      [0, 'peek', 'k'],
      [0, 'consume', 'k', 1],
      [0, 'consume', 'k', 1],
      [0, 'consume', 'k', 1],
      [99.999, 'consume', 'k', 1],
      [100, 'consume', 'k', 1],
      [250, 'peek', 'k'],
      [250, 'consume', 'k', 2],
      [250, 'consume', 'k', 1],
      [699.999, 'consume', 'k', 1],
      [700, 'peek', 'k'],
      [5000, 'consume', 'k', 1],
    ],
  },
  {
    name: 'leaky bucket: the queue is as long as the limit by default',
    policy: { algorithm: 'leaky-bucket', limit: 2, windowMs: 1000 },
    steps: [
      [0, 'consume', 'k', 4],
      [0, 'consume', 'k', 3],
      [0, 'consume', 'k', 1],
      [500, 'consume', 'k', 1],
      [500, 'consume', 'k', 0],
    ],
  },
  {
    name: 'leaky bucket: a large call goes out when all before it has, and holds back all after it',
    policy: tenPerSecond,
    steps: [
      [0, 'consume', 'k', 3],
      [0, 'consume', 'k', 1],
      [50, 'consume', 'k', 1],
      [300, 'consume', 'k', 3],
      [300, 'consume', 'k', 5],
    ],
  },
  {
    name: 'leaky bucket: allow does not wait',
    policy: tenPerSecond,
    steps: [
      [0, 'allow', 'k', 1],
      [0, 'allow', 'k', 1],
      [0, 'allow', 'k', 0],
      [99.999, 'allow', 'k', 1],
      [100, 'allow', 'k', 4],
      [100, 'consume', 'k', 1],
      [499.999, 'allow', 'k', 1],
      [500, 'allow', 'k', 5],
      [500, 'allow', 'k', 1],
    ],
  },
  {
    name: 'leaky bucket: a third of a second apart',
    policy: { algorithm: 'leaky-bucket', limit: 3, windowMs: 1000, queue: 2 },
    steps: [
      [5, 'consume', 'k', 1],
      [5, 'consume', 'k', 1],
      [5, 'consume', 'k', 1],
      [5, 'consume', 'k', 1],
      [338.333, 'consume', 'k', 1],
      [338.334, 'consume', 'k', 1],
    ],
  },
  {
    name: 'leaky bucket: the clock steps back 11 s and forward 100 years',
    policy: tenPerSecond,
    steps: [
      [100_000, 'consume', 'k', 4],
      [89_000, 'consume', 'k', 1],
      [89_100, 'consume', 'k', 1],
      [100 * YEAR_MS, 'consume', 'k', 1],
      [100 * YEAR_MS, 'consume', 'k', 1],
      [0, 'consume', 'k', 1],
      [0, 'peek', 'k'],
    ],
  },
  {
    name: 'leaky bucket: a place that was given away is not taken back',
    policy: tenPerSecond,
    steps: [
      [0, 'consume', 'k', 3],
      [0, 'refund', 'k', 2],
      [50, 'refund', 'k', 1, 50],
      [50, 'peek', 'k'],
    ],
  },
  {
    name: 'leaky bucket: penalize fills the queue, and a block lets it leak',
    policy: tenPerSecond,
    steps: [
      [0, 'penalize', 'k', 2],
      [0, 'penalize', 'k', 99],
      [0, 'consume', 'k', 1],
      [100, 'consume', 'k', 1],
      [100, 'block', 'k', 400],
      [300, 'consume', 'k', 0],
      [499.999, 'consume', 'k', 1],
      [500, 'consume', 'k', 1],
      [500, 'reset', 'k'],
      [500, 'reset', 'k'],
      [500, 'consume', 'k', 1],
    ],
  },
  {
    name: 'leaky bucket: tiers share the queue, and calls that were told their times keep them',
    policy: { ...tenPerSecond, tiers: { paid: { limit: 100 } } },
    steps: [
      [0, 'consume', 'k', 4],
      [0, 'consume', 'k', 1],
      [0, 'consume', 'k', 50, paid],
      [0, 'consume', 'k', 1, paid],
      [500, 'peek', 'k', paid],
      [540, 'consume', 'k', 1],
      [540, 'consume', 'k', 4],
      [DAY_MS, 'consume', 'k', 101, paid],
    ],
  },
]
