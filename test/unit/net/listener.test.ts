import { describe, expect, test } from 'bun:test'
import { duplexPair, PassThrough } from 'node:stream'
import { capByDescriptors, capSidePort, createConnectionTable } from '../../../src/net/connection-table.ts'
import { decideProtocol, printAddress } from '../../../src/net/listener.ts'
import { frame, framesOf, http2Start, openRaw } from '../../kit/raw-socket.ts'
import { openSharedPort } from '../../kit/shared-port.ts'

describe('protocol', () => {
  test('is decided by the first octet that differs, or by preface and a first frame header', () => {
    const start = http2Start()
    expect(decideProtocol(Buffer.from('G'))).toBe('http1')
    for (let bytes = 1; bytes < start.length; bytes++) expect(decideProtocol(start.subarray(0, bytes))).toBeNull()
    expect(decideProtocol(start)).toBe('http2')
    expect(decideProtocol(Buffer.from('PRI * HTTP/2.0\r\n\r\nSX'))).toBe('http1')
  })
})

describe('descriptors (F-14)', () => {
  test('the cap stays below the limit, whatever it is', () => {
    expect(capByDescriptors(4096, 1_048_576)).toBe(4096)
    expect(capByDescriptors(4096, 1024)).toBe(768)
    expect(capByDescriptors(4096, 64)).toBe(32)
    expect(capByDescriptors(4096, null)).toBe(4096)
  })

  test('all ports together leave descriptors for the store and the drivers', () => {
    expect([null, 1_048_576, 1024, 256, 64, 8].map(capSidePort)).toEqual([64, 64, 64, 16, 4, 1])
    for (const limit of [64, 128, 512, 1024, 4096])
      expect(capByDescriptors(4096, limit) + 2 * capSidePort(limit)).toBeLessThanOrEqual(limit - 24)
  })
})

describe('connection table', () => {
  test('counts return to zero after any ending, and nested connections are not counted against a cap', () => {
    const table = createConnectionTable(2, 2)
    const sockets = Array.from({ length: 3 }, () => new PassThrough())
    const [first, second, third] = sockets.map(socket => table.add(socket, '1.1.1.1'))
    // The third took the place of the first, which had proved nothing.
    expect([first === null, second === null, third === null]).toEqual([false, false, false])
    expect(sockets.map(socket => socket.destroyed)).toEqual([true, false, false])
    if (second) table.proven(second)
    if (third) table.proven(third)
    expect(table.add(new PassThrough(), '1.1.1.1')).toBeNull()
    expect(table.add(new PassThrough(), '2.2.2.2')).toBeNull()
    const nested = new PassThrough()
    table.addNested(nested)
    expect(table.size()).toBe(3)
    for (const socket of [...sockets, nested]) socket.emit('close')
    expect(table.size()).toBe(0)
    expect(table.add(new PassThrough(), '1.1.1.1')).not.toBeNull()
  })
})

describe('nested connections', () => {
  test("a tunnel's stream is served like a connection, both protocols, without TLS identity", async () => {
    await using port = await openSharedPort()
    const peer = { address: '1.2.3.4', port: 5, certificateFingerprint: null, connection: {} }
    for (const [bytes, expected] of [
      ['GET /nope HTTP/1.1\r\nHost: x\r\n\r\n', 'HTTP/1.1 404 Not Found'],
      [Buffer.concat([http2Start(), frame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x78]))]), null],
    ] as const) {
      const [inner, outer] = duplexPair()
      port.listener.adopt(inner, peer)
      outer.write(bytes)
      let received = Buffer.alloc(0)
      for await (const chunk of outer) {
        received = Buffer.concat([received, chunk as Buffer])
        const isDone =
          expected === null ? framesOf(received).some(({ stream }) => stream === 1) : received.includes('\r\n\r\n')
        if (isDone) break
      }
      if (expected !== null) expect(received.toString()).toStartWith(expected)
    }
    expect(port.peers).toEqual([peer])
  })
})

describe('end of life', () => {
  test('drain closes what waits, lets HTTP/2 go on and refuses newcomers; destroy leaves nothing (C-12)', async () => {
    await using port = await openSharedPort()
    const [silent, idle, http2] = await Promise.all([openRaw(port.port), openRaw(port.port), openRaw(port.port)])
    idle.send('GET /nope HTTP/1.1\r\n\r\n')
    await idle.until(received => received.includes('\r\n\r\n'))
    http2.send(http2Start())
    await http2.until(received => framesOf(received).length > 0)
    port.listener.drain()
    await Promise.all([silent.closed(), idle.closed()])
    expect(http2.isOpen()).toBe(true)
    expect(openRaw(port.port)).rejects.toThrow()
    port.listener.destroy()
    await http2.closed()
    for (let tries = 0; port.listener.connections() > 0 && tries < 200; tries++) await Bun.sleep(2)
    expect(port.listener.connections()).toBe(0)
    for (const raw of [silent, idle, http2]) raw.destroy()
  })

  test('an HTTP/2 client that half-closes is closed', async () => {
    await using port = await openSharedPort()
    const raw = await openRaw(port.port)
    raw.send(http2Start())
    await raw.until(received => framesOf(received).length > 0)
    raw.finish()
    await raw.closed()
    raw.destroy()
  })

  test('addresses are printed with IPv6 in brackets', () => {
    expect([printAddress('0.0.0.0', 1), printAddress('::', 2)]).toEqual(['0.0.0.0:1', '[::]:2'])
  })
})
