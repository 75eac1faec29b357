import { expect, test } from 'bun:test'
import { createServer, type Server as HttpServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { FrameMeter } from '../../../src/net/frame-meter.ts'
import { createGrpcBridge } from '../../../src/net/grpc-http1.ts'
import { MeteredSocket } from '../../../src/net/metered-socket.ts'
import { openRaw } from '../../kit/raw-socket.ts'

/** An HTTP/1.1 server whose requests all go over the bridge to an HTTP/2 one that echoes the body with a status in the trailers. */
async function openBridge() {
  const seen: string[] = []
  const http2 = createHttp2Server((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers['authorization']} ${request.headers['te']}`)
    if (request.url === '/refused') {
      request.resume()
      response.writeHead(200, { 'content-type': 'application/grpc', 'grpc-status': '12' }).end()
      return
    }
    const body: Buffer[] = []
    request.on('data', (chunk: Buffer) => body.push(chunk))
    request.on('end', () => {
      response.writeHead(200, { 'content-type': 'application/grpc' })
      response.addTrailers({ 'grpc-status': '0' })
      response.end(Buffer.concat(body))
    })
  })
  const bridge = createGrpcBridge((socket, peer) => {
    const meter = new FrameMeter()
    http2.emit('connection', new MeteredSocket(socket, Buffer.alloc(0), peer, meter, () => {}))
  })
  const peer = { address: '127.0.0.1', port: 1, certificateFingerprint: null, connection: {} }
  const http: HttpServer = createServer((request, response) => bridge(request, response, peer))
  await new Promise<void>(resolve => http.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  return {
    url,
    seen,
    [Symbol.dispose]() {
      http.closeAllConnections()
      http.close()
    },
  }
}

const headers = { 'content-type': 'application/grpc', te: 'trailers', authorization: 'Bearer x' }

test('a call goes through with its headers and comes back without trailers', async () => {
  using bridge = await openBridge()
  const body = new Uint8Array(1_000_000).fill(7)
  const answer = await fetch(`${bridge.url}/a.B/C?x=1`, { method: 'POST', headers, body })
  expect([answer.status, answer.headers.get('content-type'), answer.headers.get('grpc-status')]).toEqual([
    200,
    'application/grpc',
    null,
  ])
  expect(new Uint8Array(await answer.arrayBuffer())).toEqual(body)
  expect(bridge.seen).toEqual(['POST /a.B/C?x=1 Bearer x trailers'])
})

test('a status in the head stays in the head', async () => {
  using bridge = await openBridge()
  const answer = await fetch(`${bridge.url}/refused`, { method: 'POST', headers, body: new Uint8Array(5) })
  expect([answer.status, answer.headers.get('grpc-status'), await answer.text()]).toEqual([200, '12', ''])
})

test.each([
  ['GET', '/a.B/C'],
  ['DELETE', '/a.B/C'],
  ['POST', 'http://elsewhere/a.B/C'],
])('a call by %s of %s is the same call', async (method, target) => {
  using bridge = await openBridge()
  const head = `${method} ${target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\nconnection: close\r\n\r\n`
  const raw = await openRaw(Number(new URL(bridge.url).port))
  raw.send(Buffer.concat([Buffer.from(head), Buffer.from([0, 0, 0, 0, 0])]))
  expect((await raw.closed()).toString('latin1')).toStartWith('HTTP/1.1 200 OK\r\n')
  expect(bridge.seen).toEqual([`${method} /a.B/C undefined trailers`])
  raw.destroy()
})
