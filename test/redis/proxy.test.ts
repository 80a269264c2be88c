import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startProxy, type TcpProxy } from './proxy'
import { type RedisServer, startRedis } from './servers'
import { until } from './until'

const SILENCE_MS = 100

/** A client that sends lines and says what has come back so far. */
class Line {
  readonly socket: Socket
  text = ''
  isClosed = false

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.setEncoding('utf8').on('data', (text) => {
      this.text += text
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => {
      this.isClosed = true
    })
  }

  send(...commands: string[]): void {
    this.socket.write(commands.map((command) => `${command}\r\n`).join(''))
  }

  /** Sends a command, and waits for the number that is its answer. */
  async count(): Promise<string> {
    this.text = ''
    this.send('INCR count')
    await until(() => this.text.endsWith('\r\n') || this.isClosed, 'an answer')
    return this.text.trim()
  }
}

let server: RedisServer
let proxy: TcpProxy
const lines: Line[] = []

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.stop())

beforeEach(async () => {
  await server.send('FLUSHALL')
  proxy = await startProxy(server.port)
})
afterEach(async () => {
  for (const { socket } of lines.splice(0)) socket.destroy()
  await proxy.stop()
})

async function open(): Promise<Line> {
  const line = new Line(proxy.port)
  lines.push(line)
  await once(line.socket, 'connect')
  return line
}

function counted(): Promise<unknown> {
  return server.send('GET', 'count')
}

describe('a proxy', () => {
  test('passes everything on, in order, whole', async () => {
    const line = await open()
    const large = 'x'.repeat(500_000)
    await server.send('SET', 'large', large)
    line.send('GET large', ...Array.from({ length: 1000 }, () => 'INCR count'))
    const numbers = Array.from({ length: 1000 }, (_, i) => `:${i + 1}\r\n`).join('')
    const whole = `$500000\r\n${large}\r\n${numbers}`
    await until(() => line.text.length >= whole.length, 'all answers')
    expect(line.text === whole).toBe(true)
    expect(proxy.connections).toBe(1)
  })

  test('delays each way, and keeps the order when the delay becomes shorter', async () => {
    const line = await open()
    await line.count()
    proxy.delay(60)
    const beganMs = performance.now()
    expect(await line.count()).toBe(':2')
    expect(performance.now() - beganMs).toBeGreaterThanOrEqual(120)
    line.text = ''
    line.send('INCR count')
    await sleep(10)
    proxy.delay(0)
    line.send('INCR count')
    await until(() => line.text === ':3\r\n:4\r\n', 'both answers')
  })

  test('holds everything back, and sends it on when all is well again', async () => {
    const line = await open()
    await line.count()
    proxy.hold()
    const late = await open()
    for (const one of [line, late]) one.text = ''
    line.send('INCR count')
    late.send('INCR count')
    await sleep(SILENCE_MS)
    expect([await counted(), line.text, late.text]).toEqual(['1', '', ''])
    proxy.pass()
    await until(() => line.text !== '' && late.text !== '', 'both answers')
    expect([line.text, late.text].sort()).toEqual([':2\r\n', ':3\r\n'])
  })

  test.each([
    ['requests', '1'],
    ['replies', '2'],
    ['both', '1'],
  ] as const)('swallows %s; who has lost something is cut at the end', async (direction, reached) => {
    const [line, idle] = [await open(), await open()]
    await line.count()
    line.text = ''
    proxy.drop(direction)
    line.send('INCR count')
    await sleep(SILENCE_MS)
    expect([await counted(), line.text, line.isClosed]).toEqual([reached, '', false])
    proxy.pass()
    await until(() => line.isClosed, 'a connection that is cut')
    expect([line.text, idle.isClosed, await idle.count()]).toEqual(['', false, `:${Number(reached) + 1}`])
  })

  test('cuts all connections, and accepts new ones', async () => {
    const [line, other] = [await open(), await open()]
    await Promise.all([line.count(), other.count()])
    proxy.cut()
    await until(() => line.isClosed && other.isClosed, 'connections that are cut')
    await until(() => proxy.connections === 0, 'a proxy that has none')
    expect(await (await open()).count()).toBe(':3')
  })

  test('cuts in the middle of a reply, once', async () => {
    const line = await open()
    await line.count()
    line.text = ''
    proxy.cutAfter(6)
    line.send('INCR count', 'INCR count', 'INCR count')
    await until(() => line.isClosed, 'a connection that is cut')
    expect([line.text, await counted()]).toEqual([':2\r\n:3', '4'])
    expect(await (await open()).count()).toBe(':5')
  })

  test('refuses new connections, and keeps those there are', async () => {
    const line = await open()
    proxy.refuse()
    const refused = await open()
    await until(() => refused.isClosed, 'a connection that is refused')
    expect(await line.count()).toBe(':1')
    proxy.pass()
    expect(await (await open()).count()).toBe(':2')
  })

  test('ends its connections with the server, and itself with all connections', async () => {
    const own = await startRedis()
    const front = await startProxy(own.port)
    const [line, silent] = [new Line(front.port), new Line(front.port)]
    lines.push(line, silent)
    await line.count()
    await own.stop()
    await until(() => line.isClosed && silent.isClosed, 'connections that have ended')
    const lost = new Line(front.port)
    lines.push(lost)
    await until(() => lost.isClosed, 'no server behind it')
    await front.stop()
    await expect(once(connect(front.port, '127.0.0.1'), 'connect')).rejects.toThrow('ECONNREFUSED')
  })
})
