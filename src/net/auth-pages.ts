import { randomUUID } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { connectPage, invalidCodePage, waitingPage } from './auth-pages-html.ts'
import { emptyAnswer, firstValue, type HttpAnswer, type RequestHead, textAnswer } from './http-answer.ts'

/** What the pages need to know of the configuration. */
export interface AuthPagesOptions {
  /** Null = OIDC off: `/auth/oidc-config` is 404. */
  readonly oidc: { readonly issuer: string; readonly audience: string } | null
  /** False = `/auth/connect` is 404 (`--disable-edge-login`). */
  readonly edgeLogin: boolean
  /** Addresses or `address/bits` whose `x-forwarded-host` is believed (auth weak spot A-13). */
  readonly trustedProxies: readonly string[]
  /** The name of last resort, `address:port`; asked for at each request because the port may be chosen by the kernel. */
  readonly bindAddress: () => string
  readonly version: string
  readonly clock?: Clock
}

/** The two `/auth/*` routes (spec/auth.md §7), GET and HEAD alike. */
export interface AuthPages {
  connect(request: RequestHead): HttpAnswer
  oidcConfig(): HttpAnswer
}

const HTML = 'text/html; charset=utf-8'

export function createAuthPages(options: AuthPagesOptions): AuthPages {
  const trusted = proxyList(options.trustedProxies)
  const waiting = createWaitingRounds(options.clock ?? systemClock)
  const config = options.oidc && JSON.stringify({ audience: options.oidc.audience, issuer: options.oidc.issuer })
  return {
    oidcConfig: () =>
      config === null ? emptyAnswer(404) : textAnswer(200, 'application/json', config, { 'cache-control': 'no-store' }),
    connect(request) {
      if (!options.edgeLogin) return emptyAnswer(404)
      const destination = firstValue(request.headers['sec-fetch-dest'])
      if (destination !== undefined && destination !== 'document') return emptyAnswer(403, PAGE_HEADERS)
      const query = parseConnectQuery(request.path)
      if ('problem' in query) {
        return textAnswer(400, 'text/plain; charset=utf-8', query.problem, { ...PAGE_HEADERS })
      }
      if (!isValidCode(query.code)) return textAnswer(400, HTML, invalidCodePage(), page(STYLE_ONLY))
      const token = extractCookie(request.headers.cookie, 'CF_Authorization')
      if (token === null) {
        const again = waiting.again(`${request.peerAddress} ${query.port} ${query.code}`)
        return textAnswer(200, HTML, waitingPage(query.port, query.code, again), page(STYLE_ONLY))
      }
      const nonce = randomUUID()
      const gateway = gatewayName(request, trusted, options.bindAddress())
      const html = connectPage({ token, code: query.code, port: query.port, gateway, version: options.version, nonce })
      return textAnswer(200, HTML, html, page(scriptPolicy(nonce, query.port)))
    },
  }
}

/** Of every page: not cached, not framed, not sniffed, not referred from (spec/auth.md §7.2 [B]). */
const PAGE_HEADERS = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
}

const LOCKED = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
const STYLE_ONLY = `default-src 'none'; style-src 'unsafe-inline'; ${LOCKED}`

const scriptPolicy = (nonce: string, port: number): string =>
  `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'unsafe-inline'; connect-src http://127.0.0.1:${port}; ${LOCKED}`

const page = (policy: string) => ({ ...PAGE_HEADERS, 'content-security-policy': policy })

/** Three and four of `[A-Z0-9]` with a dash between: what the command line tool makes up (spec/auth.md §7.3). */
export function isValidCode(code: string): boolean {
  return /^[A-Z0-9]{3}-[A-Z0-9]{4}$/.test(code) && code.length === 8
}

/**
 * The value of cookie `name`, verbatim; the first one counts, even when empty. Null when absent, or when the header
 * has an octet that is neither printable ASCII nor a tab.
 */
export function extractCookie(header: string | undefined, name: string): string | null {
  if (header === undefined || !/^[\t\x20-\x7e]*$/.test(header)) return null
  for (const entry of header.split(';')) {
    const equals = entry.indexOf('=')
    if (equals >= 0 && entry.slice(0, equals).trim() === name) return entry.slice(equals + 1).trim()
  }
  return null
}

const QUERY_PROBLEM = 'Failed to deserialize query string: '

/** `callback_port` and `code` of the page's query, or the sentence to answer with; the wording is the reference's. */
export function parseConnectQuery(target: string): { port: number; code: string } | { problem: string } {
  const mark = target.indexOf('?')
  const found: { callback_port?: number; code?: string } = {}
  for (const pair of mark < 0 ? [] : target.slice(mark + 1).split('&')) {
    const equals = pair.indexOf('=')
    const key = decodeQuery(equals < 0 ? pair : pair.slice(0, equals))
    if (key !== 'callback_port' && key !== 'code') continue
    if (found[key] !== undefined) return { problem: `${QUERY_PROBLEM}duplicate field \`${key}\`` }
    const value = equals < 0 ? '' : decodeQuery(pair.slice(equals + 1))
    if (key === 'code') {
      found.code = value
      continue
    }
    const port = parsePort(value)
    if (typeof port === 'string') return { problem: `${QUERY_PROBLEM}callback_port: ${port}` }
    found.callback_port = port
  }
  if (found.callback_port === undefined) return { problem: `${QUERY_PROBLEM}missing field \`callback_port\`` }
  if (found.code === undefined) return { problem: `${QUERY_PROBLEM}missing field \`code\`` }
  return { port: found.callback_port, code: found.code }
}

/** Form decoding that never fails: what is no escape stays as it is, what is no UTF-8 becomes U+FFFD. */
function decodeQuery(text: string): string {
  const plus = text.replaceAll('+', ' ')
  if (!plus.includes('%')) return plus
  const bytes = Buffer.from(plus, 'utf8').toString('latin1')
  const decoded = bytes.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(decoded, 'latin1').toString('utf8')
}

const PORT_MOST = 65_535
/** Below are the ports of system services: no command line tool listens there. */
const PORT_LEAST = 1024

/** The port, or what is wrong with it in the words of the reference. */
function parsePort(text: string): number | string {
  if (text === '') return 'cannot parse integer from empty string'
  const digits = text.startsWith('+') && text.length > 1 ? text.slice(1) : text
  let port = 0
  for (const character of digits) {
    if (character < '0' || character > '9') return 'invalid digit found in string'
    port = port * 10 + Number(character)
    if (port > PORT_MOST) return 'number too large to fit in target type'
  }
  return port < PORT_LEAST ? `${port} is not in ${PORT_LEAST}..=${PORT_MOST}` : port
}

function gatewayName(request: RequestHead, trusted: BlockList, bindAddress: string): string {
  const { headers } = request
  const forwarded = isListed(trusted, request.peerAddress) ? firstValue(headers['x-forwarded-host']) : undefined
  const name = forwarded ?? headers[':authority'] ?? headers.host
  return name !== undefined && /^[\t\x20-\x7e]*$/.test(name) ? name : bindAddress
}

function proxyList(entries: readonly string[]): BlockList {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (isIP(address) === 0) continue
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}

const isListed = (list: BlockList, address: string): boolean =>
  isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')

/** Counts the reloads of each waiting page, so that a forgotten browser tab does not reload for ever. */
function createWaitingRounds(clock: Clock) {
  const rounds = new Map<string, { count: number; sinceMs: number }>()
  return {
    /** Whether the page under `key` may reload itself once more. */
    again(key: string): boolean {
      const now = clock.monotonicMs()
      const known = rounds.get(key)
      const round = known && now - known.sinceMs < LIMITS.waitingPageMs ? known : { count: 0, sinceMs: now }
      round.count++
      rounds.delete(key)
      rounds.set(key, round)
      for (const oldest of rounds.keys()) {
        if (rounds.size <= LIMITS.waitingPages) break
        rounds.delete(oldest)
      }
      return round.count <= LIMITS.waitingPageRounds
    },
  }
}
