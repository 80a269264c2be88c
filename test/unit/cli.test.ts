import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Command } from '../../lib/cli/command'
import {
  duration,
  type FlagSpec,
  flagHelp,
  oneOf,
  parseFlags,
  UsageError,
  wholeNumber,
} from '../../lib/cli/flags'
import { nearest } from '../../lib/cli/nearest'
import { runReplay } from '../../lib/cli/replay-command'
import { COMMANDS, runCli } from '../../lib/cli/run-cli'
import type { OpenEngine, ReplayPolicy, ReplayReport } from '../../lib/replay/report'
import manifest from '../../package.json'

interface Ran {
  exitCode: number
  stdout: string
  stderr: string
  /** The policies that an engine was opened for. */
  policies: ReplayPolicy[]
}

/** Runs `sluice ARGS` with a fake engine that admits the first `limit` requests of each key. */
async function sluice(args: string[], input = '', tty = false): Promise<Ran> {
  const ran: Ran = { exitCode: -1, stdout: '', stderr: '', policies: [] }
  const openFake: OpenEngine = (policy) => {
    ran.policies.push(policy)
    if (policy.limit === 666)
      throw Object.assign(new RangeError('limit: 666 is refused'), { code: 'ERR_SLUICE_OPTION' })
    const counts = new Map<string, number>()
    const allow = (key: string) => {
      counts.set(key, (counts.get(key) ?? 0) + 1)
      return (counts.get(key) ?? 0) <= policy.limit
    }
    return { limiter: { allow }, clock: { set() {} }, finish() {} }
  }
  const replay: Command = {
    name: 'replay',
    summary: 'replays',
    load: async () => (rest, io) => runReplay(rest, io, async () => openFake),
  }
  const broken: Command = { name: 'broken', summary: 'fails', load: () => Promise.reject(new Error('a bug')) }
  const io = {
    stdin: Object.assign(Readable.from([Buffer.from(input)]), { isTTY: tty }),
    stdout: {
      write: (text: string) => {
        ran.stdout += text
      },
    },
    stderr: {
      write: (text: string) => {
        ran.stderr += text
      },
    },
  }
  ran.exitCode = await runCli(args, io, [replay, broken])
  return ran
}

function line(client: string, second: number): string {
  return `${client} - - [17/May/2015:10:05:0${second} +0000] "GET /a?b HTTP/1.1" 200 5\n`
}

const LOG = line('192.0.2.1', 0) + line('192.0.2.1', 1) + line('192.0.2.2', 2) + line('192.0.2.1', 3)

describe('sluice', () => {
  it('prints help with all commands, also without arguments', async () => {
    for (const args of [[], ['--help'], ['-h'], ['--version', '--help']]) {
      const { exitCode, stdout } = await sluice(args)
      expect(exitCode).toBe(0)
      expect(stdout).toContain('Usage: sluice COMMAND')
      expect(stdout).toContain('  replay  replays\n')
    }
  })

  it('prints the version of the package', async () => {
    for (const flag of ['--version', '-v']) {
      expect(await sluice([flag])).toMatchObject({ exitCode: 0, stdout: `${manifest.version}\n`, stderr: '' })
    }
  })

  it.each([
    [['reply'], 'sluice: unknown command "reply": did you mean replay?\n'],
    [['--versoin'], 'sluice: unknown flag "--versoin": did you mean --version?\n'],
    [['--help=1'], 'sluice: --help takes no value\n'],
  ])('refuses %j with one line', async (args, stderr) => {
    expect(await sluice(args)).toMatchObject({ exitCode: 2, stdout: '', stderr })
  })

  it('does not hide a fault of its own', async () => {
    await expect(sluice(['broken'])).rejects.toThrow('a bug')
  })

  it('loads the real replay command for its help without the addon', async () => {
    const replay = await COMMANDS.find(({ name }) => name === 'replay')?.load()
    expect(replay).toBe(runReplay)
  })
})

describe('sluice replay', () => {
  it('prints help that states the defaults', async () => {
    const { exitCode, stdout } = await sluice(['replay', '--help'])
    expect(exitCode).toBe(0)
    for (const text of [
      'token-bucket (default)',
      'default 100',
      'default 60s',
      'ip (default)',
      'default 10',
    ]) {
      expect(stdout).toContain(text)
    }
    expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(90)
  })

  it('replays standard input with the default policy', async () => {
    for (const args of [['replay'], ['replay', '-']]) {
      const { exitCode, stdout, stderr, policies } = await sluice(args, LOG)
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
      expect(stdout).toContain('requests  4, of which 0 would have been limited (0.0 %)\n')
      expect(policies.at(-1)).toEqual({ algorithm: 'token-bucket', limit: 100, windowMs: 60_000, burst: 100 })
    }
  })

  it.each([
    [
      ['--limit', '5', '--window', '1h'],
      { algorithm: 'token-bucket', limit: 5, windowMs: 3_600_000, burst: 5 },
    ],
    [['--limit=5', '--burst=9'], { algorithm: 'token-bucket', limit: 5, windowMs: 60_000, burst: 9 }],
    [
      ['--algorithm', 'fixed-window', '--limit', '5', '--limit', '6'],
      { algorithm: 'fixed-window', limit: 6, windowMs: 60_000, align: 'first-request' },
    ],
    [
      ['--algorithm=fixed-window', '--align', 'epoch', '--window', '500ms'],
      { algorithm: 'fixed-window', limit: 100, windowMs: 500, align: 'epoch' },
    ],
    [['--algorithm', 'sliding-window'], { algorithm: 'sliding-window', limit: 100, windowMs: 60_000 }],
    [
      ['--algorithm', 'sliding-log', '--limit', '5'],
      { algorithm: 'sliding-log', limit: 5, windowMs: 60_000 },
    ],
    [['--algorithm', 'strict-window'], { algorithm: 'strict-window', limit: 100, windowMs: 60_000 }],
    [
      ['--algorithm', 'leaky-bucket', '--limit', '7'],
      { algorithm: 'leaky-bucket', limit: 7, windowMs: 60_000, queue: 7 },
    ],
    [
      ['--algorithm', 'leaky-bucket', '--queue', '3'],
      { algorithm: 'leaky-bucket', limit: 100, windowMs: 60_000, queue: 3 },
    ],
  ])('makes a policy of %j', async (args, policy) => {
    expect((await sluice(['replay', ...args], LOG)).policies).toEqual([policy, policy])
  })

  it('prints one JSON document', async () => {
    const { stdout } = await sluice(
      ['replay', '--json', '--limit', '1', '--key', 'ip+path', '--top', '1'],
      LOG,
    )
    const report: ReplayReport = JSON.parse(stdout)
    expect(report).toMatchObject({
      policy: { algorithm: 'token-bucket', limit: 1, windowMs: 60_000, burst: 1, key: 'ip+path' },
      files: ['-'],
      lines: 4,
      requests: { total: 4, admitted: 2, denied: 2, deniedRatio: 0.5 },
      clients: { total: 2, limited: 1, limitedRatio: 0.5 },
      mostLimited: [{ key: '192.0.2.1 /a', requests: 3, denied: 2, longestStreak: 2, longestStreakMs: 2000 }],
      malformed: { total: 0, first: [] },
    })
  })

  it('reports an empty log and exits 0', async () => {
    expect(await sluice(['replay'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('the log is empty'),
    })
    const { stdout } = await sluice(['replay', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ lines: 0, requests: { total: 0 }, time: null })
  })

  it('says what it waits for on a terminal', async () => {
    expect((await sluice(['replay'], LOG, true)).stderr).toBe('reading standard input\n')
  })

  it.each([
    [['--limt', '5'], 'unknown flag "--limt": did you mean --limit?'],
    [['--win=5s'], 'unknown flag "--win": did you mean --window?'],
    [['-x'], /^unknown flag "-x": did you mean --/],
    [['--limit'], '--limit needs a value: --limit N'],
    [['--limit='], '--limit needs a value: --limit N'],
    [['--limit', '--json'], '--limit needs a value: --limit N'],
    [['--json=yes'], '--json takes no value'],
    [['--limit', '0'], '--limit must be a whole number from 1 to 9007199254740991, got "0"'],
    [['--limit', '9007199254740992'], /^--limit must be a whole number/],
    [['--limit', '-5'], /^--limit must be a whole number/],
    [['--burst', '1.5'], /^--burst must be a whole number/],
    [['--top', 'x'], '--top must be a whole number from 0 to 1000000, got "x"'],
    [
      ['--window', '60'],
      '--window must be a duration above zero with a unit: 500ms, 60s, 1m, 1h, 1d, got "60"',
    ],
    [['--key', 'pth'], '--key must be one of ip, path, ip+path, got "pth"; did you mean path?'],
    [['--algorithm', 'token'], /did you mean token-bucket\?$/],
    [['--algorithm', 'fixed-window', '--burst', '5'], '--burst is for --algorithm token-bucket only'],
    [['--queue', '5'], '--queue is for --algorithm leaky-bucket only'],
    [['--algorithm', 'sliding-log', '--align', 'epoch'], '--align is for --algorithm fixed-window only'],
    [
      ['--algorithm', 'concurrency'],
      '--algorithm concurrency cannot be replayed: a log does not say when requests began and ended',
    ],
    [['--align', 'epoch'], '--align is for --algorithm fixed-window only'],
    [['-', '-'], '- (standard input) can be given only once'],
    [[''], 'a file name is empty'],
    [['no/such/file'], 'cannot read no/such/file: no such file'],
    [['--limit', '666'], 'limit: 666 is refused'],
  ])('refuses %j with one line and exit code 2', async (args, message) => {
    const { exitCode, stdout, stderr } = await sluice(['replay', ...args], LOG)
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toMatch(/^sluice replay: [^\n]+\n$/)
    const text = stderr.slice('sluice replay: '.length, -1)
    expect(text).toMatch(message)
  })
})

describe('flags', () => {
  const specs: FlagSpec[] = [
    { name: 'size', short: 's', value: 'N', help: 'how many' },
    { name: 'all', short: 'a', help: 'one\ntwo' },
  ]

  it('are taken apart in any order; after -- all is positional', () => {
    const { values, switches, positionals } = parseFlags(['x', '-as3', 'y', '--', '--size'], specs)
    expect({ values: [...values], switches: [...switches], positionals }).toEqual({
      values: [['size', '3']],
      switches: ['all'],
      positionals: ['x', 'y', '--size'],
    })
  })

  it('are described in columns', () => {
    expect(flagHelp(specs)).toBe('  --size, -s N  how many\n  --all, -a     one\n                two')
  })

  it.each([
    ['500ms', 500],
    ['60s', 60_000],
    ['1m', 60_000],
    ['1.1m', 66_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['0.5ms', 0.5],
  ])('read the duration %s', (text, ms) => {
    expect(duration('window', text)).toBe(ms)
  })

  it.each(['', '0s', '-1s', '1', '1 s', '1w', '1e3s', 's', '0.0000001ms', `${'9'.repeat(400)}d`])(
    'refuse the duration %j',
    (text) => {
      expect(() => duration('window', text)).toThrow(UsageError)
    },
  )

  it('read whole numbers and words exactly', () => {
    expect(wholeNumber('n', '007', 0, 7)).toBe(7)
    for (const text of ['', '8', '1e1', '0x1', ' 1', 'Infinity']) {
      expect(() => wholeNumber('n', text, 0, 7)).toThrow(UsageError)
    }
    expect(oneOf('w', 'b', ['a', 'b'])).toBe('b')
    expect(() => oneOf('w', 'A', ['a', 'b'])).toThrow(UsageError)
  })

  it('find the nearest name', () => {
    const names = ['limit', 'window', 'burst']
    expect(nearest('w', names)).toBe('window')
    expect(nearest('brust', names)).toBe('burst')
    expect(nearest('Limits', names)).toBe('limit')
    expect(nearest('LIMIT', names)).toBe('limit')
  })
})
