import { ClockModel } from '../oracle/clock-model'
import type { OracleSettings } from '../oracle/settings'
import { Driver, type Event } from './driver'
import type { Schedule } from './schedules'

export interface Admission {
  atUs: bigint
  tokens: bigint
}

/** Every admitted charge of one key, in the limiter's own time. A refund is a negative one. */
export function admissions(policy: OracleSettings, schedule: Schedule, key: string): Admission[] {
  const clock = new ClockModel(schedule.startUs / 1000)
  const admitted: Admission[] = []
  new Driver(policy, schedule).run(schedule.steps, (event) => {
    const atUs = clock.read(event.atMs)
    if (event.key === key) admitted.push({ atUs, tokens: admittedTokens(event) })
  })
  return admitted.filter(({ tokens }) => tokens !== 0n)
}

export function admittedTokens(event: Event): bigint {
  if (event.op === 'consume' && event.answer.allowed) return BigInt(event.tokens)
  if (event.op === 'partial') return BigInt(event.answer.consumed)
  if (event.op === 'allow' && event.answer) return BigInt(event.tokens)
  if (event.op === 'many') return BigInt(event.answer.allowedCount) * BigInt(event.tokens)
  // The returned number is rounded down: up to one token more may have been credited.
  if (event.op === 'refund') return -BigInt(event.answer) - 1n
  return 0n
}

function list(admitted: Admission[]): string {
  return admitted.map(({ atUs, tokens }) => `${atUs} us: ${tokens}`).join('\n')
}

/** For every pair of admissions, throws if more passed between them than `most` says for their distance. */
export function checkAllPairs(admitted: Admission[], most: (distanceUs: bigint) => bigint): void {
  for (const [first, from] of admitted.entries()) {
    let passed = 0n
    for (const to of admitted.slice(first)) {
      passed += to.tokens
      const allowance = most(to.atUs - from.atUs)
      if (passed > allowance) {
        throw new Error(
          `${passed} passed from ${from.atUs} us to ${to.atUs} us, where ${allowance} may:\n${list(admitted)}`,
        )
      }
    }
  }
}
