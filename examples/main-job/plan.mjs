// What the main job does: the policy, who the clients are, and the phases of a run.

/** The policy of the server: every client may spend 50 requests a second, 20 of them at once. */
export const policy = { limit: 50, windowMs: 1000, burst: 20 }
export const ratePerMs = policy.limit / policy.windowMs

/** Requests a second of each well-behaved client: 80 % of what the policy allows. */
export const pacedPerSecond = 40
export const pacedClients = Array.from({ length: 8 }, (_, index) => `client-${index + 1}`)
export const abuser = 'abuser'
export const abuserConnections = 8
export const warmUpClient = 'warm-up'

/**
 * @typedef {object} Phase
 * @property {'warm-up' | 'quiet' | 'abused'} kind warm-up is not measured; in `abused` the abuser takes part
 * @property {boolean} limited whether requests go to /limited (asks the limiter first) or to /open
 * @property {number} seconds
 */

/**
 * The phases alternate between with and without the limiter, in both orders, so that both see the same machine.
 * @param {number} seconds length of the whole run without the warm-up
 * @returns {Phase[]}
 */
export function phasesFor(seconds) {
  const rounds = seconds >= 8 ? 2 : 1
  const phaseSeconds = seconds / (4 * rounds)
  /** @type {Phase[]} */
  const phases = [false, true].map((limited) => ({ kind: 'warm-up', limited, seconds: 0.3 }))
  for (let round = 0; round < rounds; round++) {
    for (const kind of /** @type {const} */ (['quiet', 'abused'])) {
      const firstLimited = round % 2 === 1
      phases.push({ kind, limited: firstLimited, seconds: phaseSeconds })
      phases.push({ kind, limited: !firstLimited, seconds: phaseSeconds })
    }
  }
  return phases
}

/** What a phase is called while it runs. @param {Phase} phase */
export function titleOf({ kind, limited }) {
  const who = { 'warm-up': 'warm-up', quiet: 'well-behaved clients', abused: 'with the abuser' }[kind]
  return `${who}, ${limited ? 'limiter' : 'no limiter'}`
}
