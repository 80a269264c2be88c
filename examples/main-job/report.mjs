// Prints the outcome for people.

/** @typedef {import('./outcome.mjs').Outcome} Outcome */
/** @typedef {import('./outcome.mjs').Latency} Latency */

/** @param {number} value */
const count = (value) => value.toLocaleString('en-US')

/**
 * The first column is flush left, the others flush right.
 * @param {string[][]} rows the first one is the head
 */
function table(rows) {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map((row) =>
    row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    ),
  )
  return lines.map((cells) => `  ${cells.join('   ')}`).join('\n')
}

/** @param {Outcome} outcome */
function clientTable({ clients }) {
  const head = ['client', 'sent', 'admitted', 'denied', 'policy allows', 'verdict']
  const rows = clients.map(({ client, sent, admitted, denied, allowedAtMost, violations }) => [
    client,
    ...[sent, admitted, denied].map(count),
    `at most ${count(allowedAtMost)}`,
    violations.length === 0 ? 'OK' : 'VIOLATED',
  ])
  return table([head, ...rows])
}

/** @param {Outcome} outcome */
function latencyTable({ latency }) {
  /** @param {Latency} of */
  const cells = ({ p50Ms, p99Ms }) => [p50Ms.toFixed(2), p99Ms.toFixed(2)]
  return table([
    ['', 'p50 without', 'with limiter', 'p99 without', 'with limiter'],
    .../** @type {const} */ ([
      ['well-behaved clients alone', latency.quietOpen, latency.quietLimited],
      ['together with the abuser', latency.abusedOpen, latency.abusedLimited],
    ]).map(([title, open, limited]) => {
      const [openCells, limitedCells] = [cells(open), cells(limited)]
      return [title, openCells[0] ?? '', limitedCells[0] ?? '', openCells[1] ?? '', limitedCells[1] ?? '']
    }),
  ])
}

/** @param {Outcome} outcome @returns {string} */
export function reportOf(outcome) {
  const { policy, clients, cost, engine, machine } = outcome
  const decisions = clients.reduce((sum, { admitted, denied }) => sum + admitted + denied, 0)
  const violations = clients.flatMap(({ client, violations }) =>
    violations.map((text) => `  ${client}: ${text}`),
  )
  return [
    '',
    `sluice main job: one HTTP server, ${clients.length - 1} well-behaved clients and one abuser, over loopback`,
    `policy: ${policy.algorithm}, ${policy.limit} requests per ${policy.windowMs} ms and client, burst ${policy.burst}`,
    '',
    'Requests to the route with the limiter',
    clientTable(outcome),
    `  ${count(decisions)} decisions recomputed from the server's clock, over every interval`,
    '',
    'Latency of the well-behaved clients, ms',
    latencyTable(outcome),
    '',
    `cost per decision   allow ${cost.allowNs.toFixed(0)} ns, consume ${cost.consumeNs.toFixed(0)} ns`,
    `                    (median of ${cost.batches} x ${count(cost.callsPerBatch)} calls, fresh strings, ${count(cost.clients)} clients)`,
    `engine              sluice ${engine.version}, native table of ${count(engine.tableBytes)} bytes, ${engine.tableKeys} keys in it`,
    `machine             ${machine.cores} x ${machine.cpu}, ${machine.system}, Node ${machine.node}`,
    '',
    ...violations,
    `${outcome.ok ? 'OK: every client got what the policy allows, and no more' : 'VIOLATED'} (${outcome.tookSeconds.toFixed(1)} s)`,
    '',
  ].join('\n')
}
