import * as oauth from 'oauth4webapi'
import { ClientFailure } from './failure.ts'
import { askIssuer, discoverIssuer, GrantRefused, publicClient } from './issuer.ts'
import { bundleFrom, type TokenBundle } from './token-bundle.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What a token is asked for. */
export interface GrantRequest {
  readonly issuer: string
  readonly clientId: string
  /** Exactly these words; empty = none. */
  readonly scope: string
  readonly audience: string | null
}

const paramsOf = (request: GrantRequest): URLSearchParams => {
  const params = new URLSearchParams()
  if (request.scope !== '') params.set('scope', request.scope)
  if (request.audience !== null) params.set('audience', request.audience)
  return params
}

/** A token for a service, by its secret in the body (spec/client.md §8). Rejects with a `ClientFailure`. */
export async function grantBySecret(request: GrantRequest, secret: string, env: Env): Promise<TokenBundle> {
  const issuer = await discoverIssuer(request.issuer, env)
  const client = publicClient(issuer, request.clientId)
  try {
    const answer = await askIssuer(issuer, 'client credentials token exchange', async () => {
      const auth = oauth.ClientSecretPost(secret)
      const response = await oauth.clientCredentialsGrantRequest(
        issuer.metadata,
        client,
        auth,
        paramsOf(request),
        issuer.http,
      )
      return oauth.processClientCredentialsResponse(issuer.metadata, client, response)
    })
    return bundleFrom(answer, request.issuer, request.clientId, Date.now())
  } catch (error) {
    if (!(error instanceof GrantRefused)) throw error
    throw new ClientFailure('unfinished', `client credentials token exchange failed: ${error.message}`, {
      cause: error,
    })
  }
}

/** A token for a test user by name and password; only where an issuer still allows that. Rejects with a `ClientFailure`. */
export async function grantByPassword(
  request: GrantRequest,
  user: { readonly name: string; readonly password: string },
  env: Env,
): Promise<TokenBundle> {
  const issuer = await discoverIssuer(request.issuer, env)
  const client = publicClient(issuer, request.clientId)
  const params = paramsOf(request)
  params.set('username', user.name)
  params.set('password', user.password)
  try {
    const answer = await askIssuer(issuer, 'sign-in', async () => {
      const response = await oauth.genericTokenEndpointRequest(
        issuer.metadata,
        client,
        oauth.None(),
        'password',
        params,
        issuer.http,
      )
      // The ID token is not used, so its signature and claims are not judged here.
      return oauth.processGenericTokenEndpointResponse(issuer.metadata, client, response)
    })
    return bundleFrom(answer, request.issuer, request.clientId, Date.now())
  } catch (error) {
    if (!(error instanceof GrantRefused)) throw error
    const why = error.code === 'invalid_grant' ? 'wrong user name or password' : error.message
    throw new ClientFailure('unfinished', `the issuer refused the sign-in: ${why}`, { cause: error })
  }
}
