/**
 * What is limited: a client address, a user id, an API key. Strings of any Unicode, safe integers and byte arrays;
 * keys of different type are different keys (`'5'`, `5`). Keys are hashed, not stored.
 */
export type Key = string | number | Uint8Array
