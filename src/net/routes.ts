import type { RouteRow } from '../auth/routes.ts'
import type { AuthPages } from './auth-pages.ts'
import { emptyAnswer, firstValue, type HttpAnswer, type RequestHead, textAnswer, withoutBody } from './http-answer.ts'

/** Answers every request that is neither gRPC nor taken over by a tunnel hook. */
export interface Routes {
  /** The whole answer, 404 included; never throws. Serves HTTP/1.1 and HTTP/2 alike. */
  answerRoute(request: RequestHead): HttpAnswer
  /** What a `CONNECT` target is for: the tunnel hook's, or null = answer it like any request. */
  isSshTunnel(request: RequestHead): boolean
  isWebSocketPath(target: string): boolean
}

export function createRoutes(rows: readonly RouteRow[], pages: AuthPages): Routes {
  const byPath = new Map(rows.map(row => [row.path, row]))
  const find = (target: string) => byPath.get(pathOf(target))
  return {
    isSshTunnel: request => request.method === 'CONNECT' && find(request.path)?.serves === 'ssh-tunnel',
    isWebSocketPath: target => find(target)?.serves === 'ws-tunnel',
    answerRoute(request) {
      const row = find(request.path)
      if (row === undefined) return emptyAnswer(404)
      if (!row.methods.includes(request.method)) return emptyAnswer(405, row.allow === null ? {} : { allow: row.allow })
      const answer = answerRow(row, request, pages)
      return request.method === 'HEAD' ? withoutBody(answer) : answer
    },
  }
}

function answerRow(row: RouteRow, request: RequestHead, pages: AuthPages): HttpAnswer {
  switch (row.serves) {
    case 'connect-page':
      return pages.connect(request)
    case 'oidc-config':
      return pages.oidcConfig()
    case 'alive':
      return emptyAnswer(200)
    case 'ssh-tunnel':
      return emptyAnswer(405)
    case 'ws-tunnel':
      return refuseWebSocket(request) ?? emptyAnswer(404)
  }
}

/**
 * Why a request of the WebSocket path is no upgrade, in the order of spec/gateway.md §11.1; null = it is one and
 * belongs to the hook.
 */
export function refuseWebSocket(request: RequestHead): HttpAnswer | null {
  const { headers } = request
  const refuse = (status: number, text: string) => textAnswer(status, 'text/plain; charset=utf-8', text)
  if (request.version === '2.0') return refuse(405, 'WebSocket tunnels need HTTP/1.1')
  if (request.method !== 'GET') return refuse(405, 'Request method must be `GET`')
  if (!has(headers.connection, 'upgrade')) return refuse(400, "Connection header did not include 'upgrade'")
  if (headers.upgrade?.toLowerCase() !== 'websocket') return refuse(400, "Upgrade header did not include 'websocket'")
  if (headers['sec-websocket-key'] === undefined) return refuse(400, 'Sec-WebSocket-Key header missing')
  if (headers['sec-websocket-version'] !== '13') return refuse(400, "Sec-WebSocket-Version header did not include '13'")
  if (request.version === '1.0') return refuse(426, "WebSocket request couldn't be upgraded over HTTP/1.0")
  if (isForeignOrigin(request)) return refuse(403, 'Origin is not this gateway')
  return null
}

const has = (header: string | undefined, word: string): boolean => header?.toLowerCase().includes(word) ?? false

/** A browser names the page that opens a tunnel; only pages of this very host may (spec/gateway.md §11.1 [B]). */
function isForeignOrigin(request: RequestHead): boolean {
  const origin = firstValue(request.headers.origin)
  if (origin === undefined) return false
  const host = request.headers.host
  return host === undefined || !URL.canParse(origin) || new URL(origin).host !== host.toLowerCase()
}

/** Path and query of a target, of an absolute-form one too. Nothing is decoded or normalized. */
export function originForm(target: string): string {
  const rest = target.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?#]*/, '')
  return rest === target || rest.startsWith('/') ? rest : `/${rest}`
}

/** The path of a target without its query. */
export const pathOf = (target: string): string => originForm(target).split(/[?#]/, 1)[0]!
