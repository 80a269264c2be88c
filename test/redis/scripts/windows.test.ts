import { describe, expect, test } from 'vitest'
import { scriptOf } from '../../../lib/redis/scripts'
import { evalScript } from './script-limiter'
import { HOUR, NOW, SECOND, Subject, useRedis } from './subject'

const redisOf = useRedis()

describe('what is stored', () => {
  test('a fixed window: when it began and what was spent', async () => {
    const subject = new Subject(redisOf(), 'fixed-window', `10 ${SECOND}`)
    await subject.ask('3')
    subject.nowUs += 250
    await subject.ask('2')
    expect(await redisOf().get(subject.key)).toBe(`${NOW + 250} ${NOW} 5`)
  })

  test('a fixed window by the epoch', async () => {
    const subject = new Subject(redisOf(), 'fixed-window', `10 ${SECOND} z`)
    subject.nowUs += 999_999
    await subject.ask('3')
    expect(await subject.body()).toBe(`${NOW} 3`)
  })

  test('a fixed window of new keys: how long they are known, and which window is the first', async () => {
    const subject = new Subject(redisOf(), 'fixed-window', `10 ${SECOND} i2,${HOUR}`)
    await subject.ask('1')
    expect(await subject.body()).toBe(`${NOW} 1 k${HOUR} f`)
    subject.nowUs += SECOND
    await subject.ask('4')
    expect(await subject.body()).toBe(`${NOW + SECOND} 4 k${HOUR}`)
  })

  test('a sliding window: when it began, what was spent in it, and in the one before', async () => {
    const subject = new Subject(redisOf(), 'sliding-window', `10 ${SECOND}`)
    await subject.ask('3')
    subject.nowUs += 1.5 * SECOND
    await subject.ask('4')
    expect(await subject.body()).toBe(`${NOW + SECOND} 4 3`)
  })

  test('a sliding log: times and tokens of what counts', async () => {
    const subject = new Subject(redisOf(), 'sliding-log', `10 ${SECOND}`)
    await subject.ask('3')
    subject.nowUs += 400_000
    await subject.ask('1')
    await subject.ask('1')
    expect(await subject.body()).toBe(`${NOW}:3 ${NOW + 400_000}:2`)
    subject.nowUs += 600_000
    await subject.ask('1')
    expect(await subject.body()).toBe(`${NOW + 400_000}:2 ${NOW + SECOND}:1`)
  })

  test('sub-windows: what counts in all, and newest first; empty ones at the end are left out', async () => {
    const subject = new Subject(redisOf(), 'strict-window', `100 ${12 * SECOND}`)
    const start = subject.nowUs - (subject.nowUs % SECOND)
    await subject.ask('3')
    expect(await subject.body()).toBe(`${start} 3:3`)
    subject.nowUs = start + 2 * SECOND
    await subject.ask('10')
    expect(await subject.body()).toBe(`${start + 2 * SECOND} 13:10,0,3`)
    await subject.ask(`r 3 ${2 * SECOND}`)
    expect(await subject.body()).toBe(`${start + 2 * SECOND} 10:10`)
    for (let i = 0; i < 13; i++) {
      subject.nowUs += SECOND
      await subject.ask('1')
    }
    expect(await subject.body()).toBe(`${start + 15 * SECOND} 13:1,1,1,1,1,1,1,1,1,1,1,1,1`)
  })

  test('nothing, when nothing counts any more', async () => {
    for (const algorithm of ['sliding-window', 'sliding-log', 'strict-window', 'concurrency'] as const) {
      const subject = new Subject(redisOf(), algorithm, `10 ${SECOND}`)
      await subject.ask('3')
      await subject.ask('r 3 0')
      expect(await redisOf().get(subject.key), algorithm).toBeNull()
    }
  })

  test.each([
    ['fixed-window', `10 ${SECOND}`, 1],
    ['fixed-window', `10 ${SECOND} i5,${9 * SECOND}`, 10],
    ['sliding-window', `10 ${SECOND}`, 2],
    ['sliding-log', `10 ${SECOND}`, 1],
    ['strict-window', `10 ${SECOND}`, 13 / 12],
    ['concurrency', `10 ${SECOND}`, 13 / 12],
  ] as const)('a %s of %s lives for as long as it matters', async (algorithm, policy, seconds) => {
    const { key } = new Subject(redisOf(), algorithm, policy)
    await evalScript(redisOf(), scriptOf(algorithm), [key], ['', 1, policy, '1'])
    const ttlMs = await redisOf().pttl(key)
    expect(ttlMs).toBeGreaterThan(0)
    expect(ttlMs).toBeLessThanOrEqual(Math.ceil(1000 * seconds))
  })
})

describe('what cannot be read', () => {
  const texts = [
    `${NOW} what`,
    `${NOW} 1 2 3 4 5`,
    `${NOW} 99999999999999999999 1 1`,
    `${NOW} 1 99999999999999999999`,
    `${NOW} 1 99999999999999999999 1`,
    `${NOW} 1 1 99999999999999999999`,
    `${NOW} ${NOW} 5 x9`,
    `${NOW} ${NOW}:99999999999999999999`,
    `${NOW} ${NOW}:1 what`,
    `${NOW} 99999999999999999999 1:1`,
    `${NOW} ${NOW} 99999999999999999999:1`,
    `${NOW} ${NOW} 1:2`,
  ]
  const others = { 'fixed-window': 0, 'sliding-window': 1, 'sliding-log': 2, 'strict-window': 3 }
  const bodies = [`${NOW} 3`, `${NOW} 3 1`, `${NOW}:3`, `${NOW} 3:3`]

  test.each(['fixed-window', 'sliding-window', 'sliding-log', 'strict-window', 'concurrency'] as const)(
    'a %s leaves it alone',
    async (algorithm) => {
      const own = bodies[others[algorithm === 'concurrency' ? 'strict-window' : algorithm]]
      const foreign = bodies.filter((body) => body !== own).map((body) => `${NOW} ${body}`)
      for (const text of [...texts, ...foreign]) {
        const subject = new Subject(redisOf(), algorithm, `10 ${SECOND}`)
        await redisOf().set(subject.key, text, 'PX', 60_000)
        for (const item of ['1', 'k 1', 'n 1 0', 'r 1 0', 'b 1000']) {
          expect((await subject.ask(item)).outcome, `${text}, ${item}`).toBe(6)
        }
        expect(await redisOf().get(subject.key)).toBe(text)
      }
    },
  )

  test('a window of another length is taken as it is, and lets go in time', async () => {
    for (const algorithm of ['fixed-window', 'sliding-window', 'sliding-log', 'strict-window'] as const) {
      const before = new Subject(redisOf(), algorithm, `10 ${60 * SECOND}`)
      expect(await before.isAdmitted(10)).toBe(true)
      const args = (nowUs: number) => [`${nowUs}`, 1, `10 ${7 * SECOND}`, 'k 1']
      const reply = await evalScript(redisOf(), scriptOf(algorithm), [before.key], args(NOW + 1))
      expect(reply.readDoubleLE(8), algorithm).toBeLessThanOrEqual(10)
      const later = await evalScript(redisOf(), scriptOf(algorithm), [before.key], args(NOW + 14 * SECOND))
      expect(later.readDoubleLE(8), algorithm).toBe(10)
    }
  })
})

describe('tokens that are lent to a host', () => {
  test.each([
    ['fixed-window', '', 900_000],
    ['fixed-window', ' z', 600_000],
    ['sliding-window', '', 600_000],
    ['strict-window', '', 16_667],
  ] as const)('a %s%s lends until it ends, and takes back until then', async (algorithm, mode, endsUs) => {
    const origin = NOW + 400_000
    const subject = new Subject(redisOf(), algorithm, `20 ${SECOND}${mode}`)
    subject.nowUs += 300_000
    await subject.ask('1')
    subject.nowUs += 100_000
    const { outcome, remaining, more } = await subject.ask(`l 1 100 0 ${HOUR} 1`)
    expect([outcome, remaining]).toEqual([0, 9])
    expect(more).toEqual([9, endsUs, origin])
    const { more: brief } = await subject.ask('l 1 100 0 1000 2')
    expect(brief).toEqual([2, 1000, origin])
    expect(await subject.amount(`u 4 ${origin - 1}`)).toBe(0)
    expect(await subject.amount(`u 4 ${origin}`)).toBe(4)
    expect(await subject.left()).toBe(10)
    subject.nowUs += endsUs
    const before = await subject.left()
    expect(await subject.amount(`u 4 ${origin}`)).toBe(0)
    expect(await subject.left()).toBe(before)
  })

  test.each(['fixed-window', 'sliding-window', 'strict-window'] as const)(
    'a %s lends to who spends nothing itself',
    async (algorithm) => {
      const subject = new Subject(redisOf(), algorithm, `20 ${SECOND}`)
      subject.nowUs += 300_000
      const { outcome, remaining, more } = await subject.ask('l 0 6 0 1000 1')
      expect([outcome, remaining]).toEqual([0, 14])
      expect(more).toEqual([6, 1000, subject.nowUs])
      expect(await subject.left()).toBe(14)
    },
  )

  test.each([
    ['fixed-window', ''],
    ['fixed-window', ' z'],
    ['sliding-window', ''],
    ['strict-window', ''],
  ] as const)('a %s%s takes nothing back that was lent before a reset', async (algorithm, mode) => {
    const subject = new Subject(redisOf(), algorithm, `20 ${SECOND}${mode}`)
    const { more } = await subject.ask('l 0 6 0 1000 1')
    expect(await subject.amount('x')).toBe(1)
    subject.nowUs += 1
    await subject.ask('10')
    expect(await subject.amount(`u 6 ${more[2]}`)).toBe(0)
    const again = await subject.ask('l 0 4 0 1000 1')
    expect(await subject.amount(`u 4 ${more[2]}`)).toBe(0)
    expect(await subject.amount(`u 4 ${again.more[2]}`)).toBe(4)
    expect(await subject.left()).toBe(10)
  })

  test('nothing while little is left, or the call itself is refused', async () => {
    for (const algorithm of ['fixed-window', 'sliding-window', 'strict-window'] as const) {
      const subject = new Subject(redisOf(), algorithm, `7 ${SECOND}`)
      expect((await subject.ask('l 8 100 0 1000 1')).more).toEqual([0, 0, 0])
      expect((await subject.ask('l 4 100 0 1000 1')).more).toEqual([0, 0, 0])
      expect((await subject.ask('l 4 100 0 1000 1')).more).toEqual([0, 0, 0])
      expect(await subject.left(), algorithm).toBe(3)
    }
  })

  test('nothing is taken back into the window of a block', async () => {
    const subject = new Subject(redisOf(), 'fixed-window', `20 ${SECOND}`)
    const { more } = await subject.ask('l 1 6 0 1000 1')
    expect(more).toEqual([6, 1000, NOW])
    await subject.ask('b 10000')
    expect(await subject.amount(`u 6 ${NOW}`)).toBe(0)
    subject.nowUs += 10_000
    expect(await subject.left()).toBe(13)
  })
})

describe('leases of a concurrency limit', () => {
  test('all that are held at a time have one nonce; each gives back its own place', async () => {
    const subject = new Subject(redisOf(), 'concurrency', `4 ${12 * SECOND}`)
    const first = (await subject.ask('q 1 77')).more
    subject.nowUs += SECOND
    const second = (await subject.ask('q 2 78')).more
    expect(await subject.body()).toBe(`${subject.nowUs - (subject.nowUs % SECOND)} 3:2,1 n77`)
    expect([first[1], second[1]]).toEqual([77, 77])
    expect(await subject.amount(`g 1 ${first[0]} ${first[1]}`)).toBe(1)
    expect(await subject.amount(`g 1 ${first[0]} ${first[1]}`)).toBe(0)
    expect(await subject.left()).toBe(2)
    expect(await subject.amount(`g 2 ${second[0]} ${second[1]}`)).toBe(2)
    expect(await subject.left()).toBe(4)
  })

  test.each([
    ['a reset', (subject: Subject) => subject.ask('x')],
    ['the key was lost', (subject: Subject) => redisOf().del(subject.key)],
  ])('after %s a release frees nobody else’s place', async (_, forget) => {
    const subject = new Subject(redisOf(), 'concurrency', `4 ${SECOND}`)
    const before = (await subject.ask('q 2 77')).more
    await forget(subject)
    expect(await subject.amount(`g 2 ${before[0]} ${before[1]}`)).toBe(0)
    const after = (await subject.ask('q 3 78')).more
    expect(after[1]).toBe(78)
    expect(await subject.amount(`g 2 ${before[0]} ${before[1]}`)).toBe(0)
    expect(await subject.left()).toBe(1)
    expect(await subject.amount(`g 3 ${after[0]} ${after[1]}`)).toBe(3)
  })

  test('nor after a reset and places without a lease', async () => {
    const subject = new Subject(redisOf(), 'concurrency', `4 ${SECOND}`)
    const before = (await subject.ask('q 2 77')).more
    await subject.ask('x')
    await subject.ask('2')
    expect(await subject.amount(`g 2 ${before[0]} ${before[1]}`)).toBe(0)
    expect(await subject.amount('g 2 0 0')).toBe(0)
    expect((await subject.ask('q 1 78')).more[1]).toBe(78)
    expect(await subject.left()).toBe(1)
  })
})
