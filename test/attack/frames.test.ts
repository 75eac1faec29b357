import { describe, expect, test } from 'bun:test'
import { LIMITS } from '../../src/limits.ts'
import { frame, framesOf, goAwayReason, http2Start, openRaw } from '../kit/raw-socket.ts'
import { openSharedPort } from '../kit/shared-port.ts'

const repeat = (bytes: Buffer, times: number): Buffer => Buffer.concat(Array.from({ length: times }, () => bytes))
/** GET / with indexed header fields and a literal authority. */
const GET = Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x78])
const PING = frame(6, 0, 0, Buffer.alloc(8))

const FLOODS: Array<[string, string, Buffer]> = [
  ['F-04 empty CONTINUATION', 'continuation-flood', Buffer.concat([frame(1, 1, 1, GET), repeat(frame(9, 0, 1), 5000)])],
  ['F-05 PRIORITY', 'control-frame-flood', repeat(frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 16])), 40_000)],
  ['F-05 unknown frame', 'control-frame-flood', repeat(frame(0x42, 0, 0, Buffer.from('x')), 40_000)],
  ['F-05 WINDOW_UPDATE', 'window-update-flood', repeat(frame(8, 0, 0, Buffer.from([0, 0, 0, 1])), 40_000)],
]

describe('HTTP/2 floods', () => {
  test.each(FLOODS)('%s flood is cut with GOAWAY %s', async (_, reason, bytes) => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const raw = await openRaw(port.port)
    raw.send(Buffer.concat([http2Start(), bytes]))
    const received = await raw.closed()
    expect(port.refused).toEqual([reason])
    expect(goAwayReason(received)).toBe(reason)
    raw.destroy()
  })

  test('F-05: a stranger may send 2 MiB, not more', async () => {
    await using port = await openSharedPort()
    const raw = await openRaw(port.port)
    const open = frame(1, 4, 1, Buffer.from([0x83, ...GET.subarray(1)]))
    raw.send(Buffer.concat([http2Start(), open, repeat(frame(0, 0, 1, Buffer.alloc(16_384)), 200)]))
    await raw.closed()
    // The engine may end the connection first: nobody opened its window that far.
    expect(raw.isOpen()).toBe(false)
    raw.destroy()
  })

  test('F-06: SETTINGS and empty DATA floods end the connection, whoever notices first', async () => {
    for (const bytes of [frame(4, 0, 0), frame(0, 0, 1)]) {
      await using port = await openSharedPort({ isAuthenticated: true })
      const raw = await openRaw(port.port)
      raw.send(
        Buffer.concat([http2Start(), frame(1, 4, 1, Buffer.from([0x83, ...GET.subarray(1)])), repeat(bytes, 40_000)]),
      )
      await raw.closed()
      raw.destroy()
    }
  })

  test('F-01: 5 000 streams opened and reset at once end the connection', async () => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const raw = await openRaw(port.port)
    const pairs: Buffer[] = []
    for (let id = 1; id < 10_000; id += 2) pairs.push(frame(1, 4, id, GET), frame(3, 0, id, Buffer.from([0, 0, 0, 8])))
    raw.send(Buffer.concat([http2Start(), ...pairs]))
    await raw.closed()
    raw.destroy()
  })

  test('decision 30: 1 000 PINGs in a row are answered', async () => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const raw = await openRaw(port.port)
    raw.send(http2Start())
    for (let sent = 0; sent < 1000; sent += 100) {
      raw.send(repeat(PING, 100))
      await raw.until(received => countPings(received) >= sent + 100)
    }
    expect(countPings(raw.received())).toBe(1000)
    raw.destroy()
  })

  test('after an attack the next client is served', async () => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const bad = await openRaw(port.port)
    bad.send(Buffer.concat([http2Start(), (FLOODS[0] as [string, string, Buffer])[2]]))
    await bad.closed()
    const good = await openRaw(port.port)
    good.send(Buffer.concat([http2Start(), frame(1, 5, 1, GET)]))
    await good.until(received => framesOf(received).some(({ type, stream }) => type === 1 && stream === 1))
    good.destroy()
    bad.destroy()
  })

  test('64 MiB echoed at full speed are never cut and arrive whole', async () => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const { connect } = await import('node:http2')
    const session = connect(`http://127.0.0.1:${port.port}`)
    const stream = session.request({ ':method': 'POST', ':path': '/' })
    const chunk = Buffer.alloc(65_536, 7)
    let sent = 0
    const pump = () => {
      while (sent < 1024) {
        sent++
        if (!stream.write(chunk)) return void stream.once('drain', pump)
      }
      stream.end()
    }
    pump()
    let bytes = 0
    for await (const part of stream) bytes += (part as Buffer).length
    expect(bytes).toBe(1024 * 65_536)
    expect(port.refused).toEqual([])
    session.destroy()
  }, 20_000)

  test('R-01: a peer that reads nothing stops the engine instead of filling memory', async () => {
    await using port = await openSharedPort({ isAuthenticated: true })
    const raw = await openRaw(port.port)
    raw.socket.pause()
    raw.send(http2Start())
    for (let round = 0; round < 50 && port.sockets.length === 0; round++) await Bun.sleep(2)
    const socket = port.sockets[0]
    if (!socket) throw new Error('not handed over')
    let offered = 0
    while (socket.write(Buffer.alloc(65_536)) && offered < 1000) offered++
    expect(socket.writableLength).toBeLessThanOrEqual(LIMITS.socketBufferBytes + 65_536)
    raw.destroy()
  })
})

const countPings = (received: Buffer): number =>
  framesOf(received).filter(({ type, flags }) => type === 6 && flags === 1).length
