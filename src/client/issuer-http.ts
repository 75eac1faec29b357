import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { readBounded } from './bounded-body.ts'
import { ClientFailure } from './failure.ts'
import { defaultRoots } from './trust.ts'

type Env = Readonly<Record<string, string | undefined>>

/** Fetches as oauth4webapi wants it done. */
export type IssuerFetch = (url: string, options: RequestInit) => Promise<Response>

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/
const ALLOW_HTTP = 'OPENSHELL_OIDC_ALLOW_HTTP'

/** Issuers are the same with and without slashes at their end (spec/client.md §7 step 1). */
export const withoutSlashes = (text: string): string => text.replace(/\/+$/, '')

/** Whether a URL stays on this machine. */
export const isLoopback = (url: URL): boolean => LOOPBACK.test(url.hostname)

/**
 * A URL of an issuer: https, or http on this machine or where `OPENSHELL_OIDC_ALLOW_HTTP=true` says that its network
 * is trusted (spec/client.md §18 row 5). Throws a `ClientFailure` of `kind`.
 */
export function parseIssuerUrl(text: string, what: string, env: Env, kind: 'issuer' | 'usage' = 'issuer'): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.username || url.password)
    throw new ClientFailure(kind, `${what} is not an http or https URL: '${text}'`)
  if (url.protocol === 'http:' && !isLoopback(url) && env[ALLOW_HTTP] !== 'true')
    throw new ClientFailure(
      kind,
      `${what} has no encryption: ${url.origin}; use https, or set ${ALLOW_HTTP}=true if its network is trusted`,
    )
  return url
}

/**
 * Fetches of an issuer: ten seconds in all, no redirects, 64 KiB of answer (spec/client.md §18 row 4). Whatever goes
 * wrong on the way rejects with a `ClientFailure` of kind `issuer`. `onDate` gets the wall clock of the issuer.
 */
export function createIssuerFetch(env: Env, onDate: (issuerMs: number) => void = () => undefined): IssuerFetch {
  return async (target, options) => {
    const url = new URL(target)
    const { origin } = url
    const tls = url.protocol === 'https:' ? { tls: { ca: defaultRoots(env) } } : {}
    // A proxy cannot reach this machine, and would see the secrets of its plain requests (K-13).
    const straight = isLoopback(url) ? { proxy: false } : {}
    const late = AbortSignal.timeout(LIMITS.signInRequestMs)
    const signal = options.signal ? AbortSignal.any([options.signal, late]) : late
    try {
      const response = await fetch(target, {
        ...options,
        ...tls,
        ...straight,
        redirect: 'manual',
        signal,
      } as RequestInit)
      const date = Date.parse(response.headers.get('date') ?? '')
      if (Number.isFinite(date)) onDate(date)
      if (response.status >= 300 && response.status < 400)
        throw new ClientFailure('issuer', `the issuer ${origin} answered with a redirect, which is not followed`)
      const body = await readBounded(response, LIMITS.signInAnswerBytes)
      if (body === 'too large')
        throw new ClientFailure(
          'issuer',
          `an answer of the issuer ${origin} is larger than ${LIMITS.signInAnswerBytes} bytes`,
        )
      return new Response(body, { status: response.status, headers: response.headers })
    } catch (error) {
      if (error instanceof ClientFailure) throw error
      if (options.signal?.aborted) throw error
      const why = late.aborted ? `no answer within ${LIMITS.signInRequestMs / 1000} s` : faultText(error)
      throw new ClientFailure('issuer', `the issuer ${origin} cannot be reached: ${why}`, { cause: error })
    }
  }
}

function faultText(error: unknown): string {
  const code = String((error as { code?: unknown }).code ?? '')
  if (/ECONNREFUSED|ConnectionRefused/.test(code)) return 'connection refused'
  if (/ENOTFOUND|FailedToOpenSocket|EAI_AGAIN/.test(code)) return 'its name is not known'
  if (/SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED/.test(code))
    return `its certificate is not from an authority this machine trusts; SSL_CERT_FILE may name one (${code})`
  return errorText(error)
}
