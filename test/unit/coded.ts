import { expect } from 'vitest'
import type { ErrorCode } from '../../lib/index'

interface Complaint {
  type: 'TypeError' | 'RangeError'
  code: ErrorCode
  /** What the message must contain. */
  says?: readonly (string | RegExp)[]
}

/** Calls `action` and expects a coded error: its class, its stable code, and words of its message. */
export function expectComplaint(action: () => unknown, { type, code, says = [] }: Complaint): void {
  const error = thrownBy(action)
  expect(error).toBeInstanceOf(type === 'TypeError' ? TypeError : RangeError)
  expect(error).toMatchObject({ name: type, code })
  for (const words of says) expect((error as Error).message).toMatch(words)
}

function thrownBy(action: () => unknown): unknown {
  let answer: unknown
  try {
    answer = action()
  } catch (error) {
    return error
  }
  throw new Error(`nothing was thrown; the call returned ${JSON.stringify(answer)}`)
}
