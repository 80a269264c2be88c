import * as fc from 'fast-check'
import type { TierSettings } from '../oracle/settings'
import { logUniform } from './policies'

/** How the clock moves before a step. Relative to the engine's last answer where it says so. */
export type Move =
  | { kind: 'stay' | 'to-retry' | 'tick-before-retry' | 'to-reset' | 'tick-before-reset' | 'century' }
  | { kind: 'by'; us: number }

export type Cost =
  | { kind: 'burst'; plus: number }
  | { kind: 'remaining'; plus: number }
  | { kind: 'share'; share: number }
  | { kind: 'exactly'; tokens: number }

export type Op =
  | { op: 'consume' | 'allow' | 'many' | 'partial' | 'acquire'; cost: Cost }
  | { op: 'peek' }
  | { op: 'reset' }
  | { op: 'refund'; cost: Cost; agoUs: number }
  | { op: 'penalize'; cost: Cost }
  | { op: 'block'; us: number }
  | { op: 'set-policy'; policy: TierSettings }
  | { op: 'reserve'; cost: Cost; ttlUs: number; maxDebt: number | undefined }
  /** `which` counts from the oldest reservation, or lease, that is still open, modulo their number. */
  | { op: 'settle'; cost: Cost; which: number }
  | { op: 'release'; which: number }

export interface Step {
  move: Move
  op: Op
  key: string
  /** Index into the policy's tiers, modulo their number + 1; 0 is the limiter itself. */
  tier: number
}

export interface Schedule {
  startUs: number
  readingUs: 1 | 1000
  steps: Step[]
}

const HOUR_US = 3_600_000_000
const YEAR_US = 365 * 24 * HOUR_US

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Move>({ kind: 'stay' }) },
  { weight: 3, arbitrary: fc.constantFrom(1, 2, 7, 999).map((us): Move => ({ kind: 'by', us })) },
  {
    weight: 6,
    arbitrary: fc
      .constantFrom(
        'to-retry' as const,
        'tick-before-retry' as const,
        'to-reset' as const,
        'tick-before-reset' as const,
      )
      .map((kind): Move => ({ kind })),
  },
  { weight: 3, arbitrary: logUniform(1, HOUR_US).map((us): Move => ({ kind: 'by', us })) },
  { weight: 1, arbitrary: logUniform(HOUR_US, YEAR_US / 4).map((us): Move => ({ kind: 'by', us })) },
  { weight: 1, arbitrary: fc.constantFrom(-11e6, -8 * HOUR_US, -1).map((us): Move => ({ kind: 'by', us })) },
  { weight: 1, arbitrary: fc.constant<Move>({ kind: 'century' }) },
)

const cost: fc.Arbitrary<Cost> = fc.oneof(
  fc.constantFrom(0, 1, 1, 1, 2).map((tokens): Cost => ({ kind: 'exactly', tokens })),
  fc.constantFrom(-1, 0, 1).map((plus): Cost => ({ kind: 'burst', plus })),
  fc.constantFrom(-1, 0, 0, 1).map((plus): Cost => ({ kind: 'remaining', plus })),
  fc.double({ min: 0, max: 1, noNaN: true }).map((share): Cost => ({ kind: 'share', share })),
)

const agoUs = fc.oneof(fc.constant(0), fc.constantFrom(1, 1000, 1e6), logUniform(1, HOUR_US))
const blockUs = fc.oneof(fc.constantFrom(0, 1, 1000, 1500), logUniform(1, 24 * HOUR_US))

const charge: fc.Arbitrary<Op> = fc.record({
  op: fc.constantFrom('consume', 'consume', 'consume', 'allow', 'many', 'partial'),
  cost,
})
const which = fc.integer({ min: 0, max: 3 })
const estimate: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    op: fc.constant('reserve'),
    cost,
    ttlUs: fc.oneof(fc.constantFrom(0, 1000, 1e6), logUniform(1, HOUR_US)),
    maxDebt: fc.constantFrom(undefined, undefined, 0, 1, 1_000_000),
  }),
  fc.record({ op: fc.constant('settle'), cost, which }),
)
const lease: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant('acquire'), cost }),
  fc.record({ op: fc.constant('release'), which }),
)
const look: fc.Arbitrary<Op> = fc.constant({ op: 'peek' })
const correct: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant('refund'), cost, agoUs }),
  fc.record({ op: fc.constant('penalize'), cost }),
)
const stop: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant('block'), us: blockUs }),
  fc.constant<Op>({ op: 'reset' }),
)

export interface ScheduleOptions {
  /** Operations that the schedule may have. Default: all but those of leases. */
  ops?: readonly Op['op'][]
  maxSteps?: number
  /** Whether nobody stays away for hours. Default: some do, for a century too. */
  calm?: boolean
}

export const CHARGES_ONLY = ['consume', 'allow', 'many', 'partial', 'peek'] as const
const COMMON_OPS = [...CHARGES_ONLY, 'reset', 'refund', 'penalize', 'block'] as const
/** Where settling has open answers that nothing tells. */
export const WITHOUT_RESERVATIONS = COMMON_OPS
const RESERVING_OPS = [...COMMON_OPS, 'reserve', 'settle'] as const
export const LEASING_OPS = [...COMMON_OPS, 'acquire', 'release'] as const

/** The same, but that nothing happens in the moment in which the limiter is made. */
export function later(steps: fc.Arbitrary<Schedule>): fc.Arbitrary<Schedule> {
  return steps.map(({ steps: [first, ...others], ...schedule }) => ({
    ...schedule,
    steps: first === undefined ? [] : [{ ...first, move: { kind: 'by', us: 7 } }, ...others],
  }))
}

export function schedules({
  ops = RESERVING_OPS,
  maxSteps = 40,
  calm = false,
}: ScheduleOptions = {}): fc.Arbitrary<Schedule> {
  const op = fc
    .oneof(
      { weight: 8, arbitrary: charge },
      { weight: 2, arbitrary: look },
      { weight: 2, arbitrary: correct },
      { weight: 1, arbitrary: stop },
      { weight: ops.includes('acquire') ? 8 : 0, arbitrary: lease },
      { weight: ops.includes('reserve') ? 3 : 0, arbitrary: estimate },
    )
    .filter((candidate) => ops.includes(candidate.op))
  const step = fc.record({
    move: calm ? move.filter(isShort) : move,
    op,
    key: fc.constantFrom('a', 'a', 'b'),
    tier: fc.integer({ min: 0, max: 2 }),
  })
  return fc.record({
    startUs: fc.oneof(
      fc.constant(0),
      fc.constantFrom(1_700_000_000_000_000, 1_234_567_000),
      fc.constant(-5_000_000),
    ),
    readingUs: fc.constantFrom(1 as const, 1 as const, 1000 as const),
    steps: fc.array(step, { minLength: 1, maxLength: maxSteps, size: 'max' }),
  })
}

function isShort(candidate: Move): boolean {
  return candidate.kind !== 'century' && !(candidate.kind === 'by' && candidate.us > HOUR_US)
}
