// Collects what the rounds measured, and compares.

/** @param {number[]} values @param {number} share 0..1; between two values, linear */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = /** @type {number} */ (sorted[Math.floor(at)])
  const high = /** @type {number} */ (sorted[Math.ceil(at)])
  return low + (high - low) * (at - Math.floor(at))
}

/** @param {number[]} values */
export function median(values) {
  return quantile(values, 0.5)
}

/** Any job's figures: numbers with names. @typedef {Record<string, number>} Figures */

export class Results {
  /** Job name to its figures, round by round. @type {Map<string, Figures[]>} */
  #rounds = new Map()

  /** @param {string} name @param {Figures} figures */
  add(name, figures) {
    const rounds = this.#rounds.get(name)
    if (rounds === undefined) this.#rounds.set(name, [figures])
    else rounds.push(figures)
  }

  /** One figure of a job, round by round; nothing if the job was not run. @param {string} name @param {string} figure */
  values(name, figure = 'medianNs') {
    return this.#rounds.get(name)?.map((figures) => /** @type {number} */ (figures[figure]))
  }

  /** The median over the rounds. @param {string} name @param {string} [figure] */
  median(name, figure) {
    const values = this.values(name, figure)
    return values === undefined ? undefined : median(values)
  }

  /** `name` in units of `base`: the median over the rounds of the ratio within each. @param {string} name @param {string} base @param {string} [figure] */
  ratio(name, base, figure) {
    const ratios = this.ratios(name, base, figure)
    return ratios === undefined ? undefined : median(ratios)
  }

  /** The same, round by round. @param {string} name @param {string} base @param {string} [figure] */
  ratios(name, base, figure) {
    const values = this.values(name, figure)
    const bases = this.values(base, figure)
    if (values === undefined || bases === undefined) return undefined
    return values.map((value, round) => value / /** @type {number} */ (bases[round]))
  }

  names() {
    return [...this.#rounds.keys()]
  }

  /** @param {string} name */
  samples(name) {
    return (this.values(name, 'samples') ?? []).reduce((sum, count) => sum + count, 0)
  }

  toJSON() {
    return Object.fromEntries(this.#rounds)
  }
}
