import type { TokenEndpointResponse } from 'oauth4webapi'
import { ClientFailure } from './failure.ts'

/** What is kept of a sign-in: the contents of `oidc_token.json` (spec/client.md §4.5). */
export interface TokenBundle {
  readonly access_token: string
  readonly refresh_token?: string
  /** Unix seconds. */
  readonly expires_at?: number
  readonly issuer: string
  readonly client_id: string
}

const TOKEN_TEXT = /^[\x21-\x7e]+$/

/** Whether a text can be a token: it travels in headers, as one line of visible characters. */
export const isTokenText = (text: string): boolean => TOKEN_TEXT.test(text)

/**
 * What an issuer's answer leaves to keep; the old refresh token stays when there is no new one. Throws a
 * `ClientFailure` for a token that no call could carry.
 */
export function bundleFrom(
  answer: TokenEndpointResponse,
  issuer: string,
  clientId: string,
  nowMs: number,
  oldRefreshToken?: string,
): TokenBundle {
  if (!isTokenText(answer.access_token))
    throw new ClientFailure('issuer', `the issuer ${issuer} gave a token with characters no token has`)
  const refresh = answer.refresh_token ?? oldRefreshToken
  const life = answer.expires_in
  return {
    access_token: answer.access_token,
    ...(refresh === undefined ? {} : { refresh_token: refresh }),
    ...(life === undefined ? {} : { expires_at: Math.min(Math.floor(nowMs / 1000 + life), Number.MAX_SAFE_INTEGER) }),
    issuer,
    client_id: clientId,
  }
}

/** The payload of a token that looks like a JWT, unverified and only for showing; null when it is none. */
export function peekClaims(token: string): Record<string, unknown> | null {
  const payload = token.split('.')[1]
  if (payload === undefined) return null
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** Reads `oidc_token.json`; null = no token this client can use (spec/client.md §4.5). */
export function parseBundle(text: string): TokenBundle | null {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof json !== 'object' || json === null) return null
  const { access_token, refresh_token, expires_at, issuer, client_id } = json as Record<string, unknown>
  if (typeof access_token !== 'string' || !isTokenText(access_token)) return null
  if (typeof issuer !== 'string' || typeof client_id !== 'string') return null
  if (!isAbsent(refresh_token) && typeof refresh_token !== 'string') return null
  if (!isAbsent(expires_at) && !(Number.isSafeInteger(expires_at) && (expires_at as number) >= 0)) return null
  return {
    access_token,
    ...(refresh_token ? { refresh_token: refresh_token as string } : {}),
    ...(isAbsent(expires_at) ? {} : { expires_at: expires_at as number }),
    issuer,
    client_id,
  }
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null

/** The text of `oidc_token.json`: two spaces, no newline at the end, absent keys left out. */
export const formatBundle = (bundle: TokenBundle): string =>
  JSON.stringify(
    {
      access_token: bundle.access_token,
      refresh_token: bundle.refresh_token,
      expires_at: bundle.expires_at,
      issuer: bundle.issuer,
      client_id: bundle.client_id,
    },
    null,
    2,
  )
