import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Readiness } from '../observe/readiness.ts'
import { ifThere } from '../rpc/gone-stream.ts'
import { capSidePort } from './connection-table.ts'
import { createHttpFront } from './http.ts'
import { emptyAnswer, type HttpAnswer, type RequestHead, textAnswer, withoutBody } from './http-answer.ts'
import { createListener } from './listener.ts'
import { pathOf } from './routes.ts'

/** What a side port answers: GET and HEAD of exact paths (spec/gateway.md §11.2, §11.3). */
export type SideRoutes = Readonly<Record<string, () => Promise<HttpAnswer>>>

/** `/health`, `/healthz`: the process lives. `/readyz`: it can serve, with the state of each part (C-13, decision 24). */
export function healthRoutes(version: string, readiness: () => Promise<Readiness>): SideRoutes {
  const alive = async () => emptyAnswer(200)
  return {
    '/health': alive,
    '/healthz': alive,
    '/readyz': async () => {
      const { ready, checks } = await readiness()
      const body = JSON.stringify({ status: ready ? 'healthy' : 'unhealthy', version, checks })
      return textAnswer(ready ? 200 : 503, 'application/json', body, { 'cache-control': 'no-store' })
    },
  }
}

/** `/metrics` in the Prometheus text format. */
export function metricsRoutes(render: () => Promise<string>): SideRoutes {
  return { '/metrics': async () => textAnswer(200, 'text/plain; charset=utf-8', await render()) }
}

/** Answers one request of a side port. Never throws. */
export async function answerSide(
  routes: SideRoutes,
  request: Pick<RequestHead, 'method' | 'path'>,
): Promise<HttpAnswer> {
  const path = pathOf(request.path)
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (route === undefined) return emptyAnswer(404)
  if (request.method !== 'GET' && request.method !== 'HEAD') return emptyAnswer(405, { allow: 'GET,HEAD' })
  try {
    const answer = await route()
    return request.method === 'HEAD' ? withoutBody(answer) : answer
  } catch {
    return emptyAnswer(500)
  }
}

export interface SidePortOptions {
  readonly host: string
  readonly port: number
  /** As in the sentence of a failed start: `health port` or `metrics port`. */
  readonly what: 'health port' | 'metrics port'
  readonly routes: SideRoutes
  readonly log: Logger
  readonly clock?: Clock
}

export interface SidePort {
  listen(): Promise<AddressInfo>
  address(): AddressInfo | null
  close(): void
}

/** A plaintext listener without authentication for probes and scrapers: HTTP/1.x and HTTP/2 with prior knowledge (O-05). */
export function createSidePort(options: SidePortOptions): SidePort {
  const { routes, log } = options
  const clock = options.clock ?? systemClock
  const http = createHttpFront({
    routes: {
      answerRoute: request => answerSide(routes, request),
      isSshTunnel: () => false,
      isWebSocketPath: () => false,
    },
    hooks: { onConnect: (_, socket) => socket.destroy(), onWebSocket: (_, socket) => socket.destroy() },
    clock,
    observe: () => {},
  })
  const http2 = createHttp2Server({ settings: { maxConcurrentStreams: LIMITS.sideStreams } }, (request, response) => {
    response.on('error', () => {})
    void answerSide(routes, { method: request.method, path: request.url }).then(answer => {
      ifThere(response.stream, () => response.writeHead(answer.status, answer.headers).end(answer.body))
    })
  })
  http2.on('session', session => session.on('error', () => {}))
  const listener = createListener(
    {
      ...{ host: options.host, port: options.port, what: options.what, log, clock },
      tls: null,
      maxConnections: capSidePort(),
      maxConnectionsPerAddress: 0,
      nobodyProves: true,
    },
    { http, onHttp2: socket => void http2.emit('connection', socket) },
  )
  return { listen: () => listener.listen(), address: () => listener.address(), close: () => listener.destroy() }
}
