import type { KeyModel } from './expected'

/** How repeat offenders are blocked. */
export interface EscalationPolicy {
  /** The block after the first offence, after the second, ...; the last one repeats. */
  blockUs: bigint[]
  /** How long after the end of the last block the offences are forgotten. */
  forgetUs: bigint
}

/** The offences of one key: calls that were refused as limited, each of which blocked it. */
export class Offences {
  #count = 0
  #lastBlockEndUs = 0n

  /** What to block the key for, now that it has offended. */
  nextBlockUs(nowUs: bigint, { blockUs, forgetUs }: EscalationPolicy): bigint {
    if (!this.isRemembered(nowUs, forgetUs)) this.#count = 0
    return blockUs[Math.min(this.#count, blockUs.length - 1)] as bigint
  }

  record(blockEndUs: bigint): void {
    this.#count++
    this.#lastBlockEndUs = blockEndUs
  }

  isRemembered(nowUs: bigint, forgetUs: bigint): boolean {
    return this.#count > 0 && nowUs < this.#lastBlockEndUs + forgetUs
  }
}

/** A key, with what else the oracle knows of it. */
export interface KeyState {
  model: KeyModel
  offences: Offences
}
