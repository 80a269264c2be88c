import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'

/** Where shared limiters live. */
export const FOLDER = '/dev/shm'

/** The words of a region's header, in order (native/core/layout.h). */
const HEADER = [
  'magic',
  'layoutVersion',
  'bytes',
  'algorithm',
  'maxKeys',
  'wordsPerSlot',
  ...['windowNs', 'maxLimit', 'alignToEpoch'],
  'steps',
  ...['blockMs0', 'blockMs1', 'blockMs2', 'blockMs3', 'blockMs4', 'blockMs5', 'blockMs6', 'blockMs7'],
  'forgetMs',
  ...['seed0', 'seed1', 'seed2', 'seed3'],
  ...['userClock', 'originNs', 'originUs', 'phaseNs'],
  ...['bootId0', 'bootId1', 'createdEpochMs', 'id', 'checksum'],
] as const
export type HeaderField = (typeof HEADER)[number]

/** How many words a region's header has. */
export const HEADER_WORDS = HEADER.length

const PLACE_BYTES = 64
const POLICIES = { start: 256, bytes: 64 + 1024 * 7 * 8 } as const
const MEMBERS_START = POLICIES.start + POLICIES.bytes
/** Where the places of those who are attached begin and end: what an attempt to attach may touch. */
export const MEMBERS = { start: MEMBERS_START, end: MEMBERS_START + (1024 + 8) * PLACE_BYTES } as const

const given: string[] = []

/** A name that nobody else uses, with that before it. */
export function freshName(start = ''): string {
  const name = `${start}test-${process.pid}-${String(given.length).padStart(4, '0')}-${Date.now().toString(36)}`
  given.push(name)
  return name
}

/** Removes whatever was made under the names given so far. For `afterEach`. */
export function removeRegions(): void {
  for (const name of given) rmSync(fileOf(name), { recursive: true, force: true })
}

/** What this process has made under such names and not removed. */
export function regionsLeft(): string[] {
  return readdirSync(FOLDER).filter((file) => file.includes(`test-${process.pid}-`))
}

export function fileOf(name: string): string {
  return `${FOLDER}/sluice.${name}`
}

/** A region's bytes, without the places of those who are attached. */
export function contentOf(name: string): Buffer {
  const bytes = readFileSync(fileOf(name))
  return bytes.fill(0, MEMBERS.start, MEMBERS.end)
}

export function readHeader(bytes: Buffer, field: HeaderField): bigint {
  return bytes.readBigUInt64LE(8 * HEADER.indexOf(field))
}

/** Changes one field of a region's header, without mending the checksum. */
export function writeHeader(bytes: Buffer, field: HeaderField, value: bigint): void {
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value), 8 * HEADER.indexOf(field))
}

/** Makes the checksum right again. */
export function mendChecksum(bytes: Buffer): void {
  const words = HEADER.slice(0, -1).map((field) => readHeader(bytes, field as HeaderField))
  writeHeader(bytes, 'checksum', checksumOf(words))
}

/** SipHash-1-3 of one word after the other, each keyed with those before it; and with the first, which tells what it is. */
export function checksumOf(words: Iterable<bigint>): bigint {
  let [magic, sum]: [bigint | undefined, bigint] = [undefined, 0n]
  for (const word of words) {
    magic ??= word
    sum = siphash(magic, sum, word)
  }
  return sum
}

function siphash(k0: bigint, k1: bigint, word: bigint): bigint {
  const u64 = (value: bigint): bigint => BigInt.asUintN(64, value)
  const rotate = (value: bigint, bits: bigint): bigint => u64((value << bits) | (value >> (64n - bits)))
  let [v0, v1] = [k0 ^ 0x736f6d6570736575n, k1 ^ 0x646f72616e646f6dn]
  let [v2, v3] = [k0 ^ 0x6c7967656e657261n, k1 ^ 0x7465646279746573n ^ word]
  for (let round = 0; round < 4; round++) {
    v0 = u64(v0 + v1)
    v1 = rotate(v1, 13n) ^ v0
    v0 = rotate(v0, 32n)
    v2 = u64(v2 + v3)
    v3 = rotate(v3, 16n) ^ v2
    v0 = u64(v0 + v3)
    v3 = rotate(v3, 21n) ^ v0
    v2 = u64(v2 + v1)
    v1 = rotate(v1, 17n) ^ v2
    v2 = rotate(v2, 32n)
    if (round === 0) [v0, v2] = [v0 ^ word, v2 ^ 0xffn]
  }
  return v0 ^ v1 ^ v2 ^ v3
}

/** Puts those bytes where the region of that name would be. */
export function plant(name: string, bytes: Buffer): void {
  writeFileSync(fileOf(name), bytes, { mode: 0o600 })
}

/** Makes the locks of a table of one stripe look as if the member of that place held them: policies, keys, or both. */
export function lockFor(name: string, place: number, locks: readonly ('policies' | 'keys')[]): void {
  const offsets = { policies: POLICIES.start, keys: MEMBERS.end }
  const file = openSync(fileOf(name), 'r+')
  const token = Buffer.alloc(8)
  readSync(file, token, 0, 8, MEMBERS.start + place * PLACE_BYTES)
  for (const lock of locks) writeSync(file, token, 0, 8, offsets[lock])
  closeSync(file)
}

/** What this process holds of shared regions: open files and mappings. */
export function held(): { files: number; mappings: number } {
  const files = readdirSync('/proc/self/fd').map((file) => targetOf(`/proc/self/fd/${file}`))
  const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n')
  return { files: files.filter(isRegion).length, mappings: mappings.filter(isRegion).length }
}

/** A region keeps its path there when its name is gone; one that never had a name shows as a number. */
function isRegion(path: string): boolean {
  return path.includes(`${FOLDER}/sluice.`) || path.includes(`${FOLDER}/#`)
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link)
  } catch {
    return ''
  }
}
