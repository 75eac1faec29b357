import http from 'node:http'
import https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

/** A signing key with the public form an issuer publishes. */
export interface SigningKey {
  readonly kid: string
  readonly alg: string
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
  readonly jwk: JWK
}

/** An answer of the issuer that replaces the honest one; a function owns the response from its first byte on. */
export type Page =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown }
  | ((request: http.IncomingMessage, response: http.ServerResponse) => void)

export interface TokenOptions {
  readonly key?: SigningKey
  readonly header?: Readonly<Record<string, unknown>>
  /** Members given as undefined are left out. */
  readonly claims?: Readonly<Record<string, unknown>>
  readonly nowMs?: number
}

/** An issuer on a port of its own that answers honestly until told otherwise. */
export interface FakeIssuer {
  readonly url: string
  readonly origin: string
  /** Requests so far, by document. */
  readonly hits: { discovery: number; jwks: number; other: number }
  /** Connections that are open now. */
  readonly sockets: ReadonlySet<Socket>
  /** Published keys; replace to rotate. */
  keys: readonly JWK[]
  pages: { discovery?: Page | undefined; jwks?: Page | undefined }
  /** A token of this issuer: role openshell-user, one hour, `aud` openshell-cli, unless told otherwise. */
  token(options?: TokenOptions): Promise<string>
  close(): Promise<void>
}

const keyCache = new Map<string, Promise<SigningKey>>()

/** A key pair made once for each id and algorithm of a test run. */
export function signingKey(kid: string, alg = 'RS256', modulusLength = 2048): Promise<SigningKey> {
  const name = `${kid} ${alg} ${modulusLength}`
  const made = keyCache.get(name) ?? makeKey(kid, alg, modulusLength)
  keyCache.set(name, made)
  return made
}

async function makeKey(kid: string, alg: string, modulusLength: number): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength })
  return { kid, alg, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

const PATHS: Readonly<Record<string, 'discovery' | 'jwks'>> = {
  '/realms/openshell/.well-known/openid-configuration': 'discovery',
  '/realms/openshell/certs': 'jwks',
}

/** Starts an issuer on a loopback port, one that the kernel chooses unless given. `tls` makes it speak https. */
export async function startIssuer(key: SigningKey, tls?: { key: string; cert: string }, port = 0): Promise<FakeIssuer> {
  const hits = { discovery: 0, jwks: 0, other: 0 }
  const sockets = new Set<Socket>()
  const handle: http.RequestListener = (request, response) => {
    const what = PATHS[request.url ?? '']
    hits[what ?? 'other']++
    if (!what) return void response.writeHead(404).end()
    answer(issuer.pages[what] ?? honest(what), request, response)
  }
  const server = tls ? https.createServer(tls, handle) : http.createServer(handle)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  const origin = `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const url = `${origin}/realms/openshell`
  const honest = (what: 'discovery' | 'jwks'): Page => ({
    body: what === 'discovery' ? { issuer: url, jwks_uri: `${url}/certs` } : { keys: issuer.keys },
  })

  const issuer: FakeIssuer = {
    url,
    origin,
    hits,
    sockets,
    keys: [key.jwk],
    pages: {},
    token: options => mintToken(url, key, options),
    close() {
      for (const socket of sockets) socket.destroy()
      return new Promise(resolve => server.close(() => resolve()))
    },
  }
  return issuer
}

function answer(page: Page, request: http.IncomingMessage, response: http.ServerResponse): void {
  if (typeof page === 'function') return page(request, response)
  const { status = 200, headers = {}, body = '' } = page
  const bytes = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(bytes)
}

/** A token as the issuer at `url` would sign it. */
export function mintToken(url: string, key: SigningKey, options: TokenOptions = {}): Promise<string> {
  const signer = options.key ?? key
  const now = Math.floor((options.nowMs ?? Date.now()) / 1000)
  const claims: Record<string, unknown> = {
    iss: url,
    aud: 'openshell-cli',
    sub: 'user-1',
    iat: now,
    exp: now + 3600,
    realm_access: { roles: ['openshell-user'] },
    ...options.claims,
  }
  for (const [name, value] of Object.entries(claims)) if (value === undefined) delete claims[name]
  const header = { alg: signer.alg, kid: signer.kid, typ: 'JWT', ...options.header }
  return new SignJWT(claims).setProtectedHeader(JSON.parse(JSON.stringify(header))).sign(signer.privateKey)
}

/** A token whose header and payload are these texts, byte for byte, rightly signed with an RS256 key. */
export async function signRaw(key: SigningKey, header: string, payload: string | Uint8Array): Promise<string> {
  const encode = (part: string | Uint8Array) => Buffer.from(part as string).toString('base64url')
  const input = `${encode(header)}.${encode(payload)}`
  const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', key.privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}
