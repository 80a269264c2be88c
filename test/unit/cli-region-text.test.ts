import { describe, expect, it } from 'vitest'
import {
  ageText,
  bytesText,
  columns,
  keyText,
  policyText,
  processesText,
  waitText,
} from '../../lib/cli/region-text'

describe('the text of the commands for shared limiters', () => {
  it.each([
    [{ algorithm: 'token-bucket', limit: 100, windowMs: 60_000, burst: 20 }, 'token-bucket 100/1m burst 20'],
    [{ algorithm: 'fixed-window', limit: 5, windowMs: 90_000 }, 'fixed-window 5/90s'],
    [{ algorithm: 'fixed-window', limit: 5, windowMs: 172_800_000 }, 'fixed-window 5/2d'],
    [{ algorithm: 'fixed-window', limit: 1, windowMs: 0.001 }, 'fixed-window 1/0.001ms'],
    [{ algorithm: 'sliding-window', limit: 5, windowMs: 1000 }, 'sliding-window 5/1s'],
    [{ algorithm: 'leaky-bucket', limit: 10, windowMs: 1000, queue: 50 }, 'leaky-bucket 10/1s queue 50'],
    [{ algorithm: 'concurrency', limit: 5, holdMs: 30_000 }, 'concurrency 5, held 30s'],
    [
      { algorithm: 'token-bucket', limit: 9, windowMs: 1000, burst: 9, initial: 3, rememberMs: 60_000 },
      'token-bucket 9/1s burst 9, new keys 3, known for 1m',
    ],
    [
      { algorithm: 'fixed-window', limit: 9, windowMs: 1000, evenly: true },
      'fixed-window 9/1s, spread evenly',
    ],
  ] as const)('names the policy %j', (policy, text) => {
    expect(policyText({ policy, hasOwnClock: false })).toBe(text)
    expect(policyText({ policy, hasOwnClock: true })).toBe(`${text}, own clock`)
  })

  it.each([
    [4096, '4.0 KiB'],
    [135_168, '132 KiB'],
    [22_601_728, '21.6 MiB'],
    [1_048_524, '1024 KiB'],
    [3 * 2 ** 30, '3.0 GiB'],
    [5 * 2 ** 50, '5120 TiB'],
  ])('shows %d bytes', (bytes, text) => {
    expect(bytesText(bytes)).toBe(text)
  })

  it.each([
    [0, '0 s'],
    [999, '0 s'],
    [61_999, '1 min 1 s'],
    [7_500_000, '2 h 5 min'],
  ])('shows an age of %d ms', (ageMs, text) => {
    expect(ageText(ageMs)).toBe(text)
  })

  it.each([
    [0.2, '1 ms'],
    [600, '600 ms'],
    [9937.1, '9 s 938 ms'],
    [59_999.5, '1 min'],
    [60_001, '1 min'],
    [60_002, '1 min 1 s'],
    [3_600_000, '1 h'],
    [7_200_000.4, '2 h'],
    [3_600_002, '1 h 1 min'],
    [86_400_002, '1 d 1 h'],
    [Number.POSITIVE_INFINITY, 'all time'],
  ])('rounds a wait of %d ms up', (waitMs, text) => {
    expect(waitText(waitMs)).toBe(text)
  })

  it('shows keys so that nothing in them reaches the terminal', () => {
    expect(keyText(42)).toBe('42 (an integer)')
    expect(keyText('a"\u0007\u009b')).toBe('"a\\"\\u0007\\x9b"')
  })

  it('names a few of many processes', () => {
    const processes = [1, 2, 3, 4, 5, 6].map((pid) => ({ pid, limiters: 1, allowed: 0, denied: 0 }))
    expect(processesText(processes.slice(0, 1))).toBe('1 process (pid 1)')
    expect(processesText(processes)).toBe('6 processes (pid 1, 2, 3, 4, 5, ...)')
  })

  it('widens no column for the text at the end of a short row', () => {
    const rows = [
      ['name', 'policy', 'keys'],
      ['a', 'p', '1'],
      ['broken', 'a long text'],
    ]
    expect(columns(rows, 2)).toEqual(['name    policy  keys', 'a       p          1', 'broken  a long text'])
  })
})
