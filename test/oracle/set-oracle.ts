import { type Expected, exactly, NOTHING, type Range } from './expected'
import { Oracle, type OracleOptions } from './oracle'
import { largerInt } from './rational'
import type { OracleSettings } from './settings'

export interface SetMember {
  name: string
  settings: OracleSettings
}

/** What a SetDecision must say. */
export interface ExpectedSet {
  allowed: boolean
  /** The member whose decision is the set's. */
  tightest: string
  /** The member that refused, and makes one wait the longest. */
  limitedBy: string | undefined
  decisions: Record<string, Expected>
  /** The longest delay of any member, if the call was admitted. */
  delayUs: Range<bigint>
}

/**
 * Several limits as one, from the definition: a call is admitted if every member admits it, and then spends in all; if
 * any refuses, nothing is spent anywhere. Members must be on their exact grids: a set has no open answers.
 */
export class SetOracle {
  readonly #members: { name: string; oracle: Oracle; isQueue: boolean }[]

  constructor(members: SetMember[], options: OracleOptions = {}) {
    this.#members = members.map(({ name, settings }) => ({
      name,
      oracle: new Oracle(settings, options),
      isQueue: settings.algorithm === 'leaky-bucket',
    }))
  }

  consume(atMs: number, keys: string[], costs: number[]): ExpectedSet {
    return this.#decide(atMs, keys, costs, true)
  }

  peek(atMs: number, keys: string[], costs: number[]): ExpectedSet {
    return this.#decide(atMs, keys, costs, false)
  }

  /** Like `consume`, but only if the call may go out at once. */
  allow(atMs: number, keys: string[], costs: number[]): boolean {
    const mustWait = this.#members.some(({ oracle, isQueue }, i) => {
      const cost = costs[i] as number
      const { delayUs } = oracle.peek(atMs, keys[i] as string, undefined, false, cost)
      return isQueue && cost > 0 && delayUs.hi > 0n
    })
    return this.#decide(atMs, keys, costs, true, mustWait).allowed
  }

  /** How many tokens each member credits. */
  refund(atMs: number, keys: string[], tokens: number, chargedAgoMs: number): number[] {
    return this.#members.map(({ oracle }, i) => {
      const { lo, hi } = oracle.refund(atMs, keys[i] as string, tokens, chargedAgoMs)
      if (lo !== hi) throw new Error('a set must be on the exact grid')
      return Number(lo)
    })
  }

  /** The member of that name, to be used by itself. */
  member(name: string): Oracle {
    const member = this.#members.find((candidate) => candidate.name === name)
    if (member === undefined) throw new RangeError(`no member ${name}`)
    return member.oracle
  }

  #decide(atMs: number, keys: string[], costs: number[], spends: boolean, mustWait = false): ExpectedSet {
    const asked = this.#members.map(({ name, oracle }, i) => {
      const [key, cost] = [keys[i] as string, costs[i] as number]
      return { name, oracle, key, cost, verdict: oracle.peek(atMs, key, undefined, false, cost) }
    })
    const allowed = !mustWait && asked.every(({ verdict }) => verdict.allowed === true)
    const decided = asked.map(({ name, oracle, key, cost, verdict }) => {
      if (verdict.allowed === 'either') throw new Error('a set must be on the exact grid')
      // Who refuses may have something to note, as always; who would have admitted spends nothing.
      const isMade = spends && (allowed || !verdict.allowed)
      return { name, expected: isMade ? oracle.consume(atMs, key, cost) : verdict }
    })
    const refusing = decided.filter(({ expected }) => expected.allowed === false)
    const answering = refusing.length === 0 ? leastLeft(decided) : longestWait(refusing)
    return {
      allowed,
      tightest: answering,
      limitedBy: allowed ? undefined : answering,
      decisions: Object.fromEntries(decided.map(({ name, expected }) => [name, expected])),
      delayUs: allowed
        ? exactly(decided.map(({ expected }) => expected.delayUs.hi).reduce(largerInt))
        : NOTHING,
    }
  }
}

type Decided = { name: string; expected: Expected }[]

/** The name of the first with the least remaining. */
function leastLeft(decided: Decided): string {
  return decided.reduce((a, b) => (b.expected.remaining.lo < a.expected.remaining.lo ? b : a)).name
}

/** The name of the first with the longest wait. */
function longestWait(decided: Decided): string {
  return decided.reduce((a, b) => (waitOf(b.expected) > waitOf(a.expected) ? b : a)).name
}

function waitOf({ retryAfterUs }: Expected): number {
  return retryAfterUs === 'never' ? Number.POSITIVE_INFINITY : Number(retryAfterUs.lo)
}
