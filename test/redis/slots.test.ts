import Redis from 'ioredis'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hashSlot } from '../../lib/redis/slots'
import { type RedisServer, startRedis } from './servers'

let server: RedisServer
let client: Redis

beforeAll(async () => {
  server = await startRedis({ config: { 'cluster-enabled': 'yes' } })
  client = new Redis(server.url)
})

afterAll(async () => {
  client.disconnect()
  await server.stop()
})

test('random keys of all of Unicode are in the slots that the server says', async () => {
  const random = sequence(11)
  const alphabet = ['{', '}', '{', '}', 'a', 'b', ':', '\0', '\x7f', '\x80', 'é', '中', '𝄞', '\uffff']
  const keys = Array.from({ length: 5000 }, () =>
    Array.from({ length: random(12) }, () => alphabet[random(alphabet.length)]).join(''),
  )
  const slots = await Promise.all(keys.map((key) => client.cluster('KEYSLOT', key)))
  expect(keys.map(hashSlot)).toEqual(slots)
})

function sequence(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
