// The part of the report that is about threads and processes.

import { crewSizes, RIVALS, SHARED_CASES, SHARINGS } from './sharing-jobs.mjs'
import { digits, spread, verdict, wrapped } from './text.mjs'

/**
 * @typedef {import('./crew.mjs').CrewKind} CrewKind
 * @typedef {import('./goal.mjs').Goal} Goal
 * @typedef {import('./results.mjs').Results} Results
 */

/** Arithmetic in N workers that reaches less than this share of N times one tells of a machine that is not idle. */
const CALM_SHARE = 0.9
const CREWS = /** @type {CrewKind[]} */ (['threads', 'processes'])
const SHARING_TITLES = {
  loop: 'arithmetic, no limiter',
  private: 'each its own limiter',
  handle: 'one limiter, by handle',
  name: 'one limiter, by name',
}
const RIVAL_TITLES = {
  sluice: 'sluice, shared by name',
  cluster: 'rate-limiter-flexible, cluster',
  'redis-flexible': 'rate-limiter-flexible, Redis',
  'redis-script': 'bare script, Redis',
}

/** @param {Results} results @param {Goal[]} goals */
export function sharingSections(results, goals) {
  return [
    sharedTable(results, goals),
    ...CREWS.flatMap((crew) => crewSizes(false).map((members) => crewTable(results, goals, crew, members))),
    exactText(results),
    rivalTable(results, goals),
  ]
}

/** How often all together decide about one key, in units of one of them alone. @param {Results} results */
export function oneKeyRows(results) {
  return CREWS.flatMap((crew) =>
    crewSizes(false).flatMap((members) =>
      SHARINGS[crew].flatMap((sharing) => {
        const timesOne = results.median(`${crew}/${members}/one-key/${sharing}`, 'timesOne')
        return timesOne === undefined ? [] : { label: `${members} ${crew}, by ${sharing}`, timesOne }
      }),
    ),
  )
}

/** @param {Results} results @param {Goal[]} goals */
function sharedTable(results, goals) {
  const rows = SHARED_CASES.flatMap(([load, operation]) => {
    const place = `shared/${load}/${operation}`
    const ratios = results.ratios(`${place}/shared`, `${place}/private`)
    if (ratios === undefined) return []
    return row(
      `${operation}, ${load === '1m' ? '1,000,000' : '1,000'} keys`,
      digits(Number(results.median(`${place}/private`))),
      digits(Number(results.median(`${place}/shared`))),
      spread(ratios),
      '',
      '',
      verdict(goals, `${place}/shared`),
    )
  })
  if (rows.length === 0) return ''
  return [
    'A limiter shared by name against a private one, fresh strings, token bucket: ns a decision',
    row('', 'private', 'shared', 'shared / private', '', '', 'goal'),
    ...rows,
  ].join('\n')
}

/** @param {Results} results @param {Goal[]} goals @param {CrewKind} crew @param {number} members */
function crewTable(results, goals, crew, members) {
  const place = `${crew}/${members}`
  const cases = SHARINGS[crew].flatMap((sharing) => [
    { name: sharing, label: SHARING_TITLES[sharing] },
    { name: `one-key/${sharing}`, label: `all one key, by ${sharing}` },
  ])
  const rows = cases.flatMap(({ name, label }) => {
    const times = results.values(`${place}/${name}`, 'timesOne')
    if (times === undefined) return []
    const ofPrivate = results.ratio(`${place}/${name}`, `${place}/private`, 'timesOne')
    return row(
      label,
      millions(results.median(`${place}/${name}`, 'onePerSecond')),
      millions(results.median(`${place}/${name}`, 'allPerSecond')),
      spread(times.map((value) => value / members)),
      name === 'loop' || name === 'private' ? '-' : (ofPrivate?.toFixed(2) ?? '-'),
      Number(results.median(`${place}/${name}`, 'cpuTimesOne')).toFixed(2),
      verdict(goals, `${place}/${name}`),
    )
  })
  if (rows.length === 0) return ''
  return [
    `${members} ${crew} at the same time, 1,000 keys each: million decisions a second`,
    row('', 'one', 'all', `all / (${members} x one)`, 'x own limiters', 'CPU x', 'goal'),
    ...rows,
    'CPU x: CPU time a decision takes when all decide, in units of when one does.',
    ...busyText(results, place, members),
  ].join('\n')
}

/** If arithmetic alone did not grow with the cores, nothing can. @param {Results} results @param {string} place @param {number} members */
function busyText(results, place, members) {
  const share = Number(results.median(`${place}/loop`, 'timesOne') ?? members) / members
  if (share >= CALM_SHARE) return []
  return [
    wrapped(
      `Noisy: arithmetic alone reached ${share.toFixed(2)} of ${members} x one: the machine did not have ${members} cores to give. Only "CPU x" says something about sharing here.`,
    ),
  ]
}

/** @param {Results} results */
function exactText(results) {
  const lines = CREWS.flatMap((crew) => {
    const done = results.names().filter((name) => name.startsWith(`${crew}/`) && name.includes('/exact/'))
    if (done.length === 0) return []
    const sum = (/** @type {string} */ figure) =>
      done.reduce((total, name) => total + (results.values(name, figure) ?? []).reduce((a, b) => a + b, 0), 0)
    const least = Math.min(...done.flatMap((name) => results.values(name, 'leastShare') ?? []))
    const members = results.median(/** @type {string} */ (done[0]), 'members')
    const limit = Number(results.median(/** @type {string} */ (done[0]), 'limit')).toLocaleString('en')
    return wrapped(
      `Exact count: in each of ${sum('races')} races of ${members} ${crew} for one key, exactly the limit of ${limit} was admitted (whoever had least had ${(least * 100).toFixed(0)} % of an equal share).`,
    )
  })
  return lines.join('\n')
}

/** @param {Results} results @param {Goal[]} goals */
function rivalTable(results, goals) {
  const names = /** @type {(keyof typeof RIVAL_TITLES)[]} */ (['sluice', ...RIVALS])
  const rows = names.flatMap((rival) => {
    const name = `rivals/${rival}`
    if (results.values(name, 'latencyNs1x1') === undefined) return []
    const isOwn = rival === 'sluice'
    const shapes = isOwn ? ['1x1', '2x1'] : ['1x1', '2x1', '1x64', '2x64']
    const rates = shapes.map((shape) => thousands(results.median(name, `perSecond${shape}`)))
    const slower = ['1x1', '2x1'].map((shape) => results.ratio(name, 'rivals/sluice', `latencyNs${shape}`))
    return rivalRow(
      RIVAL_TITLES[rival],
      ...['1x1', '2x1'].map((shape) => microseconds(results.median(name, `latencyNs${shape}`))),
      ...[...rates, '-', '-'].slice(0, 4),
      ...slower.map((ratio) => (isOwn || ratio === undefined ? '-' : `${ratio.toFixed(0)}x`)),
      verdict(goals, name),
    )
  })
  if (rows.length === 0) return ''
  return [
    'One limit for two processes, both about the same 1,000 keys',
    rivalRow('', 'us a decision', '', 'thousand decisions a second', '', '', '', "sluice's speed", '', ''),
    rivalRow('in flight in each', '1', '1', '1', '1', '64', '64', '1', '1', ''),
    rivalRow('processes that decide', '1', '2', '1', '2', '1', '2', '1', '2', 'goal'),
    ...rows,
    ...throughputText(results),
  ].join('\n')
}

/** At their best: any number in flight, one process or two. @param {Results} results */
function throughputText(results) {
  const own = results.median('rivals/sluice', 'perSecond2x1')
  const list = RIVALS.flatMap((rival) => {
    const rates = ['1x1', '2x1', '1x64', '2x64'].flatMap(
      (shape) => results.median(`rivals/${rival}`, `perSecond${shape}`) ?? [],
    )
    if (own === undefined || rates.length === 0) return []
    return `${(own / Math.max(...rates)).toFixed(0)}x ${RIVAL_TITLES[rival]}`
  })
  return list.length === 0
    ? []
    : [
        wrapped(
          `Decisions a second of two processes with sluice, against each rival at its best: ${list.join('; ')}.`,
        ),
      ]
}

/** @param {string} label @param {...string} cells */
function row(label, ...cells) {
  const widths = [8, 8, 20, 16, 7, 9]
  return `${label.padEnd(31)}${cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('')}`.trimEnd()
}

/** A head wider than its column begins where the column does. @param {string} label @param {...string} cells */
function rivalRow(label, ...cells) {
  const widths = [9, 8, 9, 8, 8, 8, 7, 7, 6]
  let text = label.padEnd(30)
  let end = text.length
  cells.forEach((cell, at) => {
    end += widths[at] ?? 0
    text = cell.includes(' ')
      ? `${text.padEnd(end - 5)}${cell}`
      : `${text}${cell.padStart(Math.max(0, end - text.length))}`
  })
  return text.trimEnd()
}

/** @param {number | undefined} perSecond */
function millions(perSecond) {
  return digits(Number(perSecond) / 1e6)
}

/** @param {number | undefined} perSecond */
function thousands(perSecond) {
  return digits(Number(perSecond) / 1e3)
}

/** @param {number | undefined} ns */
function microseconds(ns) {
  const value = Number(ns) / 1e3
  return value < 1 ? value.toFixed(3) : digits(value)
}
