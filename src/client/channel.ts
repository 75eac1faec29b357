import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import { connect as connectTcp, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { type Clock, systemClock } from '../base/clock.ts'
import { osErrorText } from '../base/os-error.ts'
import { printable } from '../config/problems.ts'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

/** TLS material of a client in PEM: the authorities it trusts, and the certificate it shows. */
export interface ClientTls {
  /** Absent = what the runtime trusts. */
  readonly ca?: Buffer | string | string[]
  readonly cert?: Buffer | string
  readonly key?: Buffer | string
  /** Takes any certificate; only for asking a process of this machine whether it is well. */
  readonly rejectUnauthorized?: false
}

/** Where a gateway is and how to reach it. */
export interface Endpoint {
  readonly url: URL
  readonly tls: ClientTls
  /** Makes connections in another way than straight to the URL; they carry the protocol in plain. */
  readonly dial?: () => Promise<Duplex>
}

/** A URL of a gateway: http or https, host and port, nothing behind. Throws a `ClientFailure` that says what is wrong. */
export function parseEndpoint(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (parsed === null || parsed.host === '')
    throw new ClientFailure('usage', `not a URL of a gateway: '${printable(url)}'`)
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
    throw new ClientFailure('usage', `a gateway has an http:// or https:// URL, not '${printable(url)}'`)
  if (parsed.username !== '' || parsed.password !== '' || parsed.search !== '' || parsed.hash !== '')
    throw new ClientFailure('usage', 'the URL of a gateway has no user, password, query or fragment')
  return parsed
}

/** The endpoint of a URL, with the files that `OPENSHELL_TLS_CA`, `_CERT` and `_KEY` name. Throws a sentence. */
export function readEndpoint(url: string, env: Readonly<Record<string, string | undefined>>): Endpoint {
  const parsed = parseEndpoint(url)
  const file = (name: string) => (env[name] ? { [name]: readFileSync(env[name]) } : {})
  const files: Record<string, Buffer> = {
    ...file('OPENSHELL_TLS_CA'),
    ...file('OPENSHELL_TLS_CERT'),
    ...file('OPENSHELL_TLS_KEY'),
  }
  const tls = {
    ...(files['OPENSHELL_TLS_CA'] ? { ca: files['OPENSHELL_TLS_CA'] } : {}),
    ...(files['OPENSHELL_TLS_CERT'] ? { cert: files['OPENSHELL_TLS_CERT'] } : {}),
    ...(files['OPENSHELL_TLS_KEY'] ? { key: files['OPENSHELL_TLS_KEY'] } : {}),
  }
  return { url: parsed, tls }
}

const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '')
const portOf = (url: URL): number => Number(url.port || (url.protocol === 'https:' ? 443 : 80))

/** Errors of a handshake that a person can mend, and how. */
const HANDSHAKE_HINTS: readonly (readonly [RegExp, string])[] = [
  [
    /SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED/,
    'its certificate is not from an authority this machine trusts; name that authority with --ca',
  ],
  [/CERT_HAS_EXPIRED/, 'its certificate, or that of its authority, has expired'],
  [/CERT_NOT_YET_VALID/, 'its certificate is not valid yet; is the clock of this machine right?'],
  [/ALTNAME|HOSTNAME/, 'its certificate is for another name'],
  [/CERTIFICATE_REQUIRED/, 'it wants a client certificate; name one with --cert and --key'],
  [/ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_)/, 'it does not take the client certificate'],
  [/WRONG_VERSION|HTTP_REQUEST|PACKET_LENGTH/, 'it does not speak TLS; is the URL one with http:// ?'],
]

/** Why a connection did not come about, in words. */
function dialFault(error: unknown): string {
  if (typeof error === 'string') return error
  const code = String((error as { code?: unknown }).code ?? '')
  const hint = HANDSHAKE_HINTS.find(([pattern]) => pattern.test(code))
  if (hint) return `${hint[1]} (${code})`
  const text = osErrorText(error)
  return text === '' ? code || 'connection failed' : text
}

/** A connection, plain or TLS as the scheme says, with TCP_NODELAY. Rejects with a `ClientFailure` after `dialMs`. */
export function dial(endpoint: Endpoint, alpn: readonly string[] = []): Promise<Duplex> {
  const { url, tls } = endpoint
  if (endpoint.dial) return endpoint.dial()
  const target = { host: hostOf(url), port: portOf(url), allowHalfOpen: true }
  const secure = url.protocol === 'https:'
  const servername = isIP(target.host) ? {} : { servername: target.host }
  return new Promise((resolve, reject) => {
    const socket = secure
      ? connectTls({ ...target, ...tls, ...servername, ALPNProtocols: [...alpn] })
      : connectTcp(target)
    const fail = (error: unknown) => {
      clearTimeout(timer)
      socket.destroy()
      reject(new ClientFailure('unreachable', `cannot reach ${url.origin}: ${dialFault(error)}`, { cause: error }))
    }
    const timer = setTimeout(() => fail('timed out'), LIMITS.dialMs)
    socket.once('error', fail)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer)
      socket.off('error', fail)
      socket.setNoDelay(true)
      resolve(socket)
    })
  })
}

/** Why connections broke that had come about: with TLS 1.3 a gateway judges the client's certificate only then. */
const faults = new WeakMap<http2.Http2Session, { text: string | null }>()

/** Why the connection of a session broke off, in words; null when it is not known. */
export const faultOf = (session: http2.Http2Session | undefined): string | null =>
  (session && faults.get(session)?.text) ?? null

/** Some TLS libraries judge a certificate when the handshake is over, and have no words for it then. */
const MUTE_WITH_CERTIFICATE = 'it hung up without a word, as those do that do not take the client certificate'

/** Ends a session whose other side is gone without a word: what waits for it would wait for ever. */
export function watchPeer(
  session: Pick<http2.ClientHttp2Session, 'destroyed' | 'ping' | 'destroy'>,
  onGone: (why: string) => void,
  clock: Pick<Clock, 'after'> = systemClock,
): void {
  let unanswered = 0
  const look = () => {
    if (session.destroyed) return
    // The first answer may wait to be read: after a pause of the whole machine timers run before sockets.
    if (unanswered > 1) {
      onGone('it no longer answers')
      return session.destroy()
    }
    unanswered++
    session.ping(() => {
      unanswered = 0
    })
    clock.after(LIMITS.keepaliveMs, look)
  }
  clock.after(LIMITS.keepaliveMs, look)
}

/** An HTTP/2 session over a connection of its own, with windows wide enough for bulk data. */
export async function openSession(endpoint: Endpoint): Promise<http2.ClientHttp2Session> {
  const socket = await dial(endpoint, ['h2'])
  // The session tells that something goes wrong while it lives, and `faultOf` what; afterwards nobody needs to know.
  const fault: { text: string | null } = { text: null }
  socket.on('error', error => {
    fault.text ??= dialFault(error)
  })
  const session = http2.connect(endpoint.dial ? `http://${endpoint.url.host}` : endpoint.url.origin, {
    createConnection: () => socket,
    settings: { initialWindowSize: LIMITS.windowBytes, enablePush: false },
  })
  session.on('error', () => {})
  let isHeard = false
  session.once('remoteSettings', () => {
    isHeard = true
  })
  // Half-open suits a tunnel; HTTP/2 has nothing to say to an end that says nothing more, and would not notice.
  socket.once('end', () => {
    if (!isHeard) fault.text ??= endpoint.tls.cert ? MUTE_WITH_CERTIFICATE : 'it hung up without a word'
    socket.destroy()
  })
  faults.set(session, fault)
  watchPeer(session, why => {
    fault.text ??= why
  })
  await new Promise<void>((resolve, reject) => {
    session.once('connect', () => resolve())
    session.once('close', () =>
      reject(
        new ClientFailure('unreachable', `cannot reach ${endpoint.url.origin}: ${fault.text ?? 'connection closed'}`),
      ),
    )
  })
  session.setLocalWindowSize(LIMITS.windowBytes)
  return session
}
