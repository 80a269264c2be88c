import { describe, expect, test } from 'vitest'
import { hashSlot } from '../../lib/redis/slots'

describe('hashSlot', () => {
  test.each([
    ['', 0],
    ['123456789', 0x31c3],
    ['foo', 12_182],
    ['somekey', 11_058],
    // The specification's examples of hash tags.
    ['foo{hash_tag}', 2515],
    ['bar{hash_tag}', 2515],
    ['{user1000}.following', hashSlot('user1000')],
    ['foo{{bar}}zap', hashSlot('{bar')],
    ['foo{bar}{zap}', hashSlot('bar')],
  ])('%j is in slot %i', (key, slot) => {
    expect(hashSlot(key)).toBe(slot)
  })

  test('an empty tag, one that is not closed, and a brace that closes nothing are no tags', () => {
    const whole = ['foo{}{bar}', 'foo{bar', '}foo{', '{}', '{', '}'].map(hashSlot)
    expect(whole).not.toContain(hashSlot('bar'))
    expect(new Set(whole).size).toBe(whole.length)
    expect(hashSlot('foo{}{bar}')).toBe(8363)
  })
})
