import type { IncomingHttpHeaders } from 'node:http'

/** The head of a request as both HTTP versions deliver it. Bodies are never read by our own routes. */
export interface RequestHead {
  readonly method: string
  /** The request target as received: path and query, or absolute form. */
  readonly path: string
  /** Lower-case names; over HTTP/2 with the pseudo-headers, of which only `:authority` is read. */
  readonly headers: IncomingHttpHeaders & { readonly ':authority'?: string | undefined }
  readonly version: '1.0' | '1.1' | '2.0'
  /** Address of the connection's other end (A-16: nothing else tells where a request comes from). */
  readonly peerAddress: string
}

/** A complete answer. `body` is empty for HEAD while `content-length` still tells the length of the GET answer. */
export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** An answer without a body, as most refusals are (spec/gateway.md §9). */
export function emptyAnswer(status: number, headers: Readonly<Record<string, string>> = {}): HttpAnswer {
  return { status, headers: { ...headers, 'content-length': '0' }, body: '' }
}

/** An answer with a text body. */
export function textAnswer(
  status: number,
  type: string,
  body: string,
  headers: Record<string, string> = {},
): HttpAnswer {
  return {
    status,
    headers: { 'content-type': type, 'content-length': String(Buffer.byteLength(body)), ...headers },
    body,
  }
}

/** The same answer as HEAD gets it. */
export function withoutBody(answer: HttpAnswer): HttpAnswer {
  return { ...answer, body: '' }
}

/** A header of which the first counts when a client sends it several times. */
export function firstValue(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value[0]
}

const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  412: 'Precondition Failed',
  414: 'URI Too Long',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
}

/**
 * An answer as octets, for sockets that no HTTP server writes on any more. The headers come from our own tables,
 * never from a client, so nothing here can split the head.
 */
export function rawAnswer(answer: HttpAnswer, version: '1.0' | '1.1' = '1.1', close = true): string {
  const head = [`HTTP/${version} ${answer.status} ${REASONS[answer.status] ?? 'Unknown'}`]
  for (const [name, value] of Object.entries(answer.headers)) head.push(`${name}: ${value}`)
  if (close) head.push('connection: close')
  return `${head.join('\r\n')}\r\n\r\n${answer.body}`
}
