import { createHash } from 'node:crypto'
import Redis from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Script, scriptOf } from '../../../lib/redis/scripts'
import type { OracleSettings } from '../../oracle/settings'
import { type RedisServer, startRedis } from '../servers'
import { ScriptLimiter } from './script-limiter'

const LEASE_US = 100_000
const KEY = 'hot'

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

/** mulberry32: the same numbers at every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** What a host has borrowed, as a purse keeps it: new tokens make the old ones last longer. */
interface Purse {
  balance: number
  validUntilUs: number
  origin: number
}

/** Hosts that borrow, hoard, spend and give back as chance will have it, beside one that spends all it can get at once. */
class Cluster {
  readonly spentAtUs: number[] = []
  leased = 0
  returned = 0
  readonly #limiter: ScriptLimiter
  readonly #purses: Purse[]
  readonly #random: (below: number) => number
  /** How this run's hosts are: how often they spend late, and how much is spent beside them. */
  readonly #lateness: number
  readonly #greed: number
  /** Whether they keep what they have by borrowing a little more, until all spend or give back at once. */
  readonly #isHoarding: boolean
  #nowUs = 1_790_000_000_000_000

  constructor(settings: OracleSettings, seed: number, script?: Script) {
    this.#random = randomFrom(seed)
    this.#limiter = new ScriptLimiter(redis, settings, {
      startMs: this.#nowUs / 1000,
      ...(script && { script }),
    })
    this.#purses = Array.from({ length: 1 + this.#random(4) }, () => ({
      balance: 0,
      validUntilUs: 0,
      origin: 0,
    }))
    this.#lateness = this.#random(4)
    this.#greed = this.#random(3)
    this.#isHoarding = seed % 2 === 0
  }

  async run(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) await (this.#isHoarding ? this.#hoard() : this.#step())
  }

  async #hoard(): Promise<void> {
    const random = this.#random
    this.#pass(random(40_000 / this.#purses.length))
    const dice = random(60)
    if (dice < 40) {
      await this.#borrow(this.#next(), random(2), 2 + random(30))
    } else if (dice < 57) {
      await this.#spendExactly(1 + random(40))
    } else {
      const isGivenBack = dice === 57
      for (const purse of this.#purses) {
        if (isGivenBack) await this.#giveBack(purse, purse.balance)
        else this.#spend(purse, purse.balance)
      }
      await this.#spendExactly(10_000)
    }
  }

  /** The one whose tokens lapse first. */
  #next(): Purse {
    return this.#purses.reduce((a, b) => (b.validUntilUs < a.validUntilUs ? b : a))
  }

  async #step(): Promise<void> {
    const random = this.#random
    this.#pass([0, 1, 1000, 10_000, 60_000, LEASE_US][random(6)] as number)
    const purse = this.#purses[random(this.#purses.length)] as Purse
    const dice = random(10)
    if (dice < 4) await this.#borrow(purse, random(3), random(200))
    else if (dice < 6) this.#spend(purse, random(purse.balance + 1))
    else if (dice < 7) await this.#giveBack(purse, random(purse.balance + 1))
    else if (dice < 7 + this.#greed) await this.#spendExactly(1 + random(300))
  }

  /** Time passes; what lapses on the way is lost, or spent in the last microsecond. */
  #pass(us: number): void {
    const untilUs = this.#nowUs + us
    const lapsing = this.#purses.filter(({ validUntilUs }) => validUntilUs <= untilUs)
    for (const purse of lapsing.sort((a, b) => a.validUntilUs - b.validUntilUs)) {
      if (purse.balance > 0 && this.#random(4) < this.#lateness) {
        this.#nowUs = Math.max(this.#nowUs, purse.validUntilUs - 1)
        this.#spend(purse, purse.balance)
      }
      purse.balance = 0
    }
    this.#nowUs = untilUs
    this.#limiter.setTime(this.#nowUs / 1000)
  }

  #spend(purse: Purse, tokens: number): void {
    purse.balance -= tokens
    for (let i = 0; i < tokens; i++) this.spentAtUs.push(this.#nowUs)
  }

  async #borrow(purse: Purse, cost: number, want: number): Promise<void> {
    const item = `l ${cost} ${want} ${purse.balance} ${LEASE_US} ${this.#purses.length} ${purse.origin}`
    const { answer, more } = await this.#limiter.decideLong(item, KEY)
    const [granted, validUs, origin] = more
    for (let i = 0; i < answer.consumed; i++) this.spentAtUs.push(this.#nowUs)
    if (granted === 0) return
    this.leased += granted
    purse.balance += granted
    purse.validUntilUs = Math.max(purse.validUntilUs, this.#nowUs + validUs)
    purse.origin = origin
  }

  async #giveBack(purse: Purse, tokens: number): Promise<void> {
    if (tokens === 0) return
    purse.balance -= tokens
    this.returned += await this.#limiter.amount(`u ${tokens} ${purse.origin}`, KEY)
  }

  async #spendExactly(most: number): Promise<void> {
    const { consumed } = await this.#limiter.decide(`p ${most}`, KEY)
    for (let i = 0; i < consumed; i++) this.spentAtUs.push(this.#nowUs)
  }
}

/** The first spending for which an interval that ends with it has more than burst + rate * its length; undefined: none. */
function firstAboveBucket(
  spentAtUs: number[],
  { limit, windowMs = 0, burst = limit }: OracleSettings,
): number | undefined {
  const [p, q] = [BigInt(limit), BigInt(Math.round(windowMs * 1000))]
  let fullAt = 0n
  for (const us of spentAtUs) {
    const now = BigInt(us) * p
    fullAt = (fullAt > now ? fullAt : now) + q
    if (fullAt - now > BigInt(burst) * q) return us
  }
  return undefined
}

/** The most that was spent in one of the windows into which `indexOf` sorts. */
function mostIn(spentAtUs: number[], indexOf: (us: number) => number): number {
  const counts = new Map<number, number>()
  for (const us of spentAtUs) counts.set(indexOf(us), (counts.get(indexOf(us)) ?? 0) + 1)
  return Math.max(0, ...counts.values())
}

/** The most that was spent within any interval of that length. */
function mostWithin(spentAtUs: number[], lengthUs: number): number {
  let most = 0
  for (let first = 0, last = 0; last < spentAtUs.length; last++) {
    while ((spentAtUs[last] as number) - (spentAtUs[first] as number) >= lengthUs) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

const BUCKETS: OracleSettings[] = [
  { algorithm: 'token-bucket', limit: 1000, windowMs: 1000 },
  { algorithm: 'token-bucket', limit: 1000, windowMs: 1000, burst: 300 },
  { algorithm: 'token-bucket', limit: 7, windowMs: 33.333, burst: 500 },
  { algorithm: 'token-bucket', limit: 300, windowMs: 60_000, burst: 300 },
]

const SEEDS = Array.from({ length: 12 }, (_, i) => 1000 + i)
const STEPS = 250

function without(name: string, part: string, replacement: string): Script {
  const script = scriptOf('token-bucket')
  if (!script.text.includes(part)) throw new Error(`the script no longer has what ${name} are about`)
  const mutant = script.text.replace(part, replacement)
  return { name: 'mutant', text: mutant, sha: createHash('sha1').update(mutant).digest('hex') }
}

async function isAnyAbove(script?: Script): Promise<boolean> {
  for (const settings of BUCKETS) {
    for (const seed of SEEDS) {
      const cluster = new Cluster(settings, seed, script)
      await cluster.run(STEPS)
      if (firstAboveBucket(cluster.spentAtUs, settings) !== undefined) return true
    }
  }
  return false
}

describe('hosts with leases never spend more than the limit', { timeout: 120_000 }, () => {
  test.each(BUCKETS)('token bucket of $limit per $windowMs ms', async (settings) => {
    let [leased, returned, spent] = [0, 0, 0]
    for (const seed of SEEDS) {
      const cluster = new Cluster(settings, seed)
      await cluster.run(STEPS)
      expect(firstAboveBucket(cluster.spentAtUs, settings), `seed ${seed}`).toBeUndefined()
      leased += cluster.leased
      returned += cluster.returned
      spent += cluster.spentAtUs.length
    }
    expect(leased).toBeGreaterThan(300)
    expect(returned).toBeGreaterThan(0)
    expect(spent).toBeGreaterThan(1000)
  })

  test.each<OracleSettings>([
    { algorithm: 'fixed-window', limit: 500, windowMs: 1000, align: 'epoch' },
    { algorithm: 'sliding-window', limit: 500, windowMs: 1000 },
  ])('$algorithm of $limit per $windowMs ms', async (settings) => {
    for (const seed of SEEDS) {
      const cluster = new Cluster(settings, seed)
      await cluster.run(STEPS)
      expect(cluster.leased).toBeGreaterThan(0)
      const most = mostIn(cluster.spentAtUs, (us) => Math.floor(us / 1_000_000))
      expect(most, `seed ${seed}`).toBeLessThanOrEqual(settings.limit)
    }
  })

  test('strict window, in any interval', async () => {
    const settings: OracleSettings = { algorithm: 'strict-window', limit: 500, windowMs: 1000 }
    for (const seed of SEEDS) {
      const cluster = new Cluster(settings, seed)
      await cluster.run(STEPS)
      expect(cluster.leased).toBeGreaterThan(0)
      expect(mostWithin(cluster.spentAtUs, 1_000_000), `seed ${seed}`).toBeLessThanOrEqual(settings.limit)
    }
  })
})

describe('these tests notice', { timeout: 120_000 }, () => {
  test.each([
    ['tokens that are leased as if they were spent at once', 'max(2 * lease_us, ', 'max(0, '],
    ['tokens of an old origin that may be held on to', 'origin == k.origin and 0 or held', '0'],
    [
      'an origin that never ends',
      'if k.us - leased_us(k) >= k.horizon then return end',
      'if true then return end',
    ],
  ])('%s', async (name, part, replacement) => {
    expect(await isAnyAbove(without(name, part, replacement))).toBe(true)
  })
})
