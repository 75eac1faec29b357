import type { TokenEndpointResponse } from 'oauth4webapi'

/** What is kept of a sign-in: the contents of `oidc_token.json` (spec/client.md §4.5). */
export interface TokenBundle {
  readonly access_token: string
  readonly refresh_token?: string
  /** Unix seconds. */
  readonly expires_at?: number
  readonly issuer: string
  readonly client_id: string
}

/** What an issuer's answer leaves to keep; the old refresh token stays when there is no new one. */
export function bundleFrom(
  answer: TokenEndpointResponse,
  issuer: string,
  clientId: string,
  nowMs: number,
  oldRefreshToken?: string,
): TokenBundle {
  const refresh = answer.refresh_token ?? oldRefreshToken
  const life = answer.expires_in
  return {
    access_token: answer.access_token,
    ...(refresh === undefined ? {} : { refresh_token: refresh }),
    ...(life === undefined ? {} : { expires_at: Math.floor(nowMs / 1000 + life) }),
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
