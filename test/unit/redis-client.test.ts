import { Cluster, Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { checkClient } from '../../lib/redis/client'
import { expectComplaint } from './coded'

test('checkClient takes both clients of ioredis', () => {
  const redis = new Redis({ lazyConnect: true })
  const cluster = new Cluster([{ port: 1 }], { lazyConnect: true })
  expect(checkClient(redis)).toBe(redis)
  expect(checkClient(cluster)).toBe(cluster)
})

test.each([
  [undefined, 'undefined'],
  [null, 'null'],
  ['redis://localhost', '"redis://localhost"'],
  [{}, 'an object'],
  [{ status: 'ready', connect() {}, on() {} }, 'an object'],
  [{ status: 0, sendCommand() {}, connect() {}, on() {} }, 'an object'],
  [Redis, 'a function'],
])('checkClient refuses %s', (value, shown) => {
  expectComplaint(() => checkClient(value), {
    type: 'TypeError',
    code: 'ERR_SLUICE_OPTION_TYPE',
    says: [`client must be a Redis or a Cluster of ioredis, not ${shown}`],
  })
})
