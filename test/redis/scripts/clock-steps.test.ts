import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Algorithm } from '../../../lib/policy/algorithms'
import { seeded } from '../../property/seed'
import { HOUR, NOW, SECOND, Subject, useRedis } from './subject'

const redisOf = useRedis()

const everyWindow: [Algorithm, string][] = [
  ['fixed-window', ''],
  ['fixed-window', ' z'],
  ['sliding-window', ''],
  ['sliding-log', ''],
  ['strict-window', ''],
  ['concurrency', ''],
]

describe('the clock of the server is set back', () => {
  const steps = fc.array(
    fc.record({
      waitUs: fc.oneof(
        fc.constant(0),
        fc.integer({ min: 0, max: 400_000 }),
        fc.integer({ min: 0, max: 3e6 }),
      ),
      backUs: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        fc.constantFrom(5 * SECOND, 10 * SECOND),
        fc.integer({ min: 10 * SECOND + 1, max: 60 * SECOND }),
        fc.constant(8 * HOUR + 123_457),
      ),
      cost: fc.integer({ min: 1, max: 4 }),
    }),
    { minLength: 20, maxLength: 40 },
  )
  const windows = fc.constantFrom(SECOND, 1_000_003, 700_000, 12)

  test.each(['strict-window', 'sliding-log', 'concurrency'] as const)(
    'a %s admits no more than its limit in any time of one window',
    async (algorithm) => {
      const property = fc.asyncProperty(windows, steps, async (windowUs, schedule) => {
        const subject = new Subject(redisOf(), algorithm, `4 ${windowUs}`)
        const spent: number[] = []
        let passedUs = 0
        for (const { waitUs, backUs, cost } of schedule) {
          passedUs += waitUs
          subject.nowUs += waitUs - backUs
          if (!(await subject.isAdmitted(cost))) continue
          for (let i = 0; i < cost; i++) spent.push(passedUs)
          for (let i = 4; i < spent.length; i++) {
            expect((spent[i] as number) - (spent[i - 4] as number)).toBeGreaterThanOrEqual(windowUs)
          }
        }
      })
      await fc.assert(property, seeded(40))
    },
  )

  test.each(everyWindow)('a %s%s has no more left, and is not locked', async (algorithm, mode) => {
    const property = fc.asyncProperty(windows, steps, async (windowUs, schedule) => {
      const subject = new Subject(redisOf(), algorithm, `4 ${windowUs}${mode}`)
      for (const { waitUs, backUs, cost } of schedule) {
        subject.nowUs += waitUs
        const before = await subject.left()
        subject.nowUs -= backUs
        if (backUs > 0) expect(await subject.left()).toBeLessThanOrEqual(before)
        await subject.isAdmitted(cost)
      }
      const { resetUs } = await subject.ask('5')
      expect(resetUs).toBeLessThanOrEqual(2 * windowUs + 10 * SECOND)
      await subject.isAdmitted(4)
      subject.nowUs += 2 * windowUs + 10 * SECOND
      expect(await subject.isAdmitted(4)).toBe(true)
    })
    await fc.assert(property, seeded(40))
  })

  test.each(everyWindow)('a %s%s: a block lasts as long as it was to', async (algorithm, mode) => {
    const subject = new Subject(redisOf(), algorithm, `4 ${SECOND}${mode}`)
    await subject.ask('4')
    await subject.ask(`b ${5 * SECOND}`)
    subject.nowUs += SECOND - 8 * HOUR
    const told = await subject.ask('k 1')
    expect(told.outcome).toBe(3)
    expect(told.retryUs).toBe(5 * SECOND)
  })

  test.each(['fixed-window', 'sliding-log'] as const)(
    'a %s: what was spent counts for as long as it was to',
    async (algorithm) => {
      const subject = new Subject(redisOf(), algorithm, `4 ${SECOND}`)
      await subject.ask('3')
      subject.nowUs += 400_000
      await subject.ask('1')
      subject.nowUs -= 8 * HOUR - 123_457
      const { outcome, retryUs } = await subject.ask('3')
      expect([outcome, retryUs]).toEqual([1, 600_000])
      subject.nowUs += 599_999
      expect(await subject.isAdmitted(3)).toBe(false)
      subject.nowUs += 1
      expect(await subject.isAdmitted(3)).toBe(true)
    },
  )

  test('a window of the epoch goes on in the one that it is then', async () => {
    const subject = new Subject(redisOf(), 'fixed-window', `4 ${SECOND} z`)
    subject.nowUs += 300_000
    await subject.ask('3')
    subject.nowUs += 400_000 - 8 * HOUR + 200_000
    expect(await subject.ask('2')).toMatchObject({ outcome: 1, remaining: 1, retryUs: 100_000 })
  })

  test('a sliding window: what counted then counts as if it was spent now', async () => {
    const subject = new Subject(redisOf(), 'sliding-window', `10 ${SECOND}`)
    await subject.ask('9')
    subject.nowUs += SECOND
    await subject.ask('1')
    subject.nowUs += 300_000
    expect(await subject.isAdmitted(2)).toBe(true)
    subject.nowUs += 500_000 - 8 * HOUR
    // 3, and 7 tenths of 9.
    expect(await subject.ask('1')).toMatchObject({ outcome: 1, remaining: 0, retryUs: 300_000 })
    expect(await subject.body()).toBe(`${NOW + SECOND - 8 * HOUR} 10 0`)
  })

  test('a strict window: a sub-window that has hardly begun does not end early', async () => {
    const subject = new Subject(redisOf(), 'strict-window', `11 ${12 * SECOND}`)
    const start = subject.nowUs - (subject.nowUs % SECOND) + SECOND
    subject.nowUs = start - 1
    await subject.ask('10')
    subject.nowUs = start
    await subject.ask('1')
    subject.nowUs += 900_000 - 8 * HOUR
    expect(await subject.isAdmitted()).toBe(false)
    subject.nowUs += 12 * SECOND - 2
    expect(await subject.isAdmitted()).toBe(false)
    subject.nowUs += SECOND
    expect(await subject.isAdmitted(11)).toBe(true)
  })

  test('a lease of before gives back nobody else’s place, when the clock has come there again', async () => {
    const subject = new Subject(redisOf(), 'concurrency', `4 ${60 * SECOND}`)
    const { more } = await subject.ask('q 2 77')
    subject.nowUs -= 20 * SECOND
    await subject.ask('q 1 78')
    expect(await subject.amount(`g 2 ${more[0]} ${more[1]}`)).toBe(0)
    subject.nowUs += 20 * SECOND
    await subject.ask('q 1 79')
    expect(await subject.amount(`g 2 ${more[0]} ${more[1]}`)).toBe(0)
    expect(await subject.left()).toBe(0)
  })
})
