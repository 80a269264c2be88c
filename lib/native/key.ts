import { types } from 'node:util'

/**
 * What is limited: a client address, a user id, an API key. Strings of any Unicode, safe integers and byte arrays;
 * keys of different type are different keys (`'5'`, `5`). Keys are hashed, not stored.
 */
export type Key = string | number | Uint8Array

/** The key as it is now: a byte array may be used for something else before it is needed again. */
export function keepKey(key: Key): Key {
  return types.isUint8Array(key) ? Uint8Array.prototype.slice.call(key) : key
}
