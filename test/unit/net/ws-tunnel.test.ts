import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { LIMITS } from '../../../src/limits.ts'
import { createWsTunnel } from '../../../src/net/ws-tunnel.ts'
import type { Peer } from '../../../src/rpc/context.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock, type FakeClock, until } from '../../kit/clock.ts'
import { openRaw, type RawSocket } from '../../kit/raw-socket.ts'

const FINAL = 0x80
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0x0, 0x1, 0x2, 0x8, 0x9, 0xa]
const MASKED = 0x80
const UPGRADE = [
  'GET /_ws_tunnel HTTP/1.1',
  'Host: h',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  '',
  '',
].join('\r\n')

/** A frame as a client sends it, its mask all zeros; `length` may lie. */
function message(opcode: number, payload: string | Uint8Array, first = FINAL, length?: number): Buffer {
  const body = Buffer.from(payload as string)
  const long = Buffer.alloc(8)
  long.writeBigUInt64BE(BigInt(length ?? body.length))
  const size = body.length < 126 && length === undefined ? [MASKED | body.length] : [MASKED | 127, ...long]
  return Buffer.concat([Buffer.from([first | opcode, ...size]), Buffer.alloc(4), body])
}

let clock: FakeClock
let server: Server
let inner: Duplex[]
let raws: RawSocket[]
beforeEach(async () => {
  clock = createFakeClock()
  inner = []
  raws = []
  const adopt = (bytes: Duplex) => void inner.push(bytes.on('error', () => {}))
  const tunnels = createWsTunnel({ adopt, clock, log: createCapturedLog() })
  server = createServer()
  const peer = (socket: Duplex): Peer => ({ address: 'a', port: 1, certificateFingerprint: null, connection: socket })
  server.on('upgrade', (request, socket, head) => tunnels.accept(request, socket, head, peer(socket)))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
})
afterEach(() => {
  for (const raw of raws) raw.destroy()
  server.closeAllConnections()
  server.close()
})

/** A tunnel: the client's socket, and what comes out of the gateway's end. */
async function open(): Promise<{ raw: RawSocket; bytes: Duplex; frames: () => Buffer }> {
  const raw = await openRaw((server.address() as AddressInfo).port)
  raws.push(raw)
  raw.send(UPGRADE)
  const head = (await raw.until(received => received.includes('\r\n\r\n'))).indexOf('\r\n\r\n') + 4
  await until(() => inner.length === raws.length)
  return { raw, bytes: inner.at(-1)!, frames: () => raw.received().subarray(head) }
}

describe('what comes in (R-14)', () => {
  test('binary, text and fragments are bytes; a ping in between is answered', async () => {
    const { raw, bytes, frames } = await open()
    let got = ''
    bytes.on('data', part => {
      got += part
    })
    raw.send(message(BINARY, 'one,'))
    raw.send(message(TEXT, 'two,'))
    raw.send(message(BINARY, 'th', 0))
    raw.send(message(PING, 'p'))
    raw.send(message(CONTINUATION, 'ree', FINAL))
    await until(() => got === 'one,two,three')
    await until(() => frames().length === 3)
    expect([...frames()]).toEqual([FINAL | PONG, 1, 'p'.charCodeAt(0)])
  })

  test.each([
    ['a message longer than any client sends', 1009, message(BINARY, '', FINAL, LIMITS.webSocketMessageBytes + 1)],
    ['a length of 2^63', 1009, message(BINARY, '', FINAL, 2 ** 63)],
    ['no mask', 1002, Buffer.from([FINAL | BINARY, 1, 0])],
    ['a reserved bit', 1002, message(BINARY, 'x', FINAL | 0x40)],
    ['an unknown opcode', 1002, message(0x3, 'x')],
    ['a continuation of nothing', 1002, message(CONTINUATION, 'x')],
    ['a message within a message', 1002, Buffer.concat([message(BINARY, 'x', 0), message(BINARY, 'x')])],
    ['a ping in pieces', 1002, message(PING, 'x', 0)],
    ['a ping that is too long', 1002, message(PING, 'x'.repeat(126))],
  ])('%s: closed with %i', async (_what, code, sent) => {
    const { raw, bytes, frames } = await open()
    const closed = new Promise(resolve => bytes.once('close', resolve))
    bytes.resume()
    raw.send(sent)
    await raw.until(() => frames().length >= 4)
    expect([frames()[0], frames().readUInt16BE(2)]).toEqual([FINAL | CLOSE, code])
    await closed
    await raw.closed()
  })
})

describe('pings', () => {
  test('two without an answer end a tunnel', async () => {
    const { raw, bytes } = await open()
    bytes.resume()
    for (let ping = 0; ping <= LIMITS.webSocketPingsMissed; ping++) clock.advance(LIMITS.webSocketPingMs)
    await raw.closed()
  })

  test('a client that is held back cannot answer, and is not taken for dead', async () => {
    const { raw, bytes } = await open()
    const payload = Buffer.alloc(LIMITS.relayBufferBytes, 'x')
    raw.send(message(BINARY, payload))
    raw.send(message(BINARY, payload))
    await until(() => bytes.readableLength >= LIMITS.relayBufferBytes)
    for (let ping = 0; ping < 10; ping++) clock.advance(LIMITS.webSocketPingMs)
    let got = 0
    bytes.on('data', part => {
      got += part.length
    })
    await until(() => got === 2 * payload.length)
    expect(bytes.destroyed).toBe(false)
    clock.advance(LIMITS.webSocketPingMs)
    clock.advance(LIMITS.webSocketPingMs)
    clock.advance(LIMITS.webSocketPingMs)
    await raw.closed()
  })
})
