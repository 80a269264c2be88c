import { HOST, type RedisConfig, RedisServer, startRedis } from './servers'
import { until } from './until'

const NAME = 'primary'
const DOWN_AFTER_MS = 700
const FAILOVER_TIMEOUT_MS = 2000
const CONFIG: RedisConfig = {
  'repl-diskless-sync': 'yes',
  'repl-diskless-sync-delay': 0,
  'repl-ping-replica-period': 1,
}
/**
 * Sentinels look around every second or so; from version 7.0 on they can be told to be quicker. PING-PERIOD must be well
 * below the time after which a silent server is down, and five of them above INFO-PERIOD: a replica of which a sentinel
 * has not had any INFO for so long is not promoted. PUBLISH-PERIOD: how often they tell each other what they know, which
 * is how they meet. Four such periods after a failover, they turn a primary that they have not heard of back into a
 * replica; so three of them must take longer than it takes the news to spread.
 */
const PERIODS_MS = { 'INFO-PERIOD': 1000, 'PING-PERIOD': 300, 'ASK-PERIOD': 100, 'PUBLISH-PERIOD': 100 }
const PUBLISH_PERIOD_MS = { 1: 100, 3: 1000 }

export interface SentinelOptions {
  /** One sentinel decides alone (the default), of three two must agree. */
  readonly sentinels?: 1 | 3
  /** More lines of redis.conf of primary and replica. */
  readonly config?: RedisConfig
}

/** A primary, a replica and sentinels on loopback. They end with this process. */
export class SentinelGroup {
  /** What the sentinels call the primary. */
  readonly name = NAME
  #primary: RedisServer
  #replica: RedisServer
  readonly #sentinels: RedisServer[] = []

  private constructor(primary: RedisServer, replica: RedisServer) {
    this.#primary = primary
    this.#replica = replica
  }

  static async start({ sentinels = 1, config = {} }: SentinelOptions = {}): Promise<SentinelGroup> {
    const primary = await startRedis({ config: { ...CONFIG, ...config } })
    const replicaConfig = { ...CONFIG, ...config, replicaof: `${HOST} ${primary.port}` }
    const replica = await startRedis({ config: replicaConfig }).catch(async (error) => {
      await primary.stop()
      throw error
    })
    const group = new SentinelGroup(primary, replica)
    try {
      await group.#watch(sentinels)
      return group
    } catch (error) {
      await group.stop()
      throw error
    }
  }

  /** Who is the primary, as far as `failover()` knows. */
  get primary(): RedisServer {
    return this.#primary
  }

  /** The other one. */
  get replica(): RedisServer {
    return this.#replica
  }

  get sentinelServers(): readonly RedisServer[] {
    return this.#sentinels
  }

  /** What ioredis wants: where the sentinels are. */
  get sentinels(): { host: string; port: number }[] {
    return this.#sentinels.map(({ host, port }) => ({ host, port }))
  }

  /**
   * Makes the replica the primary: at the sentinels' command, or because the primary is killed and they notice. Resolves
   * when all who run agree, and the old primary follows the new one if it runs.
   */
  async failover(how: 'asked' | 'killed'): Promise<void> {
    const [old, next] = [this.#primary, this.#replica]
    if (how === 'killed') await old.kill()
    else await until(() => this.#order(), 'a failover begins')
    await until(() => this.#isKnownPrimary(next), `the server on port ${next.port} is the primary`)
    this.#primary = next
    this.#replica = old
    if (old.isRunning) await this.untilSettled()
  }

  /**
   * Waits until the replica follows the primary and all sentinels have seen that. They tell an old primary that comes
   * back to follow, after some seconds.
   */
  async untilSettled(): Promise<void> {
    const what = `the server on port ${this.#replica.port} follows that on port ${this.#primary.port}`
    await until(async () => (await this.#isReplicaUp()) && (await this.#isSeenByAll()), what)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sentinels, this.#primary, this.#replica].map((server) => server.stop()))
  }

  async #watch(count: 1 | 3): Promise<void> {
    await until(() => this.#isReplicaUp(), 'a replica that follows')
    const quorum = count === 1 ? 1 : 2
    const password = this.#primary.password
    const config = {
      sentinel: [
        `monitor ${NAME} ${HOST} ${this.#primary.port} ${quorum}`,
        `down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
        `failover-timeout ${NAME} ${FAILOVER_TIMEOUT_MS}`,
        ...(password === undefined ? [] : [`auth-pass ${NAME} ${password}`]),
      ],
    }
    for (let i = 0; i < count; i++) {
      const sentinel = await RedisServer.start({ sentinel: true, config })
      this.#sentinels.push(sentinel)
    }
    await this.#setPeriods(PERIODS_MS)
    await until(() => this.#isSeenByAll(), 'sentinels that know all others')
    await this.#setPeriods({ 'PUBLISH-PERIOD': PUBLISH_PERIOD_MS[count] })
  }

  /** Older versions refuse, and go on at their own pace. */
  async #setPeriods(periodsMs: Record<string, number>): Promise<void> {
    const words = Object.entries(periodsMs).flat()
    await Promise.all(
      this.#sentinels.map((sentinel) => sentinel.send('SENTINEL', 'DEBUG', ...words).catch(() => undefined)),
    )
  }

  async #isReplicaUp(): Promise<boolean> {
    if ((await this.#replica.info('master_link_status')) !== 'up') return false
    return (await this.#replica.info('master_port')) === String(this.#primary.port)
  }

  async #isSeenByAll(): Promise<boolean> {
    const views = await Promise.all(
      this.#sentinels.map(async (sentinel) => {
        const primary = fieldsOf((await sentinel.send('SENTINEL', 'MASTER', NAME)) as string[])
        const replicas = (await sentinel.send('SENTINEL', 'REPLICAS', NAME)) as string[][]
        return [viewOf(primary), primary['num-other-sentinels'], ...replicas.map(fieldsOf).map(viewOf)].join()
      }),
    )
    const whole = `${this.#primary.port} master master,${this.#sentinels.length - 1},${this.#replica.port} slave slave`
    return views.every((view) => view === whole)
  }

  /** Fails as long as the sentinel thinks the replica not fit. */
  async #order(): Promise<boolean> {
    return (await (this.#sentinels[0] as RedisServer).send('SENTINEL', 'FAILOVER', NAME)) === 'OK'
  }

  async #isKnownPrimary(server: RedisServer): Promise<boolean> {
    if ((await server.info('role')) !== 'master') return false
    const running = this.#sentinels.filter((sentinel) => sentinel.isRunning)
    const known = await Promise.all(
      running.map((sentinel) => sentinel.send('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)),
    )
    return (known as [string, string][]).every(([, port]) => port === String(server.port))
  }
}

function fieldsOf(flat: string[]): Record<string, string> {
  const pairs = flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? '']] : []))
  return Object.fromEntries(pairs)
}

/** Which server, whether all is well with it (flags), and what it says that it is. */
function viewOf(fields: Record<string, string>): string {
  return `${fields['port']} ${fields['flags']} ${fields['role-reported']}`
}

/** Starts a group; ready when the sentinels know primary, replica and one another. */
export function startSentinel(options?: SentinelOptions): Promise<SentinelGroup> {
  return SentinelGroup.start(options)
}
