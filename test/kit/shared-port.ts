import { createServer, type Http2Server } from 'node:http2'
import { ROUTES } from '../../src/auth/routes.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { createAuthPages } from '../../src/net/auth-pages.ts'
import { createHttpFront, type HttpHooks } from '../../src/net/http.ts'
import { createListener, type Listener } from '../../src/net/listener.ts'
import type { MeteredSocket } from '../../src/net/metered-socket.ts'
import { createRoutes } from '../../src/net/routes.ts'
import type { TlsTermination } from '../../src/net/tls.ts'
import type { Logger } from '../../src/observe/log.ts'
import type { Peer } from '../../src/rpc/context.ts'

/** A shared port as the gateway builds it, with a trivial HTTP/2 service: every stream is answered 200 and echoed. */
export interface SharedPortKit extends AsyncDisposable {
  readonly listener: Listener
  readonly port: number
  readonly http2: Http2Server
  /** Peers of HTTP/2 connections in order of arrival. */
  readonly peers: Peer[]
  readonly sockets: MeteredSocket[]
  /** Reasons of connections that were refused or cut. */
  readonly refused: string[]
  readonly observed: Array<[target: string, status: number]>
}

export interface SharedPortKitOptions {
  readonly hooks?: Partial<HttpHooks>
  readonly tls?: TlsTermination
  readonly maxConnections?: number
  readonly maxConnectionsPerAddress?: number
  readonly clock?: Clock
  readonly isAuthenticated?: boolean
}

export const SILENT: Logger = {
  log() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => SILENT,
}

export async function openSharedPort(options: SharedPortKitOptions = {}): Promise<SharedPortKit> {
  const clock = options.clock ?? systemClock
  const refused: string[] = []
  const observed: Array<[string, number]> = []
  const peers: Peer[] = []
  const sockets: MeteredSocket[] = []
  const pages = createAuthPages({
    oidc: { issuer: 'https://issuer.test/realms/openshell', audience: 'openshell-cli' },
    edgeLogin: true,
    trustedProxies: [],
    bindAddress: () => '0.0.0.0:8080',
    version: '1.2.3',
  })
  const http = createHttpFront({
    routes: createRoutes(ROUTES, pages),
    clock,
    observe: (target, status) => observed.push([target, status]),
    hooks: {
      onConnect: (_request, _socket, _head, _peer, refuse) =>
        refuse({ status: 401, headers: { 'content-length': '0' }, body: '' }),
      onWebSocket: (_request, socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
      ...options.hooks,
    },
  })
  const http2 = createServer({ settings: { maxConcurrentStreams: 200 } }, (request, response) => {
    response.on('error', () => {})
    response.writeHead(200)
    request.pipe(response)
  })
  http2.on('sessionError', () => {})
  const listener = createListener(
    {
      ...{ host: '127.0.0.1', port: 0, what: 'to', log: SILENT, clock },
      tls: options.tls ?? null,
      maxConnections: options.maxConnections ?? 4096,
      maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? 0,
    },
    {
      http,
      onHttp2(socket, peer) {
        peers.push(peer)
        sockets.push(socket)
        if (options.isAuthenticated) socket.meter.authenticated()
        http2.emit('connection', socket)
      },
      onRefused: reason => refused.push(reason),
    },
  )
  const { port } = await listener.listen()
  return {
    ...{ listener, port, http2, peers, sockets, refused, observed },
    async [Symbol.asyncDispose]() {
      listener.destroy()
    },
  }
}
