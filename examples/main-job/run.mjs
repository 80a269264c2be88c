// Runs the phases: starts the server and the two load processes, drives them and collects what they saw.

import { Child } from './child-process.mjs'
import {
  abuser,
  abuserConnections,
  pacedClients,
  pacedPerSecond,
  phasesFor,
  titleOf,
  warmUpClient,
} from './plan.mjs'

/** @typedef {import('./audit.mjs').ClientCounts} ClientCounts */
/** @typedef {import('./decision-cost.mjs').Cost} Cost */
/** @typedef {import('./load.mjs').LoadResult} LoadResult */
/** @typedef {import('./load.mjs').Order} Order */
/** @typedef {import('./plan.mjs').Phase} Phase */
/** @typedef {import('./progress.mjs').Progress} Progress */

/**
 * @typedef {object} PhaseResult
 * @property {Phase} phase
 * @property {Record<string, ClientCounts>} decided what the server decided, by client; empty without the limiter
 * @property {LoadResult['seen']} seen what the clients saw
 * @property {number[]} latenciesMs of the well-behaved clients
 */
/** @typedef {{ keys: number, bytes: number }} TableStats */
/** @typedef {{ phases: PhaseResult[], cost: Cost, stats: TableStats }} RunResult */

/** @param {Phase} phase @param {number} port @returns {{ paced: Order, flood: Order | undefined }} */
function ordersOf(phase, port) {
  const { kind, limited, seconds } = phase
  const common = { port, path: limited ? '/limited' : '/open', seconds }
  const paced = { ...common, clients: pacedClients, connections: 1, perSecond: pacedPerSecond }
  const flood = { ...common, clients: [abuser], connections: abuserConnections, perSecond: null }
  if (kind === 'quiet') return { paced, flood: undefined }
  if (kind === 'abused') return { paced, flood }
  const warmUp = { ...common, clients: [warmUpClient], connections: 1 }
  return { paced: { ...warmUp, perSecond: pacedPerSecond }, flood: { ...warmUp, perSecond: null } }
}

export class MainJob {
  #progress
  /** @type {Child[]} */
  #children = []
  #sent = { paced: 0, flood: 0 }

  /** @param {Progress} progress */
  constructor(progress) {
    this.#progress = progress
  }

  /** @param {number} seconds @returns {Promise<RunResult>} */
  async run(seconds) {
    const server = this.#start('server.mjs')
    const paced = this.#start('load.mjs', (sent) => this.#count('paced', sent))
    const flood = this.#start('load.mjs', (sent) => this.#count('flood', sent))
    const port = /** @type {number} */ (await server.ask('port'))
    this.#progress.note(`server listens on http://127.0.0.1:${port}`)
    /** @type {PhaseResult[]} */
    const phases = []
    const plan = phasesFor(seconds)
    for (const [index, phase] of plan.entries()) {
      this.#sent = { paced: 0, flood: 0 }
      this.#progress.startPhase(`phase ${index + 1} of ${plan.length}: ${titleOf(phase)}`)
      phases.push(await this.#runPhase(phase, port, { server, paced, flood }))
    }
    this.#progress.startPhase('measuring the cost of a decision')
    const cost = /** @type {Cost} */ (await server.ask('measureCost'))
    const stats = /** @type {TableStats} */ (await server.ask('stats'))
    return { phases, cost, stats }
  }

  /** Ends all children. Safe to call at any time. */
  async stop() {
    await Promise.all(this.#children.map((child) => child.stop()))
  }

  /** @param {string} file @param {(sent: number) => void} [onProgress] */
  #start(file, onProgress) {
    const child = new Child(file, onProgress)
    this.#children.push(child)
    return child
  }

  /** @param {'paced' | 'flood'} who @param {number} sent */
  #count(who, sent) {
    this.#sent[who] = sent
    this.#progress.update(this.#sent.paced + this.#sent.flood)
  }

  /**
   * @param {Phase} phase @param {number} port @param {{ server: Child, paced: Child, flood: Child }} children
   * @returns {Promise<PhaseResult>}
   */
  async #runPhase(phase, port, { server, paced, flood }) {
    const orders = ordersOf(phase, port)
    const pacedRun = /** @type {Promise<LoadResult>} */ (paced.ask('drive', orders.paced))
    const floodRun = orders.flood && /** @type {Promise<LoadResult>} */ (flood.ask('drive', orders.flood))
    const [pacedResult, floodResult] = await Promise.all([pacedRun, floodRun])
    const decided = /** @type {Record<string, ClientCounts>} */ (await server.ask('endPhase'))
    const seen = { ...pacedResult.seen, ...floodResult?.seen }
    return { phase, decided, seen, latenciesMs: pacedResult.latenciesMs }
  }
}
