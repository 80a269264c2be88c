import { afterEach, describe, expect, it } from 'vitest'
import { type LimiterOptions, ManualClock } from '../../lib/index'
import { abandoned, attachElsewhere, endRegions, expectRefusal, HOUR_MS, open, printed } from './cli-regions'

afterEach(endRegions)

describe('sluice inspect', () => {
  it('describes the limiter and each process', async () => {
    const { name, limiter } = open({ burst: 20 })
    for (let i = 0; i < 25; i++) limiter.allow('a')
    const { pid } = await attachElsewhere(name)
    const lines = (await printed('inspect', name)).split('\n')
    expect(lines.slice(0, 3)).toEqual([
      `name       ${name}`,
      'policy     token-bucket 100/1h burst 20',
      'keys       2, made for 100',
    ])
    expect(lines[3]).toMatch(/^memory {5}[\d.]+ KiB$/)
    expect(lines[4]).toMatch(/^age {8}\d+ s/)
    expect(lines.slice(5, 8)).toEqual(['calls      21 admitted, 5 denied', 'processes  2 attached', ''])
    expect(lines.slice(8, 11).map((line) => line.trim().split(/ +/))).toEqual([
      ['pid', 'limiters', 'admitted', 'denied'],
      [`${process.pid}`, '1', '20', '5'],
      [`${pid}`, '1', '1', '0'],
    ])
    expect(lines.slice(11)).toEqual([''])
  })

  it('says what went wrong when the table was too small', async () => {
    const { name, limiter } = open({ maxKeys: 1, limit: 10 })
    for (let i = 0; i < 1000; i++) limiter.allow(`partly-${i}`)
    for (let i = 0; i < 1000; i++) limiter.allow(`wholly-${i}`, 10)
    const { evictedLive, refusedFull } = limiter.stats()
    const text = await printed('inspect', name)
    expect(text).toContain(`forgotten  ${evictedLive.toLocaleString('en-US')} keys that still counted: raise`)
    expect(text).toContain(`refused    ${refusedFull.toLocaleString('en-US')} calls of new keys`)
  })

  it('reads a limiter that nobody is attached to, and one made with a clock', async () => {
    expect(await printed('inspect', abandoned())).toContain('processes  none attached\n')
    const { name } = open({ clock: new ManualClock() })
    expect(await printed('inspect', name)).toContain(
      "clock      its users' own, which cannot be read from here\n",
    )
    await expectRefusal(['inspect', name, 'a'], /runs on a clock of its users, so only they can tell/)
  })

  it.each([
    ['fresh', 'ADMITTED now: it has spent nothing that still counts; 20 of 20 left'],
    ['some', /ADMITTED now: 13 of 20 left; full again in (1 h 10 min|1 h 9 min)$/],
    [
      'none',
      /DENIED now: 0 of 20 left. Admitted again in (10 min|9 min \d+ s), if nobody spends before; full/,
    ],
    [
      'blocked',
      /DENIED now: it is BLOCKED\. Admitted again in (2 h|1 h 59 min), if nobody spends before; `sluice reset` lifts the block$/,
    ],
    ['', /^key "" would be ADMITTED/],
    ['\u001b[2J\n\u{1f512}\u202e', /^key "\\u001b\[2J\\n\u{1f512}/u],
  ])('says what a call for %j would get', async (key, answer) => {
    const { name, limiter } = open({ limit: 6, burst: 20 })
    limiter.allow('some', 7)
    limiter.allow('none', 20)
    limiter.block('blocked', 2 * HOUR_MS)
    const before = limiter.stats()
    const lines = (await printed('inspect', name, key)).split('\n')
    expect(lines.at(-3)).toMatch(answer)
    expect(lines.at(-2)).toMatch(/own policy; a tier or with\(\) may answer otherwise\.$/)
    expect(limiter.stats()).toEqual(before)
  })

  it('answers by windows and under a policy that was changed', async () => {
    const { name, limiter } = open({ algorithm: 'fixed-window', limit: 5 })
    limiter.allow('a', 5)
    expect(await printed('inspect', name, 'a')).toMatch(
      /DENIED now: 0 of 5 left\. Admitted again in (1 h|59 min .*), if nobody spends before\n/,
    )
    limiter.setPolicy({ limit: 4 })
    const { answer } = JSON.parse(await printed('inspect', name, 'a', '--json'))
    expect(answer).toMatchObject({ key: 'a', allowed: false, limit: 4, remaining: 0, reason: 'limited' })
    limiter.setPolicy({ limit: 5 })
    limiter.refund('a', 2)
    expect(await printed('inspect', name, 'a')).toMatch(/ADMITTED now: 2 of 5 left; a new window in/)
  })

  it.each([
    [
      { algorithm: 'sliding-window' },
      /ADMITTED now: 1 of 4 left; nothing counts any more in (2 h|1 h.*)$/,
      /DENIED now: 0 of 4 left\. Admitted again in (1 h.*|\d+ min.*), if nobody spends before; nothing counts any more in (2 h|1 h.*)$/,
    ],
    [
      { algorithm: 'sliding-log' },
      /ADMITTED now: 1 of 4 left; nothing counts any more in (1 h|59 min .*)$/,
      /DENIED now: 0 of 4 left\. Admitted again in (1 h|59 min .*), if nobody spends before; nothing counts/,
    ],
    [
      { algorithm: 'strict-window' },
      /ADMITTED now: 1 of 4 left; nothing counts any more in (1 h( [1-5] min)?|59 min .*)$/,
      /DENIED now: 0 of 4 left\. Admitted again in (1 h( [1-5] min)?|59 min .*), if nobody spends before(; nothing counts .*)?$/,
    ],
    [
      { algorithm: 'leaky-bucket', queue: 3 },
      /ADMITTED now, to go out in (45 min|44 min .*): 1 of 4 left; the queue is empty in (45 min|44 min .*)$/,
      /DENIED now: 0 of 4 left\. Admitted again in (15 min|14 min .*), if nobody spends before; the queue is empty in (1 h|59 min .*)$/,
    ],
    [
      { algorithm: 'concurrency', windowMs: undefined, holdMs: HOUR_MS },
      /ADMITTED now: 1 of 4 left; all that is held has lapsed in (1 h( [1-5] min)?|59 min .*)$/,
      /DENIED now: 0 of 4 left\. Admitted again when one is released, or in (1 h( [1-5] min)?|59 min .*)(; all that .*)?$/,
    ],
  ] as const)('has the right words for %j', async (options, admitted, denied) => {
    const { name, limiter } = open({ limit: 4, ...options } as Partial<LimiterOptions>)
    limiter.consume('a', 3)
    expect((await printed('inspect', name, 'a')).split('\n').at(-3)).toMatch(admitted)
    limiter.consume('a')
    expect((await printed('inspect', name, 'a')).split('\n').at(-3)).toMatch(denied)
    expect((await printed('inspect', name, 'new')).split('\n').at(-3)).toMatch(
      /ADMITTED now: it has spent nothing that still counts; 4 of 4 left/,
    )
  })

  it('tells integers from strings, and suspects a mix-up', async () => {
    const { name, limiter } = open()
    limiter.allow(42, 30)
    limiter.allow(-5, 40)
    limiter.allow(0, 50)
    const asInteger = async (...key: string[]) => printed('inspect', name, '--integer', ...key)
    expect(await asInteger('42')).toContain('key 42 (an integer) would be ADMITTED now: 70 of 100 left')
    expect(await asInteger('--', '-5')).toContain('key -5 (an integer) would be ADMITTED now: 60 of 100 left')
    expect(await asInteger('--', '-0')).toContain('50 of 100 left')
    expect(await printed('inspect', name, '42')).toContain(
      'key "42" would be ADMITTED now: it has spent nothing that still counts; 100 of 100 left (looked up as a string; for an integer, add --integer)\n',
    )
    expect(await asInteger('7')).toContain('(looked up as an integer; leave out --integer for a string)\n')
  })

  it('prints one JSON document', async () => {
    const { name, limiter } = open()
    limiter.allow(42, 30)
    const document = JSON.parse(await printed('inspect', name, '42', '--integer', '--json'))
    expect(document).toMatchObject({
      name,
      keys: 1,
      processes: [{ pid: process.pid, limiters: 1, allowed: 1, denied: 0 }],
      answer: { key: 42, allowed: true, limit: 100, remaining: 70, retryAfterMs: 0, reason: 'ok' },
    })
    expect(JSON.parse(await printed('inspect', name, '--json'))).not.toHaveProperty('answer')
  })
})

describe('sluice reset', () => {
  it('forgets a key, for all, and says whether there was anything', async () => {
    const { name, limiter } = open()
    limiter.allow('a', 100)
    limiter.block(42, HOUR_MS)
    expect(await printed('reset', name, 'a')).toBe(`forgot key "a" in ${name}\n`)
    expect(await printed('reset', name, '42')).toBe(
      `nothing to forget about key "42" in ${name} (looked up as a string; for an integer, add --integer)\n`,
    )
    expect(await printed('reset', name, '42', '--integer')).toBe(`forgot key 42 (an integer) in ${name}\n`)
    expect(await printed('reset', name, 'a')).toBe(`nothing to forget about key "a" in ${name}\n`)
    expect([limiter.peek('a').remaining, limiter.peek(42).reason]).toEqual([100, 'ok'])
  })

  it('works on one made with a clock', async () => {
    const clock = new ManualClock(9e9)
    const { name, limiter } = open({ clock })
    clock.advance(HOUR_MS)
    limiter.allow('a', 100)
    expect(await printed('reset', name, 'a')).toBe(`forgot key "a" in ${name}\n`)
    expect(limiter.allow('a', 100)).toBe(true)
    clock.advance(HOUR_MS / 2)
    expect(limiter.peek('a').remaining).toBe(50)
  })
})
