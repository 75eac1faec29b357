import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import type { Duplex } from 'node:stream'
import type { Peer } from '../rpc/context.ts'
import { createDuplexPair } from './duplex-pair.ts'
import { originForm } from './routes.ts'

/** Of one hop only, or without meaning in HTTP/2. */
const HOP_HEADERS = new Set([
  'connection',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
])

/**
 * Serves gRPC requests that come over HTTP/1.1 as the reference does: the same call, its body chunked, its trailers
 * lost (spec/gateway.md §8.3). Each goes through `adopt` as a call on an HTTP/2 connection of its own inside this
 * process, so that every check of the pipeline applies; `peer` is that of the real connection.
 */
export function createGrpcBridge(adopt: (socket: Duplex, peer: Peer) => void) {
  return (request: IncomingMessage, response: ServerResponse, peer: Peer): void => {
    const [inner, outer] = createDuplexPair()
    adopt(inner, peer)
    const session = connect('http://gateway.internal', { createConnection: () => outer })
    const stop = () => session.destroy()
    // The caller gets what a broken HTTP/1.1 answer is: a closed connection.
    const fail = () => {
      stop()
      response.destroy()
    }
    session.on('error', fail)
    // The method says nothing about the body: the reference serves a call by GET too.
    const call = session.request(toHttp2(request), { endStream: false })
    call.on('error', fail)
    call.once('response', headers => response.writeHead(Number(headers[':status']), toHttp1(headers)))
    call.once('close', stop)
    response.once('close', stop)
    request.pipe(call)
    call.pipe(response)
  }
}

function toHttp2(request: IncomingMessage): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {
    ':method': request.method,
    ':path': originForm(request.url ?? ''),
    ':scheme': 'http',
    ':authority': request.headers.host ?? 'gateway.internal',
    te: 'trailers',
  }
  for (const [name, value] of Object.entries(request.headers)) if (!HOP_HEADERS.has(name)) headers[name] = value
  return headers
}

function toHttp1(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const plain: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':') && typeof value !== 'symbol' && value !== undefined) plain[name] = value
  }
  return plain
}
