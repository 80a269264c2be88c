import { rangeError, shown, typeError } from '../errors/errors'
import type { Key } from '../native/key'
import { checkObject } from '../policy/options'
import { queueIdOf } from './waiting'

/** One key for all members, or one for each, in their order. */
export type SetKeys = Key | readonly Key[]
/** One cost for all members, or one for each, in their order. */
export type SetCosts = number | readonly number[]

/** A limit of a set, and its name. */
export interface SetMember<Limiter> {
  readonly name: string
  readonly limiter: Limiter
}

const MIN_MEMBERS = 2
const MAX_MEMBERS = 8

/** Key and cost of each of `count` members in turn. */
export function eachOf(
  keys: SetKeys,
  costs: SetCosts | undefined,
  count: number,
): (Key | number | undefined)[] {
  const flat: (Key | number | undefined)[] = new Array(2 * count)
  const eachKey = Array.isArray(keys) ? checkCount('keys', keys, count) : undefined
  const eachCost = Array.isArray(costs) ? checkCount('costs', costs, count) : undefined
  for (let i = 0; i < count; i++) {
    flat[2 * i] = eachKey === undefined ? (keys as Key) : (eachKey[i] as Key)
    flat[2 * i + 1] = eachCost === undefined ? (costs as number | undefined) : (eachCost[i] as number)
  }
  return flat
}

/** In which queue those wait who ask for that (see `eachOf`). */
export function queueKeyOf(flat: readonly unknown[]): string {
  return flat
    .filter((_, i) => i % 2 === 0)
    .map((key) => {
      const id = String(queueIdOf(key as Key))
      return `${typeof key}${id.length}:${id}`
    })
    .join()
}

/** @param isLimiter what the limits of such a set are @param kind how errors call that */
export function checkMembers<Limiter>(
  value: unknown,
  isLimiter: (value: unknown) => value is Limiter,
  kind: string,
): SetMember<Limiter>[] {
  if (!Array.isArray(value)) {
    throw typeError('ERR_SLUICE_OPTION_TYPE', `the limits of a set must be an array; got ${shown(value)}`)
  }
  if (value.length < MIN_MEMBERS || value.length > MAX_MEMBERS) {
    throw rangeError(
      'ERR_SLUICE_OPTION_RANGE',
      `a set must have ${MIN_MEMBERS} to ${MAX_MEMBERS} limits; got ${value.length}`,
    )
  }
  const members = Array.from(value, (member, index) => checkMember(member, index, isLimiter, kind))
  const seen = new Set<string>()
  for (const { name } of members) {
    if (seen.has(name)) {
      throw rangeError(
        'ERR_SLUICE_OPTION_RANGE',
        `two limits of a set have the name ${shown(name)}; give each its own`,
      )
    }
    seen.add(name)
  }
  return members
}

function checkMember<Limiter>(
  value: unknown,
  index: number,
  isLimiter: (value: unknown) => value is Limiter,
  kind: string,
): SetMember<Limiter> {
  if (isLimiter(value)) return { name: `${index}`, limiter: value }
  const { name = `${index}`, limiter } = checkObject(`limit ${index} of the set`, value, ['name', 'limiter'])
  if (typeof name !== 'string') {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `the name of limit ${index} must be a string; got ${shown(name)}`,
    )
  }
  if (!isLimiter(limiter)) {
    throw typeError(
      'ERR_SLUICE_OPTION_TYPE',
      `limit ${index} of the set must be a ${kind}, a tier, or { name, limiter }; got ${shown(limiter)}`,
    )
  }
  return { name, limiter }
}

function checkCount<T>(name: string, values: readonly T[], count: number): readonly T[] {
  if (values.length === count) return values
  throw rangeError(
    'ERR_SLUICE_ARGUMENT_RANGE',
    `${name} must be one for all limits of the set, or ${count}, one for each; got ${values.length}`,
  )
}
