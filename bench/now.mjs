/** The machine's monotonic clock, in ns: the same in all threads and processes. */
export function nowNs() {
  return Number(process.hrtime.bigint())
}
