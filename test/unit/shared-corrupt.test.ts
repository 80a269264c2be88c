import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
} from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { type ErrorCode, Limiter, type LimiterOptions, LimitSet, ManualClock } from '../../lib/index'
import { expectComplaint } from './coded'
import { ALGORITHMS, tenOf } from './every-algorithm'
import {
  contentOf,
  fileOf,
  freshName,
  HEADER_WORDS,
  type HeaderField,
  held,
  MEMBERS,
  mendChecksum,
  plant,
  readHeader,
  removeRegions,
  writeHeader,
} from './regions'

const options = { limit: 100, windowMs: 60_000, maxKeys: 100 }
const opened: Limiter[] = []

afterEach(() => {
  for (const limiter of opened.splice(0)) limiter.close()
  removeRegions()
})

function open(shared: string, more: Partial<LimiterOptions> = {}): Limiter {
  const limiter = new Limiter({ ...options, ...more, shared })
  opened.push(limiter)
  return limiter
}

/** The bytes of a sound region, of which `key` has spent 30. */
function soundRegion(more: Partial<LimiterOptions> = {}): Buffer {
  const name = freshName()
  open(name, more).consume('key', more.limit ?? 30)
  return readFileSync(fileOf(name))
}

/** Both ways of coming in throw that, leave everything as it is, and keep nothing open. */
function expectRefusal(name: string, code: ErrorCode, ...says: (string | RegExp)[]): void {
  const before = { facts: factsOf(name), held: held() }
  for (const come of [() => open(name), () => Limiter.attach(name)])
    expectComplaint(come, { type: 'RangeError', code, says: [name, ...says] })
  expect({ facts: factsOf(name), held: held() }).toEqual(before)
}

function factsOf(name: string): object {
  const { ino, size, mode, uid } = lstatSync(fileOf(name))
  return { ino, size, mode, uid }
}

describe('a file that is no whole region is refused, and stays as it is', () => {
  function plantChanged(change: (bytes: Buffer) => Buffer | undefined): string {
    const name = freshName()
    const bytes = soundRegion()
    plant(name, change(bytes) ?? bytes)
    return name
  }

  test('the copy that these tests change is fine as long as it is not changed', () => {
    const name = plantChanged(() => undefined)
    expect(open(name).peek('key')).toMatchObject({ limit: 100 })
    expect(Limiter.attach(name).stats().allowed).toBe(1)
  })

  const corrupt = 'ERR_SLUICE_SHARED_CORRUPT'

  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ['empty', () => Buffer.alloc(0), /size is 0 bytes/],
    ['of a few bytes', () => Buffer.from('hello'), /size is 5 bytes/],
    ['of one page', (bytes) => bytes.subarray(0, 4096), /smaller than any region/],
    ['of pages that hold nothing', (bytes) => Buffer.alloc(bytes.length), /does not begin like a region/],
    ['of text', (bytes) => Buffer.alloc(bytes.length, 'text '), /does not begin like a region/],
    [
      'cut off by a page',
      (bytes) => bytes.subarray(0, bytes.length - 4096),
      /has \d+ bytes and should have \d+/,
    ],
    ['cut off by a byte', (bytes) => bytes.subarray(0, bytes.length - 1), /its size is \d+ bytes/],
    ['grown by a page', (bytes) => Buffer.concat([bytes, Buffer.alloc(4096)]), /has \d+ bytes and should/],
  ])('%s', (_, change, says) => {
    expectRefusal(plantChanged(change), corrupt, says)
  })

  test('with holes, which would be filled, or kill, when they are touched', () => {
    const name = plantChanged((bytes) => bytes.subarray(0, bytes.length - 4096))
    truncateSync(fileOf(name), soundRegion().length)
    expectRefusal(name, corrupt, /not allocated/)
  })

  test.each<[string, (bytes: Buffer) => void, ErrorCode, RegExp]>([
    [
      'of a later layout',
      (bytes) => writeHeader(bytes, 'layoutVersion', readHeader(bytes, 'layoutVersion') + 1n),
      'ERR_SLUICE_SHARED_VERSION',
      /its layout is version 3, this sluice's is 2/,
    ],
    [
      'with another size in its header',
      (bytes) => {
        writeHeader(bytes, 'bytes', 4096n)
        mendChecksum(bytes)
      },
      corrupt,
      /bytes and should have/,
    ],
    [
      'of more keys than it has room for',
      (bytes) => {
        writeHeader(bytes, 'maxKeys', 2n ** 31n)
        mendChecksum(bytes)
      },
      corrupt,
      /bytes and should have \d{11}/,
    ],
    [
      'of a number of keys that cannot be',
      (bytes) => {
        writeHeader(bytes, 'maxKeys', 2n ** 64n - 1n)
        mendChecksum(bytes)
      },
      corrupt,
      /bytes and should have 0/,
    ],
    [
      'of no algorithm that there is',
      (bytes) => {
        writeHeader(bytes, 'algorithm', 77n)
        mendChecksum(bytes)
      },
      corrupt,
      /its algorithm is none/,
    ],
  ])('%s', (_, change, code, says) => {
    const name = plantChanged((bytes) => {
      change(bytes)
      return bytes
    })
    expectRefusal(name, code, says)
  })

  test('a fixed window of no length', () => {
    const name = freshName()
    const bytes = soundRegion({ algorithm: 'fixed-window' })
    writeHeader(bytes, 'windowNs', 0n)
    mendChecksum(bytes)
    plant(name, bytes)
    expectRefusal(name, corrupt, /numbers make no sense/)
  })

  test('any one bit of its header turned over', () => {
    const sound = soundRegion()
    for (let bit = 0; bit < HEADER_WORDS * 64; bit += 7) {
      const name = freshName()
      const bytes = Buffer.from(sound)
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
      plant(name, bytes)
      expect(() => Limiter.attach(name), `bit ${bit}`).toThrow(/cannot be used|another version/)
    }
  })
})

describe('what is no file of this user alone is refused', () => {
  test.each([0o644, 0o620, 0o604, 0o666, 0o700])('mode %o', (mode) => {
    const name = freshName()
    open(name)
    chmodSync(fileOf(name), mode)
    expectRefusal(name, 'ERR_SLUICE_SHARED_OWNER', `0${mode.toString(8)}, not 0600`)
  })

  test('a symbolic link, even to a sound region', () => {
    const [target, name] = [freshName(), freshName()]
    open(target).consume('key', 30)
    const before = contentOf(target)
    symlinkSync(fileOf(target), fileOf(name))
    expectRefusal(name, 'ERR_SLUICE_SHARED_CORRUPT', 'symbolic link')
    expect(contentOf(target).equals(before)).toBe(true)
  })

  test('a symbolic link that leads nowhere is not followed to make one', () => {
    const [target, name] = [freshName(), freshName()]
    symlinkSync(fileOf(target), fileOf(name))
    expectRefusal(name, 'ERR_SLUICE_SHARED_CORRUPT', 'symbolic link')
    expect(() => lstatSync(fileOf(target))).toThrow('ENOENT')
  })

  test('a folder', () => {
    const name = freshName()
    mkdirSync(fileOf(name))
    expectRefusal(name, 'ERR_SLUICE_SHARED_CORRUPT', 'folder')
  })

  test('a pipe', () => {
    const name = freshName()
    execFileSync('mkfifo', ['-m', '600', fileOf(name)])
    expectRefusal(name, 'ERR_SLUICE_SHARED_CORRUPT', 'not a regular file')
  })

  // Giving files away takes privileges; without them a file that this user may not open stands in.
  const isRoot = process.geteuid?.() === 0
  test(isRoot ? 'a region of another user' : 'a region that this user may not open', () => {
    const name = freshName()
    const limiter = open(name)
    if (isRoot) chownSync(fileOf(name), 65_534, 65_534)
    else chmodSync(fileOf(name), 0)
    expectRefusal(name, 'ERR_SLUICE_SHARED_OWNER', isRoot ? 'user 65534' : 'another user')
    expect(limiter.allow('key')).toBe(true)
  })

  test('one made under the widest umask is still for this user only', () => {
    const umask = process.umask(0)
    try {
      const name = freshName()
      open(name)
      expect(lstatSync(fileOf(name)).mode & 0o7777).toBe(0o600)
    } finally {
      process.umask(umask)
    }
  })
})

describe('what becomes of a region while it is in use', () => {
  test.each<HeaderField>(['magic', 'layoutVersion', 'maxKeys', 'algorithm', 'seed0', 'checksum'])(
    'its %s is overwritten: who is in goes on, nobody comes in',
    (field) => {
      const name = freshName()
      const limiter = open(name)
      limiter.consume('key', 30)
      const sound = readFileSync(fileOf(name))
      const bytes = Buffer.from(sound)
      writeHeader(bytes, field, readHeader(bytes, field) + 1n)
      plant(name, bytes)
      expect(() => Limiter.attach(name)).toThrow(/shared limiter/)
      expect(limiter.consume('key', 30)).toMatchObject({ allowed: true, limit: 100 })
      expect(limiter.allow('key', 100)).toBe(false)
      expect(limiter.stats()).toMatchObject({ maxKeys: 100, allowed: 2, denied: 1 })
    },
  )

  test('it is grown: who is in goes on, nobody comes in', () => {
    const name = freshName()
    const limiter = open(name)
    appendFileSync(fileOf(name), Buffer.alloc(4096))
    expectRefusal(name, 'ERR_SLUICE_SHARED_CORRUPT', 'should have')
    expect(limiter.allow('key')).toBe(true)
  })

  test('one from before the last start of the machine is replaced by a fresh one', () => {
    const name = freshName()
    const clock = new ManualClock()
    const bytes = soundRegion({ clock })
    writeHeader(bytes, 'bootId0', readHeader(bytes, 'bootId0') + 1n)
    mendChecksum(bytes)
    plant(name, bytes)
    const { ino } = lstatSync(fileOf(name))
    expectComplaint(() => Limiter.attach(name, { clock }), {
      type: 'RangeError',
      code: 'ERR_SLUICE_SHARED_NOT_FOUND',
    })
    plant(name, bytes)
    expect(open(name, { clock }).peek('key').remaining).toBe(100)
    expect(lstatSync(fileOf(name)).ino).not.toBe(ino)
  })

  /** A sequence that is the same at every run. */
  function* noise(seed: number): Generator<number> {
    for (let state = seed; ; ) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      yield state >>> 24
    }
  }

  test.each(ALGORITHMS.flatMap((algorithm) => [1, 2].map((seed) => [algorithm, seed] as const)))(
    'every byte behind its header is noise (%s, seed %i): every call still comes back',
    (algorithm, seed) => {
      const name = freshName()
      const hasBlocks = seed === 2 && algorithm !== 'leaky-bucket' && algorithm !== 'concurrency'
      const more = hasBlocks ? { escalate: { blockMs: [1, 50], forgetMs: 100 } } : {}
      const bytes = soundRegion({ windowMs: undefined as never, ...tenOf(algorithm, more) })
      const random = noise(seed + 2 * ALGORITHMS.indexOf(algorithm))
      for (let i = 256; i < bytes.length; i++) bytes[i] = random.next().value as number
      plant(name, bytes)
      const limiter = Limiter.attach(name)
      opened.push(limiter)
      const set = new LimitSet([limiter, open(freshName())])
      for (let i = 0; i < 500; i++) {
        expect(typeof limiter.allow(`key-${i}`)).toBe('boolean')
        limiter.consume(i, i)
        limiter.consume(i, 7, { partial: true })
        limiter.peek(i)
        limiter.penalize(i, 3)
        limiter.refund(i, 3, 5)
        if (algorithm === 'concurrency') limiter.acquire(i)[Symbol.dispose]()
        else {
          const reservation = limiter.reserve(i, 0, 5)
          if (reservation.allowed) reservation.settle(2)
        }
        expect(typeof set.allow(i)).toBe('boolean')
        set.consume(`key-${i}`)
        limiter.block(`key-${i}`, 1)
        limiter.reset(i)
      }
      limiter.consumeMany(Array.from({ length: 3000 }, (_, i) => `other-${i}`))
      expect(limiter.stats({ perProcess: true }).maxKeys).toBe(100)
    },
  )

  test('the places of those who are attached are noise: others still come in', () => {
    const name = freshName()
    const bytes = soundRegion()
    const random = noise(5)
    for (let i = MEMBERS.start; i < MEMBERS.end; i++) bytes[i] = random.next().value as number
    plant(name, bytes)
    const limiter = open(name)
    expect(limiter.allow('key')).toBe(true)
    expect(limiter.stats({ perProcess: true }).processes).toMatchObject([{ pid: process.pid, limiters: 1 }])
  })
})
