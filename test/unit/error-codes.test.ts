import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ERROR_CODES } from '../../lib/index'

const root = path.join(__dirname, '..', '..')

describe('error codes', () => {
  const documented = (): string[] => codesIn(path.join(root, 'docs', 'errors.md'))

  function codesIn(file: string): string[] {
    return [...new Set(readFileSync(file, 'utf8').match(/ERR_SLUICE_[A-Z]+(?:_[A-Z]+)*/g) ?? [])].sort()
  }

  test('each one is documented, and each documented one exists', () => {
    expect(documented()).toEqual([...ERROR_CODES].sort())
  })

  test('the addon throws no others', () => {
    const binding = path.join(root, 'native', 'binding')
    const thrown = readdirSync(binding).flatMap((file) => codesIn(path.join(binding, file)))
    for (const code of thrown) expect(ERROR_CODES).toContain(code)
    expect(thrown.length).toBeGreaterThan(0)
  })
})
