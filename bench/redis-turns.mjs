// Contenders that decide by Redis take turns, so that all meet the same machine.

import { Crew } from './crew.mjs'
import { connect } from './redis-contenders.mjs'
import { TURNS, WARM_UP_TURNS } from './redis-jobs.mjs'
import { startRedis } from './redis-server.mjs'
import { median, quantile } from './results.mjs'

/**
 * @typedef {import('./redis-jobs.mjs').RedisContender} RedisContender
 * @typedef {import('./redis-jobs.mjs').RedisJob} RedisJob
 * @typedef {import('./redis-member.mjs').Decided} Decided
 * @typedef {import('./results.mjs').Figures} Figures
 *
 * Of one turn. Commands are those that a client has sent, not those of scripts.
 * @typedef {Record<'perSecond' | 'cpuUs' | 'p50Us' | 'p99Us' | 'serverUs' | 'commandsPer1000', number>} Turn
 */

const memberFile = new URL('redis-member.mjs', import.meta.url)
/** What clients send here; scripts send none of these. */
const SENT = ['evalsha', 'eval', 'script\\|load', 'publish', 'subscribe']

/**
 * The figures of contender c are called `c.perSecond` and so on: the median over its turns. `c.low` and `c.high` are the
 * quartiles of `perSecond`; `c.perSecond/b` is the median of the ratios of c's turns to b's next to them.
 * @param {RedisJob} job @returns {Promise<Figures>}
 */
export async function measureRedis({ contenders, inFlight, measureMs }) {
  const redis = await startRedis()
  const watcher = connect(redis.port)
  const crew = await Crew.start('processes', contenders.length, memberFile)
  try {
    /** @type {Map<RedisContender, Turn[]>} */
    const turns = new Map(contenders.map((name) => [name, []]))
    for (const [index, contender] of contenders.entries()) {
      await crew.one(index, {
        do: 'prepare',
        contender,
        port: redis.port,
        inFlight,
        warmUpMs: WARM_UP_TURNS * measureMs,
      })
    }
    for (let turn = 0; turn < TURNS; turn++) {
      const order = turn % 2 === 0 ? [...contenders] : [...contenders].reverse()
      for (const contender of order) {
        const decide = () =>
          crew.one(contenders.indexOf(contender), { do: 'decide', durationMs: measureMs, inFlight })
        turns.get(contender)?.push(await watchedTurn(watcher, decide))
      }
    }
    return figuresOf(turns)
  } finally {
    crew.stop()
    watcher.disconnect()
    redis.stop()
  }
}

/** @param {import('./redis-contenders.mjs').RedisClient} watcher @param {() => Promise<unknown>} decide @returns {Promise<Turn>} */
async function watchedTurn(watcher, decide) {
  await watcher.config('RESETSTAT')
  const before = cpuSeconds(await watcher.info('cpu'))
  const { decisions, elapsedNs, cpuNs, p50Ns, p99Ns } = /** @type {Decided} */ (await decide())
  const serverUs = (cpuSeconds(await watcher.info('cpu')) - before) * 1e6
  const commands = commandsIn(await watcher.info('commandstats'))
  return {
    perSecond: decisions / (elapsedNs / 1e9),
    cpuUs: cpuNs / 1e3 / decisions,
    p50Us: p50Ns / 1e3,
    p99Us: p99Ns / 1e3,
    serverUs: serverUs / decisions,
    commandsPer1000: (commands / decisions) * 1000,
  }
}

/** @param {string} info */
function cpuSeconds(info) {
  const [user, system] = ['user', 'sys'].map((kind) =>
    Number(new RegExp(`^used_cpu_${kind}:(\\S+)`, 'm').exec(info)?.[1]),
  )
  return Number(user) + Number(system)
}

/** @param {string} info */
function commandsIn(info) {
  return SENT.reduce(
    (sum, name) => sum + Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(info)?.[1] ?? 0),
    0,
  )
}

/** @param {Map<RedisContender, Turn[]>} turns */
function figuresOf(turns) {
  /** @type {Figures} */
  const figures = {}
  for (const [name, own] of turns) {
    const rates = own.map(({ perSecond }) => perSecond)
    figures[`${name}.low`] = quantile(rates, 0.25)
    figures[`${name}.high`] = quantile(rates, 0.75)
    for (const figure of /** @type {(keyof Turn)[]} */ (Object.keys(own[0] ?? {}))) {
      figures[`${name}.${figure}`] = median(own.map((turn) => turn[figure]))
      for (const [base, others] of turns) {
        if (base === name) continue
        const ratios = own.map((turn, at) => turn[figure] / /** @type {Turn} */ (others[at])[figure])
        figures[`${name}.${figure}/${base}`] = median(ratios)
      }
    }
  }
  return figures
}
