/** The vector file's shape. README.md in this folder explains it in words. */

export type VectorKey = string | number | { bytes: number[] }

export type VectorNumber = number | 'Infinity' | { min: number; max: number }

export interface VectorPolicy {
  algorithm: 'token-bucket' | 'fixed-window'
  limit: number
  windowMs: number
  burst?: number
  align?: 'first-request' | 'epoch'
  tiers?: Record<string, { limit?: number; burst?: number; windowMs?: number }>
}

export interface VectorDecision {
  allowed: boolean
  reason: string
  limit: number
  remaining: VectorNumber
  retryAfterMs: VectorNumber
  resetAfterMs: VectorNumber
}

export type VectorOp = 'consume' | 'allow' | 'peek' | 'refund' | 'penalize' | 'block' | 'reset'

/** `args` are the operation's arguments after the key. `expect` is null where the operation returns nothing. */
export interface VectorStep {
  atMs: number
  op: VectorOp
  key: VectorKey
  args: number[]
  tier?: string
  expect: VectorDecision | VectorNumber | boolean | null
}

export interface VectorCase {
  name: string
  policy: VectorPolicy
  steps: VectorStep[]
}

export interface VectorFile {
  format: 1
  cases: VectorCase[]
}

/** A step as its author writes it: when, what, on which key, arguments, and perhaps `{ tier }` at the end. */
export type ScenarioStep = [number, VectorOp, VectorKey, ...(number | { tier: string })[]]

export interface Scenario {
  name: string
  policy: VectorPolicy
  steps: ScenarioStep[]
}
