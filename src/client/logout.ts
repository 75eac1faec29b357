import * as oauth from 'oauth4webapi'
import { errorText } from '../base/errors.ts'
import { clientSecretFrom } from './client-secret.ts'
import { ClientFailure } from './failure.ts'
import { askIssuer, discoverIssuer, type Issuer, publicClient } from './issuer.ts'
import { authModeOf, type Registration } from './registration.ts'
import type { Registry } from './registry.ts'
import type { TokenBundle } from './token-bundle.ts'
import { withFileLock } from './token-lock.ts'

type Env = Readonly<Record<string, string | undefined>>

/** How a logout went: tokens are gone here in any case. */
export interface LogoutResult {
  /** Whether a token was stored. */
  readonly wasSignedIn: boolean
  /** Why the issuer could not be told; null = it was, or there was nothing to tell. */
  readonly untold: string | null
}

/**
 * Forgets the tokens of a gateway, then has the issuer end the session and revoke the refresh token where it offers
 * that (spec/client.md §18 row 15). The next sign-in by browser asks who signs in. Rejects with a `ClientFailure`.
 */
export async function logout(registration: Registration, registry: Registry, env: Env): Promise<LogoutResult> {
  const { name } = registration
  const mode = authModeOf(registration)
  if (mode !== 'oidc' && mode !== 'cloudflare_jwt')
    throw new ClientFailure('failed', `Gateway '${name}' uses ${mode} authentication — no stored credentials to clear.`)
  const held = heldToken(registry, name)
  const wasSignedIn = registry.hasTokens(name)
  if (!wasSignedIn) return { wasSignedIn, untold: null }
  // A refresh under way elsewhere must not bring a token back.
  await withFileLock(registry.lockPath(name), async () => registry.forgetTokens(name))
  if (mode === 'oidc') registry.askWhoNext(name)
  return { wasSignedIn, untold: held === null ? null : await tellIssuer(held, env) }
}

/** The stored token, to be revoked; null also for a file that cannot be read: it goes all the same. */
function heldToken(registry: Registry, name: string): TokenBundle | null {
  try {
    return registry.token(name)
  } catch (error) {
    if (!(error instanceof ClientFailure)) throw error
    return null
  }
}

async function tellIssuer(held: TokenBundle, env: Env): Promise<string | null> {
  try {
    const issuer = await discoverIssuer(held.issuer, env)
    if (held.refresh_token !== undefined)
      await endSession(issuer, held.client_id, held.refresh_token).catch(() => undefined)
    await revoke(issuer, held, clientSecretFrom(env))
    return null
  } catch (error) {
    return errorText(error)
  }
}

/** What Keycloak and its relatives take from a client without a browser; others answer with a page, which is ignored. */
async function endSession(issuer: Issuer, clientId: string, refreshToken: string): Promise<void> {
  const endpoint = issuer.metadata.end_session_endpoint
  if (endpoint === undefined) return
  await issuer.fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    body: new URLSearchParams({ client_id: clientId, refresh_token: refreshToken }).toString(),
  })
}

/** A client that has a secret must show it, or its token is not revoked. */
async function revoke(issuer: Issuer, held: TokenBundle, secret: string | null): Promise<void> {
  if (issuer.metadata.revocation_endpoint === undefined) return
  const token = held.refresh_token ?? held.access_token
  await askIssuer(issuer, 'revocation', async () => {
    const client = publicClient(issuer, held.client_id)
    const auth = secret === null ? oauth.None() : oauth.ClientSecretPost(secret)
    const response = await oauth.revocationRequest(issuer.metadata, client, auth, token, issuer.http)
    return oauth.processRevocationResponse(response)
  })
}
