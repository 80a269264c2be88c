import { pid as ownPid } from 'node:process'
import type { NativeLimiter } from '../native/engine'

/** Figures about a limiter: of all threads and processes that share it. */
export interface LimiterStats {
  /** Keys in the table, including those that carry no information any more and wait to be reclaimed. */
  keys: number
  /** Slots of the table; about 1.4 times `maxKeys`. */
  capacity: number
  /** Memory of the table. It never grows. */
  bytes: number
  maxKeys: number
  /** Calls admitted and refused (`peek` does not count), since the table was made. */
  allowed: number
  denied: number
  /** Keys forgotten while they still carried information, because the table was full. Should be 0: raise `maxKeys`. */
  evictedLive: number
  /** New keys refused because every place they could take was held by a key at its limit. Should be 0 likewise. */
  refusedFull: number
  /** When the table was made, in ms since 1970. */
  createdEpochMs: number
  /** Of each process that is attached; only if asked for. */
  processes?: ProcessStats[]
}

/** What the limiter objects that a process has attached now did, each since it attached. */
export interface ProcessStats {
  /** As the process itself sees it: processes in different containers may have the same one. */
  pid: number
  /** Limiter objects it has attached, in all its threads. */
  limiters: number
  allowed: number
  denied: number
  /** Whether it is the process that asks. */
  isSelf: boolean
}

const MEMBER_FIELDS = 5

export function readStats(native: NativeLimiter, perProcess: boolean): LimiterStats {
  const [keys, capacity, bytes, allowed, denied, evictedLive, refusedFull] =
    native.stats() as unknown as number[]
  const [, maxKeys, , , , createdEpochMs] = native.facts as unknown as number[]
  const stats = { keys, capacity, bytes, maxKeys, allowed, denied, evictedLive, refusedFull, createdEpochMs }
  return (perProcess ? { ...stats, processes: readProcesses(native.members()) } : stats) as LimiterStats
}

function readProcesses(members: Float64Array): ProcessStats[] {
  const processes = new Map<string, ProcessStats>()
  for (let i = 0; i < members.length; i += MEMBER_FIELDS) {
    const [pid, namespace, allowed, denied, isSelf] = members.subarray(i, i + MEMBER_FIELDS) as unknown as [
      number,
      number,
      number,
      number,
      number,
    ]
    const id = `${namespace}/${pid}`
    // A private limiter notes no pid: all its users are threads of this process.
    const process = processes.get(id) ?? {
      pid: pid || ownPid,
      limiters: 0,
      allowed: 0,
      denied: 0,
      isSelf: false,
    }
    process.limiters += 1
    process.allowed += allowed
    process.denied += denied
    process.isSelf ||= isSelf === 1
    processes.set(id, process)
  }
  return [...processes.values()]
}
