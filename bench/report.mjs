// The printed result: tables of at most 100 columns, then what was lost.

import { algorithmSections } from './algorithm-report.mjs'
import { ALGORITHMS, BASELINES, LOADS } from './jobs.mjs'
import { lossText } from './losses.mjs'
import { redisSections } from './redis-report.mjs'
import { quantile } from './results.mjs'
import { sharingSections } from './sharing-report.mjs'
import { digits, TITLES, verdict, wrapped } from './text.mjs'

/**
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./jobs.mjs').LoadName} LoadName
 * @typedef {import('./jobs.mjs').Plan} Plan
 * @typedef {import('./machine.mjs').Machine} Machine
 * @typedef {import('./results.mjs').Results} Results
 */

/** A floor that varies by more than this from round to round tells of a noisy machine. */
const CALM_SPREAD = 0.05

/** @param {{ results: Results, goals: Goal[], machine: Machine, plan: Plan, missing: string[], loadAfter: number }} run */
export function report({ results, goals, machine, plan, missing, loadAfter }) {
  return [
    machineText(machine, loadAfter),
    ...plan.loads.map((load) => loadTable(load, results, goals)),
    dramText(results),
    heapTable(results),
    memoryTable(results),
    ...algorithmSections(results, goals),
    ...sharingSections(results, goals),
    ...redisSections(results, goals),
    missing.join('\n'),
    goalTable(goals),
    notes(results, plan),
    lossText(results, goals),
  ]
    .filter((section) => section !== '')
    .join('\n\n')
}

/** @param {Machine} machine @param {number} loadAfter */
function machineText({ processor, cores, memoryGb, system, versions, commit, load, time }, loadAfter) {
  const { sluice, node, v8, benchmark, ioredis, redis } = versions
  return [
    `sluice ${sluice} (${commit}), ${time}`,
    `${processor}, ${cores} cores, ${memoryGb} GB, ${system}`,
    `node ${node}, V8 ${v8}, benchmark ${benchmark}; load average ${load.toFixed(1)} before, ${loadAfter.toFixed(1)} after`,
    `rate-limiter-flexible ${versions['rate-limiter-flexible']}, rate-limit-redis ${versions['rate-limit-redis']}, ioredis ${ioredis}, redis-server ${redis}`,
  ].join('\n')
}

/** @param {LoadName} load @param {Results} results @param {Goal[]} goals */
function loadTable(load, results, goals) {
  const { title, operations, rivals } = LOADS[load]
  const others =
    rivals === load ? ['floor', ...BASELINES].map((name) => [`${load}/allow/${name}`, TITLES[name]]) : []
  const own = operations.flatMap((operation) =>
    ALGORITHMS.map((algorithm) => [`${load}/${operation}/${algorithm}`, `sluice ${operation}, ${algorithm}`]),
  )
  const rows = [...others, ...own].flatMap(([name, label]) =>
    results.values(String(name)) === undefined
      ? []
      : timeRow(String(name), String(label), rivals, results, goals),
  )
  if (rows.length === 0) return ''
  return [
    `${title}: ns a decision`,
    line('', 'median', 'quartiles', 'x floor', 'times as fast as the Map:', '', '', '', ''),
    line('', '', '', '', 'window', 'cached', 'bucket', 'cached', 'goal'),
    ...rows,
  ].join('\n')
}

/** @param {string} name @param {string} label @param {LoadName} rivals @param {Results} results @param {Goal[]} goals */
function timeRow(name, label, rivals, results, goals) {
  const values = results.values(name) ?? []
  const quartiles = `[${digits(quantile(values, 0.25))}, ${digits(quantile(values, 0.75))}]`
  const ratios = BASELINES.map((baseline) => times(results.ratio(`${rivals}/allow/${baseline}`, name)))
  return line(
    label,
    digits(quantile(values, 0.5)),
    quartiles,
    times(results.ratio(name, `${rivals}/allow/floor`)),
    ...ratios,
    verdict(goals, name),
  )
}

/** @param {string} label @param {string} figure @param {string} quartiles @param {string} floor @param {...string} rest */
function line(label, figure, quartiles, floor, ...rest) {
  const columns = rest[0]?.includes(' ') ? `  ${rest[0]}` : rest.map((text) => text.padStart(8)).join('')
  return `${label.padEnd(27)}${figure.padStart(7)}${quartiles.padStart(15)}${floor.padStart(8)}${columns}`.trimEnd()
}

/** @param {number | undefined} ratio */
function times(ratio) {
  return ratio === undefined ? '-' : `${ratio.toFixed(2)}x`
}

/** @param {Results} results */
function dramText(results) {
  const plain = results.median('dram')
  const huge = results.median('dram/huge-pages')
  if (plain === undefined) return ''
  const onHuge = huge === undefined ? '' : `; ${digits(huge)} ns if the system grants huge pages`
  return `One random read from memory (256 MB): ${digits(plain)} ns${onHuge}.`
}

/** @param {Results} results */
function heapTable(results) {
  const names = { none: 'no keys', bucket: 'sluice', 'window-now': TITLES['window-now'] }
  const rows = Object.entries(names).flatMap(([name, label]) => {
    const job = `heap/${name}`
    const longest = results.median(job, 'longestPauseMs')
    if (longest === undefined) return []
    const perKey = name === 'none' ? '-' : Number(results.median(job, 'rssBytesPerKey')).toFixed(0)
    const full = Number(results.median(job, 'fullPauseMs')).toFixed(1)
    return `${String(label).padEnd(30)}${longest.toFixed(1).padStart(18)}${full.padStart(20)}${perKey.padStart(22)}`
  })
  if (rows.length === 0) return ''
  const keys = results.median('heap/none', 'keys') ?? 0
  const head = `${''.padEnd(30)}${'longest pause, ms'.padStart(18)}${'full collection, ms'.padStart(20)}${'RSS growth, B a key'.padStart(22)}`
  return [`Garbage collection and memory with ${(keys / 1e6).toFixed(0)} M live keys`, head, ...rows].join(
    '\n',
  )
}

/** @param {Results} results */
function memoryTable(results) {
  const rows = ALGORITHMS.flatMap((name) => {
    const job = `memory/${name}`
    const made = results.median(job, 'bytesPerMaxKey')
    if (made === undefined) return []
    const at80 = Number(results.median(job, 'bytesPerKeyAt80'))
    const used = Number(results.median(job, 'occupancy')) * 100
    const evicted = Number(results.median(job, 'evictedLive'))
    return `${`sluice, ${name}`.padEnd(30)}${made.toFixed(2)} B a key of maxKeys; ${at80.toFixed(2)} B a key, ${used.toFixed(0)} % of slots in use (${evicted} evicted)`
  })
  return rows.length === 0 ? '' : ["Memory by the table's own account (1 M maxKeys)", ...rows].join('\n')
}

/** @param {Goal[]} goals */
function goalTable(goals) {
  if (goals.length === 0) return ''
  const rows = goals.map(({ text, bound, wanted, got, isMet }) => {
    const asked = `${bound === 'most' ? '<=' : '>='} ${wanted}`
    return `${text.padEnd(66)}${asked.padStart(8)}${got.toFixed(2).padStart(9)}   ${isMet ? 'met' : 'NOT MET'}`
  })
  return [`${'goal'.padEnd(66)}${'wanted'.padStart(8)}${'got'.padStart(9)}`, ...rows].join('\n')
}

/** @param {Results} results @param {Plan} plan */
function mapText(results, plan) {
  const counts = plan.loads.flatMap((load) =>
    ['allow/floor', 'allow/window-now', 'allow/bucket', 'consumeMany/bucket'].flatMap(
      (rest) => results.samples(`${load}/${rest}`) || [],
    ),
  )
  if (counts.length === 0) return ''
  return `Over all rounds a figure has ${Math.min(...counts)} to ${Math.max(...counts)} samples of 4096 decisions. "Times as fast": above 1 sluice is faster. The Map does less: it answers only yes or no, evicts nothing, grows without bound, and leaves every key to the garbage collector. `
}

/** @param {Results} results @param {Plan} plan */
function notes(results, plan) {
  const lines = [
    wrapped(
      `Each figure is the median of ${plan.rounds} rounds, each in a process of its own; a ratio is the median of the ratios within the rounds. ${mapText(results, plan)}How it is done: bench/METHOD.md.`,
    ),
  ]
  for (const load of plan.loads) {
    const floors = results.values(`${load}/allow/floor`)
    if (floors === undefined) continue
    const spread = quantile(floors, 0.75) / quantile(floors, 0.25) - 1
    if (spread > CALM_SPREAD)
      lines.push(
        `Noisy: the floor varied by ${(spread * 100).toFixed(0)} % between rounds (${LOADS[load].title}).`,
      )
  }
  return lines.join('\n')
}
