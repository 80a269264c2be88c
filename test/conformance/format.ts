/** The vector file's shape. README.md in this folder explains it in words. */

export type VectorKey = string | number | { bytes: number[] }

export type VectorNumber = number | 'Infinity' | { min: number; max: number }

export type VectorAlgorithm =
  | 'token-bucket'
  | 'fixed-window'
  | 'sliding-window'
  | 'sliding-log'
  | 'strict-window'
  | 'leaky-bucket'
  | 'concurrency'

export interface VectorPolicy {
  algorithm: VectorAlgorithm
  limit: number
  /** All but concurrency. */
  windowMs?: number
  /** Concurrency. */
  holdMs?: number
  burst?: number
  queue?: number
  align?: 'first-request' | 'epoch'
  initial?: number
  rememberMs?: number
  evenly?: boolean
  escalate?: { blockMs: number[]; forgetMs: number }
  tiers?: Record<string, { limit?: number; burst?: number; windowMs?: number; queue?: number }>
}

export interface VectorDecision {
  allowed: boolean
  reason: string
  limit: number
  remaining: VectorNumber
  retryAfterMs: VectorNumber
  resetAfterMs: VectorNumber
  delayMs: VectorNumber
  consumed: number
}

export type VectorOp =
  | 'consume'
  | 'consumePartial'
  | 'allow'
  | 'peek'
  | 'refund'
  | 'penalize'
  | 'block'
  | 'reset'
  | 'acquire'
  | 'release'
  | 'reserve'
  | 'settle'
  | 'cancel'

/** `args` are the operation's arguments after the key. `expect` is null where the answer does not matter. */
export interface VectorStep {
  atMs: number
  op: VectorOp
  key: VectorKey
  args: number[]
  tier?: string
  /** Of `release`, `settle`, `cancel`: the index of the step whose lease or reservation it is. */
  of?: number
  expect: VectorDecision | VectorNumber | boolean | null
}

export interface VectorCase {
  name: string
  policy: VectorPolicy
  steps: VectorStep[]
}

export interface VectorMember {
  name: string
  policy: VectorPolicy
}

export interface VectorSetDecision {
  /** The decision of the member that answers for all, with the longest delay of any. */
  decision: VectorDecision
  limitedBy: string | null
  decisions: Record<string, VectorDecision>
}

/** A call of a set; or, with `member`, of one of its members by itself. */
export type VectorSetStep =
  | {
      atMs: number
      op: 'consume' | 'allow' | 'peek'
      keys: VectorKey[]
      costs: number[]
      expect: VectorSetDecision | boolean
    }
  | (VectorStep & { member: string })

export interface VectorSet {
  name: string
  members: VectorMember[]
  steps: VectorSetStep[]
}

export interface VectorFile {
  format: 2
  cases: VectorCase[]
  sets: VectorSet[]
}

/** Under which tier; what later steps call the lease or reservation of this one; and whose this step means. */
export interface ScenarioNote {
  tier?: string
  as?: string
  of?: string
}

/** A step as its author writes it: when, what, on which key, arguments, and perhaps a note at the end. */
export type ScenarioStep = [number, VectorOp, VectorKey, ...(number | ScenarioNote)[]]

export interface Scenario {
  name: string
  policy: VectorPolicy
  steps: ScenarioStep[]
}

/** A call of a set: the key of each member, and what it costs there; or of a member by itself, named first. */
export type SetScenarioStep =
  | [number, 'consume' | 'allow' | 'peek', VectorKey[], number[]]
  | [string, ...ScenarioStep]

export interface SetScenario {
  name: string
  members: VectorMember[]
  steps: SetScenarioStep[]
}
