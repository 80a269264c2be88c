import { HOST, type RedisConfig, type RedisServer, startRedis } from './servers'
import { until } from './until'

const SLOTS = 16_384
const MASTERS = 3
const MIGRATE_TIMEOUT_MS = 5000
const CONFIG: RedisConfig = {
  'cluster-enabled': 'yes',
  'cluster-config-file': 'nodes.conf',
  'cluster-node-timeout': 1000,
  // A replica may take over however long it was without its master: machines that test are slow at times.
  'cluster-replica-validity-factor': 0,
  'repl-diskless-sync': 'yes',
  'repl-diskless-sync-delay': 0,
  // The nodes tell clients of a replica only once its master has sent it something.
  'repl-ping-replica-period': 1,
}

export interface ClusterOptions {
  /** Replicas of each of the three masters: 0 (default) or 1. */
  readonly replicas?: 0 | 1
  /** More lines of each node's redis.conf. */
  readonly config?: RedisConfig
}

/**
 * Where a migration of a slot has got to: `opened`: the source answers ASK for keys it does not have; `half-moved`: so
 * it does for half of those that it had; `moved`: for all; `given`: the target owns the slot, which not all nodes may
 * know yet.
 */
export type MigrationStep = 'opened' | 'half-moved' | 'moved' | 'given'

/** Three masters on loopback that share all slots, with a replica each if asked for. They end with this process. */
export class RedisCluster {
  /** The masters as they were at the start, in the order of their slots. */
  readonly masters: readonly RedisServer[]
  /** At the start, the one at an index is the replica of the master at this index. */
  readonly replicas: readonly RedisServer[]
  readonly #ids = new Map<RedisServer, string>()

  private constructor(masters: RedisServer[], replicas: RedisServer[]) {
    this.masters = masters
    this.replicas = replicas
  }

  static async start({ replicas = 0, config = {} }: ClusterOptions = {}): Promise<RedisCluster> {
    const started = await startAll(MASTERS * (1 + replicas), { ...CONFIG, ...config })
    const cluster = new RedisCluster(started.slice(0, MASTERS), started.slice(MASTERS))
    try {
      await cluster.#form()
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  get nodes(): readonly RedisServer[] {
    return [...this.masters, ...this.replicas]
  }

  /** What ioredis' Cluster wants: where the nodes are. */
  get addresses(): { host: string; port: number }[] {
    return this.nodes.map(({ host, port }) => ({ host, port }))
  }

  /** The node that owns a slot, by what a running node says. */
  async ownerOf(slot: number): Promise<RedisServer> {
    const asked = this.nodes.find((node) => node.isRunning)
    if (!asked) throw new Error('no node runs')
    return this.#owner(slot, asked)
  }

  async slotOf(key: string): Promise<number> {
    return Number(
      await (this.nodes.find((node) => node.isRunning) as RedisServer).send('CLUSTER', 'KEYSLOT', key),
    )
  }

  /** Moves a slot and its keys to another master. `between` is called, and waited for, after each step but the last. */
  async migrateSlot(
    slot: number,
    to: RedisServer,
    between: (step: MigrationStep) => unknown = () => undefined,
  ): Promise<void> {
    const from = await this.ownerOf(slot)
    await to.send('CLUSTER', 'SETSLOT', slot, 'IMPORTING', this.#idOf(from))
    await from.send('CLUSTER', 'SETSLOT', slot, 'MIGRATING', this.#idOf(to))
    await between('opened')
    const keys = await keysIn(slot, from)
    await move(keys.slice(0, Math.ceil(keys.length / 2)), from, to)
    await between('half-moved')
    // Those that have come meanwhile, too.
    await move(await keysIn(slot, from), from, to)
    await between('moved')
    await to.send('CLUSTER', 'SETSLOT', slot, 'NODE', this.#idOf(to))
    await between('given')
    await from.send('CLUSTER', 'SETSLOT', slot, 'NODE', this.#idOf(to))
    await this.#untilAllSay(slot, to)
  }

  /**
   * Lets the replica of a running master take its place, by agreement or because the master is killed. Resolves with the
   * new master once all who run know it.
   */
  async failover(master: RedisServer, how: 'asked' | 'killed'): Promise<RedisServer> {
    const slot = await this.#firstSlotOf(master)
    const replica = await this.#replicaOf(master)
    if (how === 'asked') await replica.send('CLUSTER', 'FAILOVER')
    else await master.kill()
    await this.#untilAllSay(slot, replica)
    await this.untilWell()
    return replica
  }

  /** Waits until every node that runs says that all is well, and every replica that it is up to date. */
  async untilWell(): Promise<void> {
    await until(() => this.#isWell(), 'a cluster that is well')
  }

  /** The masters of now. */
  async runningMasters(): Promise<RedisServer[]> {
    const running = this.nodes.filter((node) => node.isRunning)
    const roles = await Promise.all(running.map((node) => node.info('role')))
    return running.filter((_, index) => roles[index] === 'master')
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()))
  }

  async #form(): Promise<void> {
    const [first] = this.masters as [RedisServer]
    for (const node of this.nodes) this.#ids.set(node, String(await node.send('CLUSTER', 'MYID')))
    await Promise.all(
      this.masters.map(async (master, index) => {
        await master.send('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
        await master.send('CLUSTER', 'ADDSLOTS', ...slotsOf(index))
      }),
    )
    for (const node of this.nodes.slice(1)) await node.send('CLUSTER', 'MEET', HOST, first.port)
    await until(() => this.#allKnowAll(), 'nodes that know each other')
    await Promise.all(
      this.replicas.map((replica, index) =>
        replica.send('CLUSTER', 'REPLICATE', this.#idOf(this.masters[index] as RedisServer)),
      ),
    )
    await this.untilWell()
  }

  async #allKnowAll(): Promise<boolean> {
    return every(this.nodes, async (node) => {
      const text = await clusterInfo(node)
      if (!text.includes(`cluster_known_nodes:${this.nodes.length}\r`)) return false
      return !/handshake/.test(String(await node.send('CLUSTER', 'NODES')))
    })
  }

  async #isWell(): Promise<boolean> {
    const running = this.nodes.filter((node) => node.isRunning)
    return every(running, async (node) => {
      if (!(await clusterInfo(node)).includes('cluster_state:ok')) return false
      if ((await node.info('role')) === 'slave') return (await node.info('master_link_status')) === 'up'
      const ranges = (await node.send('CLUSTER', 'SLOTS')) as [number, number, ...unknown[]][]
      const served = ranges.reduce((sum, [start, end]) => sum + end - start + 1, 0)
      const copies = ranges.reduce((sum, range) => sum + range.length - 3, 0)
      const isFull = running.length < this.nodes.length || copies >= this.replicas.length
      return served === SLOTS && isFull
    })
  }

  async #untilAllSay(slot: number, owner: RedisServer): Promise<void> {
    const say = () =>
      every(
        this.nodes.filter((node) => node.isRunning),
        async (node) => (await this.#owner(slot, node)) === owner,
      )
    await until(say, `all nodes know that the one on port ${owner.port} has slot ${slot}`)
  }

  async #owner(slot: number, asked: RedisServer): Promise<RedisServer> {
    const ranges = (await asked.send('CLUSTER', 'SLOTS')) as [number, number, [string, number]][]
    const range = ranges.find(([start, end]) => start <= slot && slot <= end)
    const owner = this.nodes.find(({ port }) => port === range?.[2][1])
    if (!owner) throw new Error(`nobody has slot ${slot}`)
    return owner
  }

  async #firstSlotOf(master: RedisServer): Promise<number> {
    const ranges = (await master.send('CLUSTER', 'SLOTS')) as [number, number, [string, number]][]
    const range = ranges.find(([, , [, port]]) => port === master.port)
    if (!range) throw new Error(`the node on port ${master.port} has no slot`)
    return range[0]
  }

  async #replicaOf(master: RedisServer): Promise<RedisServer> {
    for (const node of this.nodes) {
      if (!node.isRunning || (await node.info('role')) !== 'slave') continue
      if ((await node.info('master_port')) === String(master.port)) return node
    }
    throw new Error(`the node on port ${master.port} has no replica`)
  }

  #idOf(node: RedisServer): string {
    const id = this.#ids.get(node)
    if (id === undefined) throw new Error('not a node of this cluster')
    return id
  }
}

/** All or none of them. */
async function startAll(count: number, config: RedisConfig): Promise<RedisServer[]> {
  const results = await Promise.allSettled(Array.from({ length: count }, () => startRedis({ config })))
  const started = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.find((result) => result.status === 'rejected')
  if (!failed) return started
  await Promise.all(started.map((server) => server.stop()))
  throw failed.reason
}

async function every<T>(items: readonly T[], holds: (item: T) => Promise<boolean>): Promise<boolean> {
  return (await Promise.all(items.map(holds))).every(Boolean)
}

async function clusterInfo(node: RedisServer): Promise<string> {
  return String(await node.send('CLUSTER', 'INFO'))
}

function slotsOf(index: number): number[] {
  const bounds = [index, index + 1].map((part) => Math.floor((part * SLOTS) / MASTERS)) as [number, number]
  return Array.from({ length: bounds[1] - bounds[0] }, (_, i) => bounds[0] + i)
}

async function keysIn(slot: number, node: RedisServer): Promise<string[]> {
  const count = Number(await node.send('CLUSTER', 'COUNTKEYSINSLOT', slot))
  return (await node.send('CLUSTER', 'GETKEYSINSLOT', slot, count)) as string[]
}

async function move(keys: string[], from: RedisServer, to: RedisServer): Promise<void> {
  if (keys.length === 0) return
  await from.send('MIGRATE', HOST, to.port, '', 0, MIGRATE_TIMEOUT_MS, 'KEYS', ...keys)
}

/** Starts a cluster; ready when all nodes say that it is well, which takes them about 2 s. */
export function startCluster(options?: ClusterOptions): Promise<RedisCluster> {
  return RedisCluster.start(options)
}
