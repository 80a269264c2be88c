import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const library = join(__dirname, '..', '..', 'dist', 'index.js')

/** What a program says, in lines, that has a limiter of one call in 50 ms and runs to its end. */
function linesOf(program: string): string[] {
  const head = `
    const { Limiter, ManualClock } = require(${JSON.stringify(library)})
    const limiter = new Limiter({ limit: 20, windowMs: 1000, burst: 1, maxKeys: 10 })
    const say = (name) => () => console.log(name)
    process.on('exit', say('exit'))`
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', `${head}\n${program}`], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  return stdout.trim().split('\n')
}

describe('a process', () => {
  test('lives as long as somebody waits, and no longer', () => {
    const lines = linesOf(`
      for (const name of ['a', 'b', 'c']) limiter.wait('k').then(say(name))
      const paced = new Limiter({ algorithm: 'leaky-bucket', limit: 5, windowMs: 1000, queue: 5, maxKeys: 10 })
      for (const name of ['d', 'e']) paced.wait('k').then(say(name))
      say('end of the program')()`)
    expect(lines).toEqual(['end of the program', 'a', 'd', 'b', 'c', 'e', 'exit'])
  })

  test('ends at once when nobody waits any more: admitted, aborted, or closed', () => {
    const lines = linesOf(`
      const started = Date.now()
      const slow = new Limiter({ limit: 1, windowMs: 3_600_000, maxKeys: 10 })
      const leases = new Limiter({ algorithm: 'concurrency', limit: 1, holdMs: 3_600_000, maxKeys: 10 })
      leases.acquire('k')
      slow.wait('k').then(say('admitted'))
      const controller = new AbortController()
      slow.wait('k', 1, { signal: controller.signal }).catch(say('aborted'))
      leases.waitForLease('k').catch(say('closed'))
      setTimeout(() => { controller.abort(); leases.close() }, 50)
      process.on('exit', () => console.log(Date.now() - started < 10_000 ? 'soon' : 'late'))`)
    expect(lines).toEqual(['admitted', 'aborted', 'closed', 'exit', 'soon'])
  })

  test('ends if they wait for a clock that only it could move', () => {
    const lines = linesOf(`
      const manual = new Limiter({ limit: 1, windowMs: 1000, maxKeys: 10, clock: new ManualClock() })
      for (const name of ['a', 'b']) manual.wait('k').then(say(name))`)
    expect(lines).toEqual(['a', 'exit'])
  })
})
