/** The embedded supervisor towards gateways that are not there yet, or end its session in odd ways. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import http2 from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { readEndpoint } from '../../../src/client/channel.ts'
import { runSupervisor, type SupervisorEnd } from '../../../src/dev/supervisor.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import type { GatewayMessage } from '../../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock, type FakeClock, until } from '../../kit/clock.ts'

const HEAD = { ':status': 200, 'content-type': 'application/grpc' }

let clock: FakeClock
let gateway: http2.Http2Server
/** Control streams that said hello. */
let controls: http2.ServerHttp2Stream[]
let answer: (control: http2.ServerHttp2Stream) => void
let abort: AbortController

beforeEach(async () => {
  clock = createFakeClock()
  controls = []
  answer = () => {}
  abort = new AbortController()
  gateway = http2.createServer()
  gateway.on('session', session => session.on('error', () => {}))
  gateway.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {})
    if (!String(headers[':path']).endsWith('/ConnectSupervisor')) return
    stream.once('data', () => {
      controls.push(stream)
      answer(stream)
    })
  })
  await new Promise<void>(resolve => gateway.listen(0, '127.0.0.1', resolve))
})
afterEach(() => {
  abort.abort()
  gateway.close()
})

const url = () => `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`

function supervise(dial?: () => Promise<Duplex>): Promise<SupervisorEnd> {
  const endpoint = { ...readEndpoint(url(), {}), ...(dial ? { dial } : {}) }
  const rest = { dir: '/', secret: 's', environment: {}, log: createCapturedLog(), clock }
  return runSupervisor({ endpoint, sandboxId: 'a', ...rest }, abort.signal)
}

function message(content: Init<GatewayMessage>): Buffer {
  const bytes = codec('openshell.v1.GatewayMessage').encode(content)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

test('one that is told to stop while it dials ends when the dial does, and opens no session', async () => {
  const dialled = Promise.withResolvers<Socket>()
  const running = supervise(() => dialled.promise)
  abort.abort()
  const socket = connect((gateway.address() as AddressInfo).port, '127.0.0.1')
  const closed = new Promise(resolve => socket.once('close', resolve))
  await new Promise<void>(resolve => socket.once('connect', resolve))
  dialled.resolve(socket)
  expect(await running).toBe('stopped')
  await closed
  expect(controls).toEqual([])
})

test.each([
  [
    'with a status',
    (stream: http2.ServerHttp2Stream) => {
      stream.respond(HEAD, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end()
    },
  ],
  [
    'without a status',
    (stream: http2.ServerHttp2Stream) => {
      stream.respond(HEAD)
      stream.end(message({ session_accepted: { session_id: 'x', heartbeat_interval_secs: 15 } }))
    },
  ],
  ['by a reset', (stream: http2.ServerHttp2Stream) => stream.close(8)],
  ['by the end of the connection', (stream: http2.ServerHttp2Stream) => stream.session?.destroy()],
] as const)('a session that ends %s is followed by another', async (_how, end) => {
  answer = end
  void supervise()
  await until(() => controls.length === 1)
  await until(() => {
    clock.advance(1000)
    return controls.length === 2
  })
})

test('NOT_FOUND ends it: its sandbox is gone', async () => {
  answer = stream =>
    stream.respond({ ...HEAD, 'grpc-status': '5', 'grpc-message': 'sandbox not found' }, { endStream: true })
  expect(await supervise()).toBe('sandbox gone')
})
