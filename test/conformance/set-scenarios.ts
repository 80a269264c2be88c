import type { SetScenario, VectorMember } from './format'

const second: VectorMember = {
  name: 'second',
  policy: { algorithm: 'token-bucket', limit: 3, windowMs: 1000 },
}
const minute: VectorMember = {
  name: 'minute',
  policy: { algorithm: 'fixed-window', limit: 5, windowMs: 60_000 },
}
const global: VectorMember = {
  name: 'global',
  policy: { algorithm: 'sliding-window', limit: 100, windowMs: 10_000 },
}

export const setScenarios: SetScenario[] = [
  {
    name: 'set: all admit and all spend, or one refuses and none does',
    members: [second, minute],
    steps: [
      [0, 'peek', ['k', 'k'], [1, 1]],
      [0, 'consume', ['k', 'k'], [2, 2]],
      [0, 'consume', ['k', 'k'], [2, 2]],
      [0, 'peek', ['k', 'k'], [1, 1]],
      [0, 'consume', ['k', 'k'], [1, 1]],
      [0, 'peek', ['k', 'k'], [1, 1]],
      [1000, 'consume', ['k', 'k'], [2, 3]],
      [1000, 'consume', ['k', 'k'], [2, 2]],
      [1000, 'allow', ['k', 'k'], [3, 2]],
      ['second', 1000, 'consume', 'k', 1],
      ['minute', 1000, 'peek', 'k'],
    ],
  },
  {
    name: 'set: a key and a cost for each',
    members: [second, minute, global],
    steps: [
      [0, 'consume', ['alice', '/search', 'all'], [1, 2, 30]],
      [0, 'consume', ['bob', '/search', 'all'], [1, 2, 30]],
      [0, 'consume', ['carol', '/search', 'all'], [1, 2, 30]],
      [0, 'consume', ['carol', '/find', 'all'], [1, 0, 41]],
      [0, 'consume', ['carol', '/find', 'all'], [0, 0, 40]],
      [0, 'consume', ['carol', '/find', 'all'], [0, 0, 0]],
      [0, 'consume', ['carol', '/find', 'all'], [1, 1, 1]],
      ['second', 0, 'peek', 'carol'],
      ['global', 0, 'peek', 'all'],
      [15_000, 'consume', ['carol', '/find', 'all'], [1, 1, 50]],
    ],
  },
  {
    name: 'set: of those that refuse, the one with the longest wait answers',
    members: [second, minute, global],
    steps: [
      [0, 'consume', ['k', 'k', 'k'], [3, 5, 50]],
      [0, 'consume', ['k', 'k', 'k'], [1, 1, 1]],
      [0, 'consume', ['k', 'l', 'k'], [1, 1, 51]],
      [0, 'consume', ['k', 'k', 'k'], [1, 6, 1]],
      [59_999.999, 'allow', ['k', 'k', 'k'], [1, 1, 1]],
      [60_000, 'allow', ['k', 'k', 'k'], [1, 1, 1]],
    ],
  },
  {
    name: 'set: a block of one refuses for all',
    members: [second, minute],
    steps: [
      ['minute', 0, 'block', 'k', 500],
      [0, 'consume', ['k', 'k'], [1, 1]],
      [0, 'consume', ['k', 'k'], [0, 0]],
      ['second', 0, 'peek', 'k'],
      [500, 'consume', ['k', 'k'], [1, 1]],
      ['second', 500, 'penalize', 'k', 99],
      [500, 'consume', ['k', 'k'], [1, 1]],
      ['minute', 500, 'peek', 'k'],
    ],
  },
  {
    name: 'set: allow does not wait where a member paces',
    members: [
      second,
      { name: 'paced', policy: { algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 3 } },
    ],
    steps: [
      [0, 'allow', ['k', 'k'], [1, 1]],
      [0, 'allow', ['k', 'k'], [1, 1]],
      ['second', 0, 'peek', 'k'],
      [0, 'consume', ['k', 'k'], [1, 1]],
      [100, 'allow', ['k', 'k'], [1, 0]],
      [199.999, 'allow', ['k', 'k'], [0, 1]],
      [200, 'allow', ['k', 'k'], [0, 1]],
    ],
  },
  {
    name: 'set: every algorithm beside every other',
    members: [
      second,
      minute,
      global,
      { name: 'log', policy: { algorithm: 'sliding-log', limit: 6, windowMs: 10_000 } },
      { name: 'strict', policy: { algorithm: 'strict-window', limit: 7, windowMs: 12_000 } },
      { name: 'leaky', policy: { algorithm: 'leaky-bucket', limit: 1, windowMs: 1000, queue: 3 } },
    ],
    steps: [
      [0, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 1, 1, 1]],
      [0, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 2, 3, 4, 5, 1]],
      [0, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 2, 1, 1]],
      [0, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 1, 2, 1]],
      [0, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 1, 1, 3]],
      [2000, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [3, 2, 90, 1, 1, 2]],
      [2000, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 1, 1, 1]],
      [60_000, 'consume', ['k', 'k', 'k', 'k', 'k', 'k'], [1, 1, 1, 1, 1, 1]],
    ],
  },
]
