import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { bytesText } from '../../lib/cli/region-text'
import { ManualClock } from '../../lib/index'
import {
  abandoned,
  attachElsewhere,
  attachHere,
  endRegions,
  expectRefusal,
  HOUR_MS,
  open,
  printed,
  showOwn,
} from './cli-regions'
import { fileOf, freshName, plant } from './regions'

afterEach(() => {
  vi.restoreAllMocks()
  endRegions()
})

describe('sluice regions', () => {
  it('lists each with policy, keys, memory, age and processes', async () => {
    const { name, limiter } = open({ burst: 20 })
    const other = open({ algorithm: 'fixed-window', limit: 5, windowMs: 1500 }).name
    limiter.allow('a')
    limiter.allow('b')
    const { createdEpochMs, bytes } = limiter.stats()
    vi.spyOn(Date, 'now').mockReturnValue(createdEpochMs + 2 * HOUR_MS + 330_000)
    const lines = (await printed('regions')).split('\n')
    expect(lines[0]).toMatch(/^name +policy +keys +memory +age +processes$/)
    expect(lines).toHaveLength(4)
    const cells = lines.map((line) => line.split(/ {2,}/))
    expect(cells).toContainEqual([
      name,
      'token-bucket 100/1h burst 20',
      '2',
      bytesText(bytes),
      '2 h 5 min',
      '1',
    ])
    expect(cells).toContainEqual([
      other,
      'fixed-window 5/1500ms',
      '0',
      expect.stringMatching(/ KiB$/),
      '2 h 5 min',
      '1',
    ])
  })

  it('prints one JSON document', async () => {
    const { name, limiter } = open()
    limiter.allow('a')
    limiter.allow('a', 1000)
    const region = JSON.parse(await printed('regions', '--json'))[0]
    const { capacity, bytes, createdEpochMs } = limiter.stats()
    expect(region).toEqual({
      name,
      policy: { algorithm: 'token-bucket', limit: 100, windowMs: HOUR_MS, burst: 100 },
      hasOwnClock: false,
      ageMs: expect.any(Number),
      keys: 1,
      capacity,
      bytes,
      maxKeys: 100,
      allowed: 1,
      denied: 1,
      evictedLive: 0,
      refusedFull: 0,
      createdEpochMs,
      processes: [{ pid: process.pid, limiters: 1, allowed: 1, denied: 1 }],
    })
  })

  it('says so in one line if there are none', async () => {
    expect(await printed('regions')).toMatch(
      /^no shared limiters of this user \(uid \d+\) on this machine\n$/,
    )
    expect(JSON.parse(await printed('regions', '--json'))).toEqual([])
  })

  it('does not count itself, and leaves nothing attached', async () => {
    const name = abandoned()
    for (let round = 0; round < 3; round++) expect(await printed('regions')).toMatch(/ 0\n$/)
    expect(await printed('remove', name)).toBe(`removed ${name}\n`)
  })

  it('counts processes, not their limiters', async () => {
    const { name } = open()
    attachHere(name)
    attachHere(name)
    await attachElsewhere(name)
    expect(await printed('regions')).toMatch(/ 2\n$/)
  })

  it('shows one made with a clock, and disturbs its time and its policy as little as any other', async () => {
    const clock = new ManualClock(5_000_000)
    const { limiter } = open({ clock, limit: 1 })
    expect(limiter.allow('a')).toBe(true)
    expect(await printed('regions')).toContain('  token-bucket 1/1h burst 1, own clock  ')
    expect(limiter.peek('a').retryAfterMs).toBe(HOUR_MS)
    clock.advance(HOUR_MS)
    expect(limiter.allow('a')).toBe(true)
  })

  it('lists what is broken with its error, and all others', async () => {
    const { name: good } = open()
    const truncated = abandoned()
    truncateSync(fileOf(truncated), 100)
    const garbled = abandoned()
    const bytes = readFileSync(fileOf(garbled))
    bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40)
    plant(garbled, bytes)
    const text = await printed('regions')
    expect(text).toMatch(new RegExp(`^${good} +token-bucket 100/1h burst 100 .* 1$`, 'm'))
    expect(text).toMatch(new RegExp(`^${truncated} +cannot be used: its size is 100 bytes; .*remove`, 'm'))
    expect(text).toMatch(new RegExp(`^${garbled} +cannot be used: its header does not match`, 'm'))
    const list: { name: string; error?: object }[] = JSON.parse(await printed('regions', '--json'))
    expect(list.find(({ name }) => name === truncated)?.error).toEqual({
      code: 'ERR_SLUICE_SHARED_CORRUPT',
      message: expect.stringContaining(truncated),
    })
    expect(list.filter(({ error }) => error === undefined).map(({ name }) => name)).toEqual([good])
  })

  it('does not list files whose names no limiter can have', async () => {
    const name = showOwn(`${freshName()}\u001b[31m\n\u009b`)
    writeFileSync(fileOf(name), '', { mode: 0o600 })
    try {
      expect(JSON.parse(await printed('regions', '--json'))).toEqual([])
    } finally {
      rmSync(fileOf(name))
    }
  })
})

describe('sluice remove', () => {
  it('removes what nobody uses', async () => {
    const name = abandoned()
    expect(await printed('remove', name)).toBe(`removed ${name}\n`)
    expect(existsSync(fileOf(name))).toBe(false)
    await expectRefusal(['remove', name], /^there is no shared limiter/)
  })

  it('refuses while others are attached; --force warns that they go on by themselves', async () => {
    const name = abandoned()
    const child = await attachElsewhere(name)
    await expectRefusal(['remove', name], new RegExp(`in use by 1 process \\(pid ${child.pid}\\); stop`))
    expect(existsSync(fileOf(name))).toBe(true)
    const text = await printed('remove', name, '--force')
    expect(text).toMatch(
      new RegExp(
        `^removed ${name}\nwarning: .* 1 process \\(pid ${child.pid}\\): they go on with the old one`,
      ),
    )
    expect(existsSync(fileOf(name))).toBe(false)
  })

  it('does not wait for the dead', async () => {
    const name = abandoned()
    const child = await attachElsewhere(name)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(await printed('regions')).toMatch(/ 0\n$/)
    expect(await printed('remove', name)).toBe(`removed ${name}\n`)
  })

  it('removes one made with a clock, one that is cut short, and one that is no region at all', async () => {
    const { name, limiter } = open({ clock: new ManualClock() })
    await expectRefusal(['remove', name], /in use by 1 process/)
    limiter.close()
    expect(await printed('remove', name)).toBe(`removed ${name}\n`)
    for (const bytes of [0, 100, 4096, 1 << 20]) {
      const broken = abandoned()
      truncateSync(fileOf(broken), bytes)
      expect(await printed('remove', broken)).toBe(`removed ${broken}\n`)
      expect(existsSync(fileOf(broken))).toBe(false)
    }
  })
})

describe('what cannot be done', () => {
  const missing = 'NAME is missing (`sluice regions` lists all); usage: sluice '

  it.each([
    [['regions', 'x'], 'unexpected argument "x"; usage: sluice regions [--json]'],
    [['regions', '--jsn'], 'unknown flag "--jsn": did you mean --json?'],
    [['inspect'], `${missing}inspect NAME [KEY] [--integer] [--json]`],
    [['inspect', 'a', 'b', 'c'], /^unexpected argument "c"; usage: sluice inspect /],
    [['inspect', 'a', '--integer'], /^--integer is about a KEY, and there is none; usage: /],
    [['inspect', 'a', '-5'], /^unknown flag "-5": /],
    [['inspect', 'a', '--force'], /^unknown flag "--force": /],
    [['inspect', 'a', '1.5', '--integer'], /^with --integer, KEY must be an integer from .*; got "1.5"$/],
    [
      ['reset', 'a', '9007199254740992', '--integer'],
      /^with --integer, KEY must be an integer from -9007199254740991 /,
    ],
    [['reset', 'a', '', '--integer'], /^with --integer, KEY must be an integer/],
    [['reset'], `${missing}reset NAME KEY [--integer]`],
    [['reset', 'a'], 'KEY is missing; usage: sluice reset NAME KEY [--integer]'],
    [['remove'], `${missing}remove NAME [--force]`],
    [['remove', 'a', 'b'], /^unexpected argument "b"; usage: sluice remove /],
    [['remove', 'a', '--forse'], 'unknown flag "--forse": did you mean --force?'],
    [['remove', 'a', '--force=yes'], '--force takes no value'],
  ])('%j', async (args, message) => {
    await expectRefusal(args, message)
  })

  it.each([
    '',
    '.',
    '..',
    '../etc',
    'a/b',
    'a b',
    'a\u0000b',
    'a\nb',
    '\u001b[31m',
    '\u009b31m',
    'é',
    'a'.repeat(65),
  ])('the name %j', async (name) => {
    for (const args of [
      ['inspect', name],
      ['reset', name, 'k'],
      ['remove', name],
      ['remove', name, '--force'],
    ]) {
      await expectRefusal(args, /^NAME (may have letters, digits|must have 1 to 64 characters)[\x20-\x7eé]*$/)
    }
  })

  it('a name that nothing has: the nearest one is named', async () => {
    const { name } = open()
    for (const args of [['inspect'], ['inspect', 'k'], ['reset', 'k'], ['remove'], ['remove', '--force']]) {
      const [command = '', ...rest] = args
      await expectRefusal(
        [command, `${name}x`, ...rest],
        `there is no shared limiter '${name}x'; did you mean '${name}'?`,
      )
    }
  })

  it('a broken one: its error says what to do', async () => {
    const name = abandoned()
    truncateSync(fileOf(name), 100)
    const message = /cannot be used: its size is 100 bytes; stop its processes and run: npx sluice remove/
    await expectRefusal(['inspect', name], message)
    await expectRefusal(['reset', name, 'k'], message)
  })

  it.each(['regions', 'inspect', 'reset', 'remove'])('%s --help says what can', async (command) => {
    const text = await printed(command, '--help')
    expect(text).toMatch(new RegExp(`^Usage: sluice ${command}`))
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(90)
  })
})
