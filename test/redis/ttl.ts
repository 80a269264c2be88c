import Redis, { Cluster } from 'ioredis'
import { RedisCluster } from './cluster'
import { RedisServer } from './servers'

const SCAN_COUNT = 1000
const MOST_NAMED = 10

export type Keyspace = string | Redis | Cluster | RedisServer | RedisCluster

/**
 * Fails if a key lives for ever: in the database of a server (by its URL, itself, or a client of it), or on any master of
 * a cluster. Answers how many keys there are. `match` (a glob pattern, default `*`) is for servers that others use, too.
 */
export async function expectAllKeysHaveTtl(keyspace: Keyspace, match = '*'): Promise<number> {
  const clients = await clientsOf(keyspace)
  for (const client of clients) client.on('error', () => undefined)
  try {
    const found = await Promise.all(clients.map((client) => keysOf(client, match)))
    const immortal = found.flatMap(({ immortal }) => immortal)
    if (immortal.length > 0) {
      const named = immortal.slice(0, MOST_NAMED).map((key) => JSON.stringify(key))
      throw new Error(`${immortal.length} keys without a TTL: ${named.join(', ')}`)
    }
    return found.reduce((sum, { count }) => sum + count, 0)
  } finally {
    for (const client of clients) client.disconnect()
  }
}

/** Connections of their own: what state a test's client is in, and what prefix it adds, does not matter. */
async function clientsOf(keyspace: Keyspace): Promise<Redis[]> {
  if (keyspace instanceof Cluster) return keyspace.nodes('master').map(clientLike)
  if (keyspace instanceof RedisCluster) {
    const masters = await keyspace.runningMasters()
    return masters.map(({ url }) => new Redis(url))
  }
  if (keyspace instanceof RedisServer) return [new Redis(keyspace.url)]
  return [typeof keyspace === 'string' ? new Redis(keyspace) : clientLike(keyspace)]
}

function clientLike(client: Redis): Redis {
  return client.duplicate({
    keyPrefix: '',
    lazyConnect: false,
    enableOfflineQueue: true,
    commandTimeout: 10_000,
  })
}

async function keysOf(client: Redis, match: string): Promise<{ count: number; immortal: string[] }> {
  const keys = new Set<string>()
  const immortal: string[] = []
  let cursor = '0'
  do {
    const [next, page] = await client.scanBuffer(cursor, 'MATCH', match, 'COUNT', SCAN_COUNT)
    cursor = next.toString()
    const ttls = (await client.pipeline(page.map((key) => ['pttl', key])).exec()) ?? []
    for (const [index, [error, ttl]] of ttls.entries()) {
      if (error) throw error
      const name = (page[index] as Buffer).toString('latin1')
      if (ttl === -1 && !keys.has(name)) immortal.push(name)
      if (ttl !== -2) keys.add(name)
    }
  } while (cursor !== '0')
  return { count: keys.size, immortal }
}
