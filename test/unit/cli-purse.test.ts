import { afterEach, describe, expect, it } from 'vitest'
import { ManualClock } from '../../lib/index'
import { Purse } from '../../lib/limiter/purse'
import { endRegions, HOUR_MS, printed, showOwn } from './cli-regions'
import { freshName } from './regions'

let purse: Purse | undefined

afterEach(() => {
  purse?.close()
  endRegions()
})

function open(clock?: ManualClock): string {
  const shared = showOwn(freshName())
  purse = new Purse({ maxKeys: 100, leaseMs: 2 * HOUR_MS, shared, clock })
  purse.grant('a', 5000, HOUR_MS)
  purse.grant(7, 3, 2 * HOUR_MS)
  purse.take('a', 20)
  return shared
}

describe('the commands for shared limiters', () => {
  it('list a purse under its name', async () => {
    const name = open()
    const [header, line, end] = (await printed('regions')).split('\n')
    expect(header).toMatch(/^name +policy +keys/)
    expect(line).toMatch(new RegExp(`^${name} +purse, leases of 2h +2 +[\\d.]+ KiB +\\d+ s +1$`))
    expect(end).toBe('')
    const [facts] = JSON.parse(await printed('regions', '--json'))
    expect(facts).toMatchObject({ name, keys: 2, policy: { algorithm: 'purse' } })
  })

  it('describe a purse, and what a key has in it', async () => {
    const name = open()
    const text = await printed('inspect', name)
    expect(text).toContain('policy     purse, leases of 2h\n')
    expect(text).toContain('calls      1 admitted, 0 denied\n')
    expect(await printed('inspect', name, 'a')).toMatch(
      /\n\nkey "a" has 4,980 leased tokens here, which lapse in (1 h|59 min \d+ s)\n$/,
    )
    expect(await printed('inspect', name, '7')).toMatch(
      /\n\nkey "7" has no leased tokens here now \(looked up as a string; for an integer, add --integer\)\n$/,
    )
    expect(await printed('inspect', name, '7', '--integer')).toMatch(
      /\n\nkey 7 \(an integer\) has 3 leased tokens here, which lapse in (2 h|1 h 59 min)\n$/,
    )
    const { answer } = JSON.parse(await printed('inspect', name, 'a', '--json'))
    expect(answer).toMatchObject({ key: 'a', remaining: 4980, reason: 'ok' })
    expect(purse?.balance('a')).toBe(4980)
  })

  it('describe a purse that runs on a clock of its users', async () => {
    const name = open(new ManualClock())
    expect(await printed('inspect', name)).toContain('policy     purse, leases of 2h, own clock\n')
    expect(await printed('regions')).toContain('purse, leases of 2h, own clock')
  })

  it('have a purse forget a key, and remove it', async () => {
    const name = open()
    expect(await printed('reset', name, 'a')).toBe(`forgot key "a" in ${name}\n`)
    expect(await printed('reset', name, 'b')).toBe(`nothing to forget about key "b" in ${name}\n`)
    expect(purse?.balance('a')).toBe(0)
    expect(purse?.balance(7)).toBe(3)
    purse?.close()
    await printed('remove', name)
    expect(await printed('regions')).toMatch(/^no shared limiters/)
  })
})
