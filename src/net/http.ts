import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { Peer } from '../rpc/context.ts'
import { closeWith } from './close-with.ts'
import { emptyAnswer, type HttpAnswer, type RequestHead, rawAnswer } from './http-answer.ts'
import { HttpConnections } from './http-connections.ts'
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
  /** A request with a gRPC content type over HTTP/1.1. Absent: it is a request like any other. */
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

export function createHttpFront(options: HttpFrontOptions): HttpFront {
  return new Front(options)
}

class Front implements HttpFront {
  readonly #options: HttpFrontOptions
  readonly #connections: HttpConnections
  readonly #server: Server
  /** Times a connection came back from a refused CONNECT: the library keeps something for each. */
  readonly #returns = new WeakMap<Duplex, number>()

  constructor(options: HttpFrontOptions) {
    this.#options = options
    this.#connections = new HttpConnections(options.clock)
    this.#server = createServer(
      {
        // The reference asks for no Host (spec/gateway.md §8.2).
        requireHostHeader: false,
        maxHeaderSize: LIMITS.httpHeadBytes,
        shouldUpgradeCallback: request => this.#isTunnelUpgrade(request),
      },
      (request, response) => this.#onRequest(request, response),
    )
    // The library's own timers do not run for sockets handed over (M12); those of HttpConnections do.
    Object.assign(this.#server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 })
    // The surplus is refused by refuseHead; the library would drop it silently.
    this.#server.maxHeadersCount = 0
    this.#server.on('connect', (request: IncomingMessage, socket: Duplex, early: Buffer) =>
      this.#onConnect(request, socket, early),
    )
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const connection = this.#connections.release(socket)
      if (connection === undefined) socket.destroy()
      else options.hooks.onWebSocket(request, socket, head, connection.peer)
    })
    this.#server.on('clientError', (error: ClientError, socket: Duplex) => this.#onMalformed(error, socket))
  }

  accept(socket: Duplex, peer: Peer, firstMs: number, onFirst: () => void = () => {}): void {
    this.#server.emit('connection', socket)
    this.#connections.add(socket, peer, firstMs, onFirst)
  }

  drain(): void {
    this.#connections.drain()
  }

  destroy(): void {
    this.#connections.destroy()
  }

  #isTunnelUpgrade(request: IncomingMessage): boolean {
    const peer = this.#connections.get(request.socket)?.peer
    if (peer === undefined || !this.#options.routes.isWebSocketPath(request.url ?? '')) return false
    return refuseHead(request) === null && refuseWebSocket(headOf(request, peer)) === null
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    const { hooks, routes, clock, observe } = this.#options
    const peer = this.#connections.get(socket)?.peer
    if (peer === undefined) return void socket.destroy()
    const startedMs = clock.monotonicMs()
    const isThrough = this.#connections.begin(socket)
    request.once('close', isThrough)
    response.once('close', isThrough)
    const refusal = refuseHead(request)
    if (refusal === null && isGrpc(request) && hooks.onGrpc) {
      this.#connections.suspend(socket)
      return hooks.onGrpc(request, response, peer)
    }
    request.resume()
    const send = (answer: HttpAnswer) => {
      observe(request.url ?? '', answer.status, (clock.monotonicMs() - startedMs) / 1000)
      if (refusal !== null || request.httpVersion === '1.0') {
        return this.#close(socket, rawAnswer(answer, versionOf(request)))
      }
      if (this.#connections.isDraining) response.setHeader('connection', 'close')
      response.writeHead(answer.status, answer.headers).end(answer.body)
    }
    const answer = refusal ?? routes.answerRoute(headOf(request, peer))
    if (answer instanceof Promise) void answer.then(send)
    else send(answer)
  }

  #onConnect(request: IncomingMessage, socket: Duplex, early: Buffer): void {
    const { hooks, routes, observe } = this.#options
    const peer = this.#connections.release(socket)?.peer
    if (peer === undefined) return void socket.destroy()
    const refuse = (answer: HttpAnswer) => {
      observe(request.url ?? '', answer.status, 0)
      this.#answerConnect(request, socket, early, peer, answer)
    }
    const refusal = refuseHead(request)
    if (refusal !== null) return this.#close(socket, rawAnswer(refusal))
    const head = headOf(request, peer)
    if (routes.isSshTunnel(head)) hooks.onConnect(request, socket, early, peer, refuse)
    else void Promise.resolve(routes.answerRoute(head)).then(refuse)
  }

  /** Answers a CONNECT that became no tunnel and takes the connection back. */
  #answerConnect(request: IncomingMessage, socket: Duplex, early: Buffer, peer: Peer, answer: HttpAnswer): void {
    const returns = (this.#returns.get(socket) ?? 0) + 1
    this.#returns.set(socket, returns)
    const isLast = returns > LIMITS.httpRefusedConnects || request.httpVersion === '1.0'
    if (isLast || this.#connections.isDraining) {
      return this.#close(socket, rawAnswer(answer, versionOf(request)))
    }
    // The library listens anew at each return, and would warn of it past our log; `isLast` is the bound.
    socket.setMaxListeners(0)
    socket.write(rawAnswer(answer, '1.1', false))
    if (early.length > 0) socket.unshift(early)
    this.accept(socket, peer, LIMITS.httpIdleMs)
    socket.resume()
  }

  #onMalformed(error: ClientError, socket: Duplex): void {
    const peer = this.#connections.get(socket)?.peer
    if (peer === undefined || !socket.writable) return void socket.destroy()
    void answerMalformed(error, peer, this.#options).then(answer => this.#close(socket, rawAnswer(answer)))
  }

  #close(socket: Duplex, words: string): void {
    closeWith(socket, words, this.#options.clock)
  }
}

interface ClientError extends Error {
  readonly code?: string
  readonly rawPacket?: Buffer
}

const isGrpc = (request: IncomingMessage): boolean =>
  request.headers['content-type']?.startsWith('application/grpc') ?? false

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
