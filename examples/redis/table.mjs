/**
 * What a host did in a phase.
 * @typedef {{ asked: number, admitted: Record<string, number>, refused: Record<string, number>, longestMs: number }} Report
 */

// The names of sources are those of `decision.source`.
const columns = [
  'asked',
  'admitted',
  'exact',
  'lease',
  'local',
  'refused',
  'exact',
  'cache',
  'local',
  'longest',
]

export function printHead() {
  console.log(`${''.padEnd(34)}${'admitted by'.padStart(27)}${'refused by'.padStart(28)}`)
  printRow('', '', columns)
}

/** @param {string} title @param {readonly Report[]} reports of the hosts */
export function printPhase(title, reports) {
  reports.forEach(({ asked, admitted, refused, longestMs }, i) => {
    const cells = [asked, sumOf(admitted), admitted['exact'], admitted['lease'], admitted['local']]
    cells.push(sumOf(refused), refused['exact'], refused['cache'], refused['local'])
    const texts = cells.map((count) => (count ? String(count) : '-'))
    printRow(i === 0 ? title : '', `host ${i + 1}`, [...texts, `${longestMs.toFixed(1)} ms`])
  })
}

/** @param {Record<string, number>} counts */
function sumOf(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

/** @param {string} title @param {string} host @param {readonly string[]} cells */
function printRow(title, host, cells) {
  console.log(title.padEnd(16) + host.padEnd(8) + cells.map((cell) => cell.padStart(9)).join(''))
}
