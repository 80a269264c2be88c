/** How many hash slots a Redis Cluster has. */
export const SLOTS = 16_384

const POLYNOMIAL = 0x1021
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1
  return crc
})

/** The slot of a key, as Redis sees it: with its prefix. 0 to 16383. */
export function hashSlot(key: string): number {
  const tagged = hashTag(key)
  let crc = 0
  for (let i = 0; i < tagged.length; i++) {
    const code = tagged.charCodeAt(i)
    if (code > 0x7f) return hashSlotOfBytes(Buffer.from(tagged))
    crc = step(crc, code)
  }
  return crc & (SLOTS - 1)
}

/** What is between the first brace and the next closing one, unless it is nothing: then the whole key. */
function hashTag(key: string): string {
  const open = key.indexOf('{')
  if (open === -1) return key
  const close = key.indexOf('}', open + 1)
  return close === -1 || close === open + 1 ? key : key.slice(open + 1, close)
}

function hashSlotOfBytes(bytes: Uint8Array): number {
  let crc = 0
  for (const byte of bytes) crc = step(crc, byte)
  return crc & (SLOTS - 1)
}

/** CRC-16/XMODEM. */
function step(crc: number, byte: number): number {
  return ((crc << 8) ^ (TABLE[(crc >> 8) ^ byte] as number)) & 0xffff
}
