import Redis from 'ioredis'
import { expect, test } from 'vitest'
import { type SentinelGroup, type SentinelOptions, startSentinel } from './sentinel'
import { until } from './until'

async function withGroup(
  options: SentinelOptions,
  story: (group: SentinelGroup, client: Redis) => Promise<void>,
): Promise<void> {
  const group = await startSentinel(options)
  const client = new Redis({
    sentinels: group.sentinels,
    name: group.name,
    sentinelRetryStrategy: () => 50,
    retryStrategy: () => 50,
    commandTimeout: 1000,
  })
  client.on('error', () => undefined)
  try {
    await story(group, client)
  } finally {
    client.disconnect()
    await group.stop()
  }
}

test('a sentinel promotes the replica at command: what was written stays, the old primary refuses to write', async () => {
  await withGroup({}, async (group, client) => {
    const { primary, replica } = group
    await client.set('key', 'value')
    await primary.send('WAIT', 1, 5000)
    await expect(replica.send('SET', 'key', 'other')).rejects.toThrow('READONLY')
    await group.failover('asked')
    expect([group.primary, group.replica]).toEqual([replica, primary])
    expect([await replica.info('role'), await primary.info('role')]).toEqual(['master', 'slave'])
    await until(
      async () => (await client.set('key', 'new')) === 'OK',
      'a client that has found the new primary',
    )
    expect(await replica.send('GET', 'key')).toBe('new')
    await expect(primary.send('SET', 'key', 'other')).rejects.toThrow('READONLY')
  })
}, 60_000)

test('three sentinels notice that the primary was killed; when it is back, it follows', async () => {
  await withGroup({ sentinels: 3 }, async (group, client) => {
    expect(group.sentinels).toHaveLength(3)
    const { primary, replica } = group
    await client.set('key', 'value')
    await primary.send('WAIT', 1, 5000)
    await group.failover('killed')
    expect([primary.isRunning, group.primary]).toEqual([false, replica])
    await until(async () => (await client.get('key')) === 'value', 'a client that has found the new primary')
    await primary.restart()
    await group.untilSettled()
    expect([await replica.info('role'), await primary.info('role')]).toEqual(['master', 'slave'])
  })
}, 60_000)
