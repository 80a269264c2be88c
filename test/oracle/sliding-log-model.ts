import { CountingModel } from './counting-model'
import { exactly, type OraclePolicy, type Range } from './expected'
import { largerInt } from './rational'

/** The times of all tokens spent; a token counts for one window from the moment on at which it was spent. */
export class SlidingLogModel extends CountingModel {
  /** Ascending, one for each token. */
  #timesUs: bigint[] = []
  readonly #windowUs: bigint

  constructor(policy: OraclePolicy) {
    super()
    this.#windowUs = policy.windowUs
  }

  protected advance(nowUs: bigint): void {
    this.#timesUs = this.#timesUs.filter((timeUs) => nowUs - timeUs < this.#windowUs)
  }

  protected room(_nowUs: bigint, policy: OraclePolicy): Range<bigint> {
    return exactly(policy.limit - BigInt(this.#timesUs.length))
  }

  protected waitFor(nowUs: bigint, cost: bigint, policy: OraclePolicy): Range<bigint> {
    const mustLeave = Number(BigInt(this.#timesUs.length) + cost - policy.limit)
    return exactly((this.#timesUs[mustLeave - 1] as bigint) + this.#windowUs - nowUs)
  }

  protected untilReset(nowUs: bigint): Range<bigint> {
    const newestUs = this.#timesUs.at(-1)
    return exactly(newestUs === undefined ? 0n : largerInt(0n, newestUs + this.#windowUs - nowUs))
  }

  protected count(nowUs: bigint, { hi }: Range<bigint>): void {
    for (let i = 0n; i < hi; i++) this.#timesUs.push(nowUs)
  }

  protected giveBack(nowUs: bigint, tokens: bigint, chargedAgoUs: bigint): Range<bigint> {
    const chargedUs = nowUs - chargedAgoUs
    const later = this.#timesUs.filter((timeUs) => timeUs > chargedUs)
    const earlier = this.#timesUs.filter((timeUs) => timeUs <= chargedUs)
    const credited = Math.min(earlier.length, Number(tokens))
    this.#timesUs = [...earlier.slice(0, earlier.length - credited), ...later]
    return exactly(BigInt(credited))
  }
}
