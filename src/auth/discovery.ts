import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import type { Clock } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'

/**
 * Why a document of the issuer is of no use: `unreachable` may pass with time (refused, timed out, 5xx, not JSON),
 * `wrong` will not (another issuer's, no usable address of keys), decision 15.
 */
export class IssuerError extends Error {
  override readonly name = 'IssuerError'
  readonly kind: 'wrong' | 'unreachable'

  constructor(kind: 'wrong' | 'unreachable', message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }
}

/** What the issuer says about itself. */
export interface IssuerMetadata {
  /** As its document spells it. */
  readonly issuer: string
  readonly jwksUri: string
}

/** What is asked of `fetch`, including the members that only this runtime knows. */
export interface FetchOptions {
  readonly method: 'GET'
  readonly redirect: 'manual'
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  readonly decompress: false
  readonly keepalive: false
  readonly proxy?: false
  readonly tls?: { readonly rejectUnauthorized: true; readonly ca: readonly string[] }
}

export type Fetch = (url: string, options: FetchOptions) => Promise<Response>

/** Reads the two documents of an issuer. Every read ends within `issuerFetchMs` and takes `issuerDocumentBytes` at most. */
export interface IssuerClient {
  /** Throws `IssuerError`. */
  discover(): Promise<IssuerMetadata>
  /** The key set document, parsed but not judged. Throws `IssuerError` (unreachable). */
  fetchKeys(jwksUri: string): Promise<unknown>
  /** Ends reads under way. */
  close(): void
}

export interface IssuerClientOptions {
  readonly issuer: string
  /** Plain http is for loopback only without it. */
  readonly allowHttp: boolean
  /** PEM bundles trusted beside the system's and the built-in roots: SSL_CERT_FILE, `--oidc-ca-file`. */
  readonly caFiles: readonly string[]
  readonly clock: Clock
  readonly fetch?: Fetch
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/
const WELL_KNOWN = '/.well-known/openid-configuration'

/** An issuer's name without trailing slashes, in which two spellings of one issuer agree (A-22 of spec/auth.md). */
export const bareIssuer = (issuer: string): string => issuer.replace(/\/+$/, '')

/** The URL, or a sentence why it may not be asked. */
function checkUrl(text: string, allowHttp: boolean): URL | string {
  const url = URL.parse(text)
  if (!url) return 'is not a URL'
  if (url.username !== '' || url.password !== '') return 'carries a user name or password'
  if (url.protocol === 'https:') return url
  if (url.protocol !== 'http:') return 'is neither https nor http'
  return allowHttp || LOOPBACK.test(url.hostname) ? url : 'is not https'
}

export function createIssuerClient(options: IssuerClientOptions): IssuerClient {
  const doFetch = options.fetch ?? (globalThis.fetch as unknown as Fetch)
  const closing = new AbortController()

  /** One document with a deadline over everything: connection, head, body. */
  const read = async (url: URL): Promise<unknown> => {
    const late = new AbortController()
    const timer = options.clock.after(LIMITS.issuerFetchMs, () => late.abort(new Error('timed out')))
    try {
      const response = await follow(url, doFetch, AbortSignal.any([late.signal, closing.signal]), options)
      return parseDocument(await readBody(response), url)
    } catch (error) {
      if (error instanceof IssuerError) throw error
      const cause = late.signal.aborted ? 'timed out' : errorText(error)
      throw new IssuerError('unreachable', `${url.href}: ${cause}`, { cause: error })
    } finally {
      timer.cancel()
    }
  }

  return {
    async discover() {
      const url = checkUrl(bareIssuer(options.issuer) + WELL_KNOWN, options.allowHttp)
      if (typeof url === 'string') throw new IssuerError('wrong', `OIDC issuer '${options.issuer}' ${url}`)
      return judgeMetadata(await read(url), options)
    },
    async fetchKeys(jwksUri) {
      return read(new URL(jwksUri))
    },
    close: () => closing.abort(new Error('closed')),
  }
}

/** Follows redirects within the origin, `issuerRedirects` at most; the answer has status 200. */
async function follow(
  start: URL,
  doFetch: Fetch,
  signal: AbortSignal,
  options: IssuerClientOptions,
): Promise<Response> {
  let url = start
  for (let hops = 0; hops <= LIMITS.issuerRedirects; hops++) {
    const response = await doFetch(url.href, {
      method: 'GET',
      redirect: 'manual',
      headers: { accept: 'application/json', 'accept-encoding': 'identity' },
      signal,
      decompress: false,
      keepalive: false,
      ...(LOOPBACK.test(url.hostname) ? { proxy: false } : {}),
      ...(url.protocol === 'https:' ? { tls: { rejectUnauthorized: true, ca: trustedRoots(options.caFiles) } } : {}),
    })
    if (response.status === 200) return response
    await response.body?.cancel()
    const location = response.headers.get('location')
    if (response.status < 300 || response.status > 399 || location === null)
      throw new IssuerError('unreachable', `${url.href} answered ${response.status}`)
    const next = URL.parse(location, url.href)
    if (next?.origin !== start.origin) throw new IssuerError('unreachable', `${url.href} redirects to another origin`)
    url = next
  }
  throw new IssuerError('unreachable', `${start.href} redirects too often`)
}

/** Roots of the runtime, the system and the files; a file that cannot be read is an error that names it. */
function trustedRoots(files: readonly string[]): string[] {
  return [...tls.rootCertificates, ...tls.getCACertificates('system'), ...files.map(file => readFileSync(file, 'utf8'))]
}

async function readBody(response: Response): Promise<Uint8Array> {
  const encoding = response.headers.get('content-encoding') ?? 'identity'
  if (encoding !== 'identity') throw new Error(`compressed document (${encoding.slice(0, 20)})`)
  const chunks: Uint8Array[] = []
  let size = 0
  if (!response.body) return new Uint8Array()
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength
    // Leaving the loop cancels the body, and with it the connection.
    if (size > LIMITS.issuerDocumentBytes) throw new Error(`document over ${LIMITS.issuerDocumentBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseDocument(body: Uint8Array, url: URL): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (error) {
    throw new IssuerError('unreachable', `${url.href} is not JSON`, { cause: error })
  }
}

function judgeMetadata(document: unknown, options: IssuerClientOptions): IssuerMetadata {
  const { issuer, jwks_uri: jwksUri } = (typeof document === 'object' && document !== null ? document : {}) as {
    issuer?: unknown
    jwks_uri?: unknown
  }
  const wrong = (what: string) => new IssuerError('wrong', `OIDC discovery document of '${options.issuer}' ${what}`)
  if (typeof issuer !== 'string') throw wrong('names no issuer')
  if (bareIssuer(issuer) !== bareIssuer(options.issuer))
    throw new IssuerError(
      'wrong',
      `OIDC discovery issuer mismatch: expected '${options.issuer}', got '${issuer.slice(0, 200)}'`,
    )
  if (typeof jwksUri !== 'string') throw wrong('names no jwks_uri')
  const url = checkUrl(jwksUri, options.allowHttp)
  if (typeof url === 'string') throw wrong(`has a jwks_uri that ${url}`)
  if (url.origin !== new URL(options.issuer).origin)
    throw wrong(`has a jwks_uri at another origin, ${url.origin}: keys are taken from the issuer only`)
  return { issuer, jwksUri: url.href }
}
