import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { Peer } from '../rpc/context.ts'
import { emptyAnswer, type HttpAnswer, type RequestHead, rawAnswer } from './http-answer.ts'
import { type Routes, refuseWebSocket } from './routes.ts'

/**
 * What takes a connection away from the HTTP/1.1 server. The hook owns `socket` from then on: it writes the whole
 * answer, status line included, closes it on every path, and listens to its `error`. `head` holds bytes that came
 * behind the request head; they belong in front of whatever `socket` yields next.
 */
export interface HttpHooks {
  /**
   * `CONNECT /connect/ssh` or the configured path (spec/gateway.md §10). Other targets never get here. `refuse`
   * answers instead of tunnelling and gives the connection, bytes behind the head included, back to the HTTP server.
   */
  onConnect(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    peer: Peer,
    refuse: (answer: HttpAnswer) => void,
  ): void
  /** A WebSocket upgrade of `/_ws_tunnel` that passed every check of spec/gateway.md §11.1; the hook sends the 101. */
  onWebSocket(request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): void
  /** A request with a gRPC content type over HTTP/1.1. Absent: each is answered like an unknown RPC. */
  onGrpc?(request: IncomingMessage, response: ServerResponse, peer: Peer): void
}

export interface HttpFrontOptions {
  readonly routes: Pick<Routes, 'isSshTunnel' | 'isWebSocketPath'> & {
    answerRoute(request: RequestHead): HttpAnswer | Promise<HttpAnswer>
  }
  readonly hooks: HttpHooks
  readonly clock: Clock
  /** Called once per answered request with its target, status and duration; tunnels that were opened report on their own. */
  readonly observe: (target: string, status: number, seconds: number) => void
}

/** The HTTP/1.1 side of a port. */
export interface HttpFront {
  /**
   * Takes a connection that speaks HTTP/1.x, its unread octets in front. The first head must be whole within
   * `firstMs`; then `onFirst` is called.
   */
  accept(socket: Duplex, peer: Peer, firstMs: number, onFirst?: () => void): void
  /** Closes idle connections at once and the others behind their answer. */
  drain(): void
  destroy(): void
}

interface Connection {
  readonly peer: Peer
  timer: Timer
  /** Requests and answers under way; 0 and not `isReading` = between two requests. */
  pending: number
  isReading: boolean
  onFirst: () => void
  readonly onData: () => void
}

export function createHttpFront(options: HttpFrontOptions): HttpFront {
  const { routes, hooks, clock } = options
  const connections = new Map<Duplex, Connection>()
  let isDraining = false

  const server = createServer(
    {
      // The reference asks for no Host (spec/gateway.md §8.2).
      requireHostHeader: false,
      maxHeaderSize: LIMITS.httpHeadBytes,
      shouldUpgradeCallback: request => {
        const peer = connections.get(request.socket)?.peer
        return peer !== undefined && routes.isWebSocketPath(request.url ?? '') && refuseUpgrade(request, peer) === null
      },
    },
    (request, response) => onRequest(request, response),
  )
  // The library's own timers do not run for sockets handed over (M12); those of `connections` do.
  Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
  // The surplus is refused below; the library would drop it silently.
  server.maxHeadersCount = 0

  const arm = (socket: Duplex, connection: Connection, ms: number) => {
    connection.timer.cancel()
    connection.timer = clock.after(Math.max(ms, 1), () => socket.destroy())
  }

  /** Takes a connection out of this server's care: it was closed or belongs to a tunnel now. */
  const release = (socket: Duplex): Connection | undefined => {
    const connection = connections.get(socket)
    connection?.timer.cancel()
    if (connection) socket.off('data', connection.onData)
    connections.delete(socket)
    connection?.onFirst()
    return connection
  }

  const accept = (socket: Duplex, peer: Peer, firstMs: number, onFirst: () => void = NOTHING) => {
    const onData = () => {
      if (connection.pending > 0 || connection.isReading) return
      connection.isReading = true
      arm(socket, connection, LIMITS.httpRequestMs)
    }
    const connection: Connection = { peer, timer: { cancel: NOTHING }, pending: 0, isReading: true, onFirst, onData }
    connections.set(socket, connection)
    arm(socket, connection, firstMs)
    socket.once('close', () => release(socket))
    socket.on('error', () => socket.destroy())
    server.emit('connection', socket)
    socket.on('data', onData)
  }

  const settle = (socket: Duplex, connection: Connection) => {
    connection.pending--
    if (connection.pending > 0 || connections.get(socket) !== connection) return
    connection.isReading = false
    if (isDraining) socket.destroy()
    else arm(socket, connection, LIMITS.httpIdleMs)
  }

  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    const connection = connections.get(socket)
    if (connection === undefined) return void socket.destroy()
    connection.onFirst()
    const startedMs = clock.monotonicMs()
    connection.pending += 2
    arm(socket, connection, LIMITS.httpRequestMs)
    request.once('close', () => settle(socket, connection))
    response.once('close', () => settle(socket, connection))
    if (isGrpc(request) && hooks.onGrpc) {
      connection.timer.cancel()
      return hooks.onGrpc(request, response, connection.peer)
    }
    request.resume()
    const refusal = refuseHead(request)
    const answer = refusal ?? (isGrpc(request) ? UNKNOWN_RPC : routes.answerRoute(headOf(request, connection.peer)))
    const send = (answer: HttpAnswer) => {
      options.observe(request.url ?? '', answer.status, (clock.monotonicMs() - startedMs) / 1000)
      if (refusal !== null || request.httpVersion === '1.0')
        return closeWith(socket, rawAnswer(answer, versionOf(request)))
      if (isDraining) response.setHeader('connection', 'close')
      response.writeHead(answer.status, answer.headers).end(answer.body)
    }
    if (answer instanceof Promise) void answer.then(send)
    else send(answer)
  }

  /** The last octets of a connection; a peer that does not close its side is not waited for. */
  const closeWith = (socket: Duplex, text: string) => {
    socket.end(text)
    const timer = clock.after(LIMITS.closeLingerMs, () => socket.destroy())
    socket.once('close', () => timer.cancel())
  }

  server.on('connect', (request: IncomingMessage, socket: Duplex, early: Buffer) => {
    const peer = release(socket)?.peer
    if (peer === undefined) return void socket.destroy()
    const refuse = (answer: HttpAnswer) => {
      options.observe(request.url ?? '', answer.status, 0)
      if (isDraining || request.httpVersion === '1.0') return closeWith(socket, rawAnswer(answer, versionOf(request)))
      socket.write(rawAnswer(answer, '1.1', false))
      if (early.length > 0) socket.unshift(early)
      accept(socket, peer, LIMITS.httpIdleMs)
      socket.resume()
    }
    const refusal = refuseHead(request)
    if (refusal !== null) return closeWith(socket, rawAnswer(refusal))
    const head = headOf(request, peer)
    if (routes.isSshTunnel(head)) hooks.onConnect(request, socket, early, peer, refuse)
    else void Promise.resolve(routes.answerRoute(head)).then(refuse)
  })

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const peer = release(socket)?.peer
    if (peer === undefined) socket.destroy()
    else hooks.onWebSocket(request, socket, head, peer)
  })

  server.on('clientError', (error: ClientError, socket: Duplex) => {
    const peer = connections.get(socket)?.peer
    if (peer === undefined || !socket.writable) return void socket.destroy()
    void answerMalformed(error, peer, options).then(answer => closeWith(socket, rawAnswer(answer)))
  })

  return {
    accept,
    drain() {
      isDraining = true
      for (const [socket, { pending, isReading }] of connections) if (pending === 0 && !isReading) socket.destroy()
    },
    destroy() {
      isDraining = true
      for (const socket of [...connections.keys()]) socket.destroy()
    },
  }
}

const NOTHING = () => {}

interface ClientError extends Error {
  readonly code?: string
  readonly rawPacket?: Buffer
}

/** What an unknown RPC gets: status 12 in the head, no message (spec/gateway.md §8.3). */
const UNKNOWN_RPC: HttpAnswer = emptyAnswer(200, { 'content-type': 'application/grpc', 'grpc-status': '12' })

const isGrpc = (request: IncomingMessage): boolean =>
  request.headers['content-type']?.startsWith('application/grpc') ?? false

const refuseUpgrade = (request: IncomingMessage, peer: Peer): HttpAnswer | null =>
  refuseHead(request) ?? refuseWebSocket(headOf(request, peer))

/** Heads the parser lets pass although they are over a limit or can be read in two ways (F-11). */
function refuseHead(request: IncomingMessage): HttpAnswer | null {
  const { rawHeaders, headers, httpVersion } = request
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return emptyAnswer(400)
  if (rawHeaders.length / 2 > LIMITS.httpHeaders) return emptyAnswer(431)
  if ((request.url ?? '').length > LIMITS.httpTargetBytes) return emptyAnswer(414)
  const encoding = headers['transfer-encoding']
  if (encoding !== undefined && (encoding.toLowerCase() !== 'chunked' || httpVersion === '1.0')) return emptyAnswer(400)
  return repeats(rawHeaders, 'host') || repeats(rawHeaders, 'content-length') ? emptyAnswer(400) : null
}

function repeats(rawHeaders: readonly string[], name: string): boolean {
  let seen = 0
  for (let at = 0; at < rawHeaders.length; at += 2) if (rawHeaders[at]?.toLowerCase() === name) seen++
  return seen > 1
}

const versionOf = (request: IncomingMessage) => (request.httpVersion === '1.0' ? '1.0' : '1.1')

function headOf(request: IncomingMessage, peer: Peer): RequestHead {
  return {
    method: request.method ?? '',
    path: request.url ?? '',
    headers: request.headers,
    version: versionOf(request),
    peerAddress: peer.address,
  }
}

/** The parser knows a fixed list of methods; any other token is a method too and gets the route's own answer. */
async function answerMalformed(error: ClientError, peer: Peer, options: HttpFrontOptions): Promise<HttpAnswer> {
  if (error.code === 'HPE_HEADER_OVERFLOW') return emptyAnswer(431)
  if (error.code !== 'HPE_INVALID_METHOD') return emptyAnswer(400)
  const line = /^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}) (\/[!-~]*) HTTP\/1\.1\r\n/.exec(
    error.rawPacket?.toString('latin1') ?? '',
  )
  const [, method, path] = line ?? []
  if (method === undefined || path === undefined) return emptyAnswer(400)
  const head: RequestHead = { method, path, headers: {}, version: '1.1', peerAddress: peer.address }
  const answer = await options.routes.answerRoute(head)
  options.observe(path, answer.status, 0)
  return answer
}
