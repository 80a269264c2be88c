import { readFileSync } from 'node:fs'
import path from 'node:path'
import Redis from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RedisServer, startRedis } from '../servers'

const MOST = 2 ** 53 - 1
const BATCH = 25_000
const BATCHES = 40

let server: RedisServer
let redis: Redis

beforeAll(async () => {
  server = await startRedis()
  redis = new Redis(server.url)
})

afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

/** Takes triples of doubles and answers quotients and remainders. */
const SCRIPT = `
local floor = math.floor
${readFileSync(path.join(__dirname, '../../../lib/redis/scripts/number.lua'), 'utf8')}
local replies = {}
local data, at = ARGV[1], 1
while at <= #data do
  local a, b, c
  a, b, c, at = struct.unpack('<ddd', data, at)
  replies[#replies + 1] = struct.pack('<dd', muldiv(a, b, c))
end
return table.concat(replies)
`

/** xorshift32: the same numbers at every run. */
class Random {
  #state = 0x2545f491

  next(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return (x >>> 0) / 2 ** 32
  }

  /** An integer up to 2^bits, as likely of one size as of another; often beside a power of two. */
  integer(bits: number): number {
    const size = this.next() * bits
    const value =
      this.next() < 0.2
        ? 2 ** Math.round(size) + Math.round(this.next() * 4 - 2)
        : Math.floor(2 ** size * (1 + this.next() * 1e-9) + this.next() * 2 ** Math.max(0, size - 30))
    return Math.min(Math.max(value, 0), MOST)
  }
}

type Triple = readonly [a: number, b: number, c: number]

function randomTriple(random: Random): Triple {
  const [a, b] = [random.integer(53), random.integer(53)]
  const least = Math.ceil((a / 2 ** 52) * b)
  const c = Math.max(1, random.next() < 0.5 ? least + random.integer(20) : random.integer(53))
  // Near whole quotients, too: a multiple of c, and one less.
  return random.next() < 0.2 && a > 0 ? [a, Math.max(0, b - (b % c)), c] : [a, b, c]
}

const EDGES: number[] = [
  ...[0, 1, 2, 3, 63, 64, 65, 999_999, 1_000_000, 86_400_000_000, 4_611_686_018_427_000],
  ...[26, 27, 31, 32, 50, 51, 52].flatMap((bit) => [2 ** bit - 1, 2 ** bit, 2 ** bit + 1]),
  ...[2, 1, 0].map((less) => MOST - less),
]

function isInRange([a, b, c]: Triple): boolean {
  return c > 0 && c <= MOST && (BigInt(a) * BigInt(b)) / BigInt(c) <= BigInt(MOST)
}

async function check(triples: Triple[]): Promise<number> {
  const asked = triples.filter(isInRange)
  const data = Buffer.from(Float64Array.from(asked.flat()).buffer)
  const reply = (await redis.callBuffer('EVAL', SCRIPT, 0, data)) as Buffer
  for (const [i, [a, b, c]] of asked.entries()) {
    const product = BigInt(a) * BigInt(b)
    const [quotient, remainder] = [reply.readDoubleLE(16 * i), reply.readDoubleLE(16 * i + 8)]
    if (quotient !== Number(product / BigInt(c)) || remainder !== Number(product % BigInt(c)))
      throw new Error(`muldiv(${a}, ${b}, ${c}) gave ${quotient} and ${remainder}`)
  }
  return asked.length
}

describe('muldiv is exact', () => {
  test('for all edges', async () => {
    const triples = EDGES.flatMap((a) => EDGES.flatMap((b) => EDGES.map((c): Triple => [a, b, c])))
    expect(await check(triples)).toBeGreaterThan(20_000)
  })

  test('for a million random numbers', { timeout: 120_000 }, async () => {
    const random = new Random()
    let count = 0
    for (let i = 0; i < BATCHES; i++)
      count += await check(Array.from({ length: BATCH }, () => randomTriple(random)))
    expect(count).toBeGreaterThan(0.6 * BATCH * BATCHES)
  })
})
