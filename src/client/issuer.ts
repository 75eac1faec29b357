import * as oauth from 'oauth4webapi'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'
import { createIssuerFetch, type IssuerFetch, isLoopback, parseIssuerUrl, withoutSlashes } from './issuer-http.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What the requests of oauth4webapi have in common. */
interface IssuerHttp {
  readonly [oauth.customFetch]: (url: string, options: RequestInit) => Promise<Response>
  readonly [oauth.allowInsecureRequests]: boolean
}

/** An issuer that was discovered, with what every request to it needs. */
export interface Issuer {
  /** As it calls itself. */
  readonly url: string
  readonly metadata: oauth.AuthorizationServer
  readonly fetch: IssuerFetch
  /** Options of every oauth4webapi request. */
  readonly http: IssuerHttp
  /** Seconds by which its clock is ahead of ours. */
  skewSecs(): number
}

/** Names of the endpoints this client uses. */
const ENDPOINTS = [
  'authorization_endpoint',
  'token_endpoint',
  'device_authorization_endpoint',
  'revocation_endpoint',
  'end_session_endpoint',
] as const

/**
 * Reads the discovery document of an issuer and checks that it speaks for itself (spec/client.md §7 step 1). Rejects
 * with a `ClientFailure` of kind `issuer`.
 */
export async function discoverIssuer(issuerUrl: string, env: Env): Promise<Issuer> {
  const url = parseIssuerUrl(withoutSlashes(issuerUrl), 'the issuer', env)
  let skewMs = 0
  const send = createIssuerFetch(env, issuerMs => {
    skewMs = issuerMs - Date.now()
  })
  const http = {
    [oauth.customFetch]: send,
    [oauth.allowInsecureRequests]: url.protocol === 'http:',
  }
  const where = `${url.href.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await oauth.discoveryRequest(url, { ...http, algorithm: 'oidc' })
  if (response.status !== 200)
    throw new ClientFailure('issuer', `no issuer there: ${where} answers with status ${response.status}`)
  const document = await jsonOf(response, where)
  const said = document['issuer']
  if (typeof said !== 'string' || withoutSlashes(said) !== withoutSlashes(issuerUrl))
    throw new ClientFailure(
      'issuer',
      `OIDC discovery issuer mismatch: expected '${withoutSlashes(issuerUrl)}', got '${String(said).slice(0, 200)}'`,
    )
  const metadata: Record<string, unknown> = { ...document }
  for (const name of ENDPOINTS) {
    if (document[name] === undefined || document[name] === null) delete metadata[name]
    else checkEndpoint(String(document[name]), name, url, env)
  }
  return {
    url: said,
    metadata: metadata as unknown as oauth.AuthorizationServer,
    fetch: send,
    http,
    skewSecs: () => Math.round(skewMs / 1000),
  }
}

async function jsonOf(response: Response, where: string): Promise<Record<string, unknown>> {
  const value: unknown = await response.json().catch(() => null)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ClientFailure('issuer', `no issuer there: ${where} is not a JSON document`)
  return value as Record<string, unknown>
}

/** An https issuer must not send secrets on without encryption. */
function checkEndpoint(text: string, name: string, issuer: URL, env: Env): void {
  const url = parseIssuerUrl(text, `the issuer's ${name}`, env)
  if (issuer.protocol === 'https:' && url.protocol === 'http:' && !isLoopback(issuer))
    throw new ClientFailure('issuer', `the issuer's ${name} has no encryption: ${url.origin}`)
}

/** Says so when the clocks differ by more than a minute: tokens are judged by them. */
export async function warnOfSkew(issuer: Issuer, say: (text: string) => Promise<void>): Promise<void> {
  const secs = issuer.skewSecs()
  if (Math.abs(secs) < LIMITS.clockSkewWarnSecs) return
  const minutes = Math.round(Math.abs(secs) / 6) / 10
  const side = secs > 0 ? 'behind' : 'ahead of'
  await say(`warning: the clock of this machine is ${minutes} minutes ${side} that of the issuer`)
}

/** The client as oauth4webapi wants it, judging times by the issuer's clock. */
export const publicClient = (issuer: Issuer, clientId: string): oauth.Client => ({
  client_id: clientId,
  [oauth.clockSkew]: issuer.skewSecs(),
  [oauth.clockTolerance]: 60,
})

/** What an issuer answered instead of a token: its own error code and words. */
export class GrantRefused extends Error {
  override readonly name = 'GrantRefused'
  readonly code: string

  constructor(code: string, description: string | undefined, options?: { cause?: unknown }) {
    super(description === undefined || description === '' ? code : `${code}: ${description}`, options)
    this.code = code
  }
}

/** Errors that say nothing about the grant: a later try may well succeed. */
const PASSING = new Set(['server_error', 'temporarily_unavailable'])

/**
 * Runs a request to the issuer: an OAuth error becomes `GrantRefused`, an answer that is none a `ClientFailure` of
 * kind `issuer` saying what was being done.
 */
export async function askIssuer<T>(issuer: Issuer, doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ClientFailure || error instanceof GrantRefused) throw error
    if (error instanceof oauth.ResponseBodyError && PASSING.has(error.error))
      throw new ClientFailure('issuer', `${doing} failed: the issuer ${issuer.url} says ${error.error}`, {
        cause: error,
      })
    if (error instanceof oauth.ResponseBodyError)
      throw new GrantRefused(error.error, error.error_description, { cause: error })
    if (error instanceof oauth.WWWAuthenticateChallengeError)
      throw new GrantRefused(
        error.cause[0]?.parameters.error ?? 'invalid_client',
        error.cause[0]?.parameters.error_description,
        {
          cause: error,
        },
      )
    if (error instanceof oauth.OperationProcessingError || error instanceof oauth.UnsupportedOperationError)
      throw new ClientFailure(
        'issuer',
        `${doing} failed: the issuer ${issuer.url} gave a wrong answer: ${error.message}`,
        {
          cause: error,
        },
      )
    throw error
  }
}
