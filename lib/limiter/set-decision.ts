import { type Decision, REASONS, type Reason } from './decision'

/** The answer of a set: that of the member which says most, with all of them beside it. */
export interface SetDecision extends Decision {
  /** The member that refused; of several the one with the longest `retryAfterMs`. Absent if the call was admitted. */
  readonly limitedBy?: string
  /**
   * What each member says, by name. Of a call that was refused, those that would have admitted it say so (`allowed`), and
   * have spent nothing (`consumed` 0).
   */
  readonly decisions: Readonly<Record<string, Decision>>
}

type Writable<T> = { -readonly [P in keyof T]: T[P] }

/** Of each member: outcome, remaining, retryAfterMs, resetAfterMs, limit, delayMs. */
const FIELDS = 6

// An object of one shape, unlike Object.create(null), and without a prototype in which a member's name could be found.
const Decisions = function Decisions() {} as unknown as new () => Record<string, Decision>
Decisions.prototype = Object.freeze(Object.create(null))

/**
 * What the engine has left in `results` (see NativeSet).
 * @param charged key and cost of each member in turn, if the call was charged; nothing if it only looked
 */
export function setDecisionOf(
  names: readonly string[],
  results: Float64Array,
  allowed: boolean,
  charged: readonly unknown[] | undefined,
): SetDecision {
  const members: Decision[] = new Array(names.length)
  for (let i = 0; i < names.length; i++) {
    const cost = (charged?.[2 * i + 1] as number | undefined) ?? 1
    members[i] = memberDecision(results, i * FIELDS, allowed && charged !== undefined ? cost : 0)
  }
  return joinDecisions(names, members, allowed)
}

/** The answer of a set whose members say that. @param allowed whether the set as a whole was admitted */
export function joinDecisions(
  names: readonly string[],
  members: readonly Decision[],
  allowed: boolean,
): SetDecision {
  const decisions = new Decisions()
  let spokesman = 0
  let delayMs = 0
  for (let i = 0; i < names.length; i++) {
    const member = members[i] as Decision
    decisions[names[i] as string] = member
    if (member.delayMs > delayMs) delayMs = member.delayMs
    if (i > 0 && saysMore(member, members[spokesman] as Decision)) spokesman = i
  }
  const most = members[spokesman] as Decision
  const { limit, remaining, retryAfterMs, resetAfterMs, consumed, reason, source } = most
  const decision: Writable<SetDecision> = {
    allowed,
    limit,
    remaining,
    retryAfterMs,
    resetAfterMs,
    consumed,
    delayMs: allowed ? delayMs : 0,
    reason,
    source,
    decisions,
  }
  if (!allowed) decision.limitedBy = names[spokesman] as string
  return decision
}

function memberDecision(results: Float64Array, from: number, consumed: number): Decision {
  const outcome = results[from] as number
  return {
    allowed: outcome === 0,
    limit: results[from + 4] as number,
    remaining: results[from + 1] as number,
    retryAfterMs: results[from + 2] as number,
    resetAfterMs: results[from + 3] as number,
    consumed,
    delayMs: results[from + 5] as number,
    reason: REASONS[outcome] as Reason,
    source: 'local',
  }
}

/** A refusal more than an admission, then the longer wait; among admissions what leaves less. */
function saysMore(a: Decision, b: Decision): boolean {
  if (a.allowed !== b.allowed) return !a.allowed
  return a.allowed ? a.remaining < b.remaining : a.retryAfterMs > b.retryAfterMs
}
