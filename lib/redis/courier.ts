import { Link, type RedisClient } from './client'
import { Command } from './command'
import { Deadlines } from './deadlines'
import {
  EVAL,
  type Outgoing,
  type OutgoingSet,
  PlainCall,
  type Request,
  ScriptCall,
  SetCall,
} from './script-call'

import { TransportError } from './transport-error'

export type { Outgoing, OutgoingSet } from './script-call'
export { TransportError } from './transport-error'

/** What a courier has done so far. */
export interface CourierStats {
  /** Scripts that were asked for: EVALSHA, without repetitions. */
  readonly scriptCalls: number
  /** Calls of all these. */
  readonly calls: number
  /** Scripts that the server did not know: EVAL. */
  readonly evals: number
  /** Calls, and other commands, that were not answered in time. */
  readonly timeouts: number
}

/** The most keys of one script call: the server does nothing else meanwhile. */
const MAX_CALLS = 128

const couriers = new WeakMap<object, Courier>()
const resolved = Promise.resolve()

/**
 * Brings calls to Redis. Those of one tick go together, as few script calls in one write. Each is answered or failed
 * once, within its timeout, whatever becomes of the connection. A call that was in flight when the connection was lost
 * fails, and is not sent again (in a Cluster ioredis may do so within the timeout, and then it may be charged twice).
 */
export class Courier {
  readonly #link: Link
  readonly #deadlines = new Deadlines<Request>((requests, timeoutMs) => this.#giveUp(requests, timeoutMs))
  /** Those of this tick, in order. */
  #leaving: Request[] = []
  /** The script calls of this tick on one node. */
  #open: ScriptCall[] = []
  /** In a Cluster: those of each slot. Never cleared, but replaced: what a Map held before `clear` outlives minor collections. */
  #openBySlot = new Map<number, ScriptCall[]>()
  #latest: ScriptCall | undefined
  /** Those that wait for the first connection. */
  readonly #waiting = new Set<Request>()
  readonly #stats = { scriptCalls: 0, calls: 0, evals: 0, timeouts: 0 }
  #lastLoss: TransportError | undefined
  readonly #scheduleDeparture = (): void => process.nextTick(this.#depart)
  readonly #depart = (): void => this.#sendOff()

  private constructor(client: RedisClient) {
    this.#link = new Link(
      client,
      () => this.#sendWaiting(),
      () => this.#failAll(),
    )
  }

  /** The one of this client. */
  static of(client: RedisClient): Courier {
    let courier = couriers.get(client)
    if (courier === undefined) {
      courier = new Courier(client)
      couriers.set(client, courier)
    }
    return courier
  }

  get stats(): CourierStats {
    return { ...this.#stats }
  }

  /** Whether there is a connection to Redis (of a Cluster: to any node). */
  get isReady(): boolean {
    return this.#link.isReady
  }

  /** What fails together: the name of the node that serves the key; '' on one node. */
  route(key: string): string {
    return this.#link.nodeOf(key)
  }

  /** All that `route` may answer now. */
  get routes(): ReadonlySet<string> {
    return this.#link.nodes
  }

  /** Whether one script may have all these keys: always on one node; in a Cluster if they share a slot. */
  shareSlot(keys: readonly string[]): boolean {
    const slot = this.#slotOf(keys[0] ?? '')
    return keys.every((key) => this.#slotOf(key) === slot)
  }

  /** Calls of one tick with the same script, time and timeout are done in their order. */
  send(call: Outgoing): void {
    const slot = this.#slotOf(call.key)
    let scriptCall = this.#latest
    if (scriptCall === undefined || scriptCall.slot !== slot || !scriptCall.takes(call))
      scriptCall = this.#scriptCallFor(call, slot)
    scriptCall.add(call)
    this.#latest = scriptCall.size < MAX_CALLS ? scriptCall : undefined
  }

  sendSet(call: OutgoingSet): void {
    this.#leave(new SetCall(call, this.#slotOf(call.keys[0] ?? ''), this.#link.keyPrefix))
  }

  /**
   * Any command that has no keys, or EVAL and EVALSHA. Resolves with its reply; bytes as strings. Nothing is repeated.
   * Rejects within `timeoutMs` if there is none.
   */
  command(name: string, args: readonly string[], timeoutMs: number): Promise<unknown> {
    const isScript = /^eval(sha)?(_ro)?$/i.test(name)
    const keys = isScript ? args.slice(2, 2 + Number(args[1])) : []
    const prefixed = keys.map((key) => this.#link.keyPrefix + key)
    const sent = isScript ? [...args.slice(0, 2), ...prefixed, ...args.slice(2 + keys.length)] : args
    const slot = keys[0] === undefined ? undefined : this.#slotOf(keys[0])
    return new Promise((resolve, reject) => {
      this.#leave(new PlainCall(name, sent, timeoutMs, slot, resolve, reject))
    })
  }

  #slotOf(key: string): number {
    return this.#link.isCluster ? this.#link.slotOf(key) : 0
  }

  #scriptCallFor(call: Outgoing, slot: number): ScriptCall {
    const open = this.#link.isCluster ? this.#openOf(slot) : this.#open
    const known = open.findLast((scriptCall) => scriptCall.takes(call))
    if (known !== undefined && known.size < MAX_CALLS) return known
    const scriptCall = new ScriptCall(call, slot, this.#link.keyPrefix)
    open.push(scriptCall)
    this.#leave(scriptCall)
    return scriptCall
  }

  #openOf(slot: number): ScriptCall[] {
    let open = this.#openBySlot.get(slot)
    if (open === undefined) {
      open = []
      this.#openBySlot.set(slot, open)
    }
    return open
  }

  /** To be sent at the end of the tick: when all promises that are settled now have told their callers. */
  #leave(request: Request): void {
    if (this.#leaving.push(request) === 1) resolved.then(this.#scheduleDeparture)
  }

  #sendOff(): void {
    const requests = this.#leaving
    this.#leaving = []
    this.#open = []
    if (this.#openBySlot.size > 0) this.#openBySlot = new Map()
    this.#latest = undefined
    for (const { isScript, size } of requests) {
      if (!isScript) continue
      this.#stats.scriptCalls++
      this.#stats.calls += size
    }
    const nowMs = performance.now()
    if (this.#link.isReady) {
      for (const request of requests) this.#deadlines.add(request, nowMs)
      this.#transmitAll(requests)
    } else if (this.#link.isOpening) {
      for (const request of requests) {
        this.#deadlines.add(request, nowMs)
        this.#waiting.add(request)
      }
      this.#link.open()
    } else {
      const error = new TransportError('unsent', `no connection to Redis (${this.#link.status})`)
      for (const request of requests) request.fail(error)
    }
  }

  #sendWaiting(): void {
    const requests = [...this.#waiting]
    this.#waiting.clear()
    this.#transmitAll(requests)
  }

  #transmitAll(requests: readonly Request[]): void {
    const transmit = (): void => {
      for (const request of requests) this.#transmit(request)
    }
    if (requests.length > 1) this.#link.corked(transmit)
    else transmit()
  }

  #transmit(request: Request, name = request.name): void {
    const onReply = (reply: unknown): void => {
      if (this.#finish(request)) request.answer(reply)
    }
    const onError = (error: Error): void => this.#onError(request, name, error)
    const command = new Command(name, request, onReply, onError)
    const refuse = command.reject
    try {
      this.#link.send(command)
    } catch (error) {
      refuse(error as Error)
    }
    if (!this.#link.isCluster || request.size === 1) return
    const redirect = command.reject
    // A Cluster would send all again, until their slot has moved.
    command.reject = (error) => (error.message.startsWith('TRYAGAIN') ? refuse(error) : redirect(error))
  }

  #onError(request: Request, name: string, error: Error): void {
    if (request.isOver) return
    if (request.isScript && name !== EVAL && error.message.startsWith('NOSCRIPT')) {
      this.#stats.evals++
      this.#transmit(request, EVAL)
      return
    }
    this.#finish(request)
    const parts = error.message.startsWith('TRYAGAIN') ? request.parts() : [request]
    if (parts.length === 1) request.fail(this.#named(error))
    else this.#sendApart(request, parts)
  }

  /** While a slot moves, some of its keys are here and some there: no node has them all. */
  #sendApart({ dueMs, timeoutMs }: Request, parts: readonly Request[]): void {
    this.#stats.scriptCalls += parts.length
    for (const part of parts) this.#deadlines.add(part, dueMs - timeoutMs)
    this.#transmitAll(parts)
  }

  /** Errors of the server as they are; what ioredis says of the connection as one of ours: one for all that it says it to. */
  #named(error: Error): Error {
    if (error.name === 'ReplyError') return error
    if (this.#lastLoss?.cause !== error)
      this.#lastLoss = new TransportError('connection', error.message, { cause: error })
    return this.#lastLoss
  }

  /** @returns false if it has been answered or failed already */
  #finish(request: Request): boolean {
    if (request.isOver) return false
    request.isOver = true
    this.#deadlines.remove(request)
    this.#waiting.delete(request)
    return true
  }

  #giveUp(requests: readonly Request[], timeoutMs: number): void {
    const error = new TransportError('timeout', `Redis did not answer within ${timeoutMs} ms`)
    for (const request of requests) {
      if (this.#finish(request)) {
        this.#stats.timeouts += request.size
        request.fail(error)
      }
    }
  }

  #failAll(): void {
    const requests = this.#deadlines.drain()
    if (requests.length === 0) return
    const error = new TransportError('connection', 'the connection to Redis was lost')
    for (const request of requests) if (this.#finish(request)) request.fail(error)
  }
}
