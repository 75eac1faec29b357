import { isBrowserOff } from './browser.ts'
import { loginByBrowser } from './browser-login.ts'
import { clientSecretFrom } from './client-secret.ts'
import { loginByDevice } from './device-login.ts'
import { grantBySecret } from './direct-grants.ts'
import { loginAtEdge } from './edge-login.ts'
import { ClientFailure } from './failure.ts'
import { authModeOf, DEFAULT_CLIENT_ID, type Registration } from './registration.ts'
import type { Registry } from './registry.ts'
import { peekClaims, type TokenBundle } from './token-bundle.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What a person signs in to. */
export interface LoginRequest {
  readonly gateway: string
  readonly issuer: string
  readonly clientId: string
  /** Contains `openid`. */
  readonly scope: string
  readonly audience: string | null
  /** The issuer asks who signs in, even when the browser still knows someone. */
  readonly asksWho: boolean
  /** 0 = any free port. */
  readonly callbackPort: number
}

/** What a sign-in needs from around it. */
export interface LoginTools {
  readonly env: Env
  readonly nowMs: () => number
  /** Tells the person something. */
  readonly say: (text: string) => Promise<void>
  /** Waits so many milliseconds. */
  readonly pause: (ms: number) => Promise<void>
  /** Waits until the person has pressed Enter, and not at all where nobody can; false when the person left instead. */
  readonly untilEnter: () => Promise<boolean>
}

/** How a sign-in was made, and whose it is, if the token says so. */
export interface LoginResult {
  readonly by: 'secret' | 'browser' | 'device' | 'edge'
  readonly user: string | null
}

/** A sign-in that was made; its token is not stored yet. */
export interface SignIn extends LoginResult {
  /** Stores the token. Throws a `ClientFailure` when that cannot be. */
  readonly keep: () => void
}

/** `openid` and the words of the registration, each once (spec/client.md §7 step 5). */
export const scopeOf = (words: string | undefined): string =>
  [...new Set(['openid', ...(words ?? '').split(/\s+/).filter(word => word !== '')])].join(' ')

const userOf = (token: string): string | null => {
  const name = peekClaims(token)?.['preferred_username']
  return typeof name === 'string' ? name : null
}

/** Signs in to a gateway in the way it asks for (spec/client.md §6). Rejects with a `ClientFailure`. */
export async function signIn(
  registration: Registration,
  registry: Registry,
  tools: LoginTools,
  callbackPort: number,
): Promise<SignIn> {
  const { name } = registration
  const mode = authModeOf(registration)
  if (mode === 'cloudflare_jwt') {
    const token = await loginAtEdge(registration, tools, callbackPort)
    return { by: 'edge', user: userOf(token), keep: () => registry.saveEdgeToken(name, token) }
  }
  if (mode !== 'oidc') throw new ClientFailure('failed', `Gateway '${name}' does not use edge or OIDC authentication.`)
  const { bundle, by } = await oidcLogin(registration, registry, tools, callbackPort)
  return { by, user: userOf(bundle.access_token), keep: () => registry.saveToken(name, bundle) }
}

/** Signs in and stores the token; what was stored before stays until then. Rejects with a `ClientFailure`. */
export async function login(...how: Parameters<typeof signIn>): Promise<LoginResult> {
  const made = await signIn(...how)
  made.keep()
  return made
}

async function oidcLogin(
  registration: Registration,
  registry: Registry,
  tools: LoginTools,
  callbackPort: number,
): Promise<{ bundle: TokenBundle; by: LoginResult['by'] }> {
  const { name, oidc_issuer: issuer } = registration
  if (issuer === undefined)
    throw new ClientFailure('failed', `Gateway '${name}' has OIDC auth but no issuer URL in metadata`)
  const audience = registration.oidc_audience ?? null
  const clientId = registration.oidc_client_id ?? DEFAULT_CLIENT_ID
  const secret = clientSecretFrom(tools.env)
  if (secret !== null) {
    const scope = registration.oidc_scopes ?? ''
    return { bundle: await grantBySecret({ issuer, clientId, scope, audience }, secret, tools.env), by: 'secret' }
  }
  const request: LoginRequest = {
    gateway: name,
    issuer,
    clientId,
    scope: scopeOf(registration.oidc_scopes),
    audience,
    asksWho: registry.asksWho(name),
    callbackPort,
  }
  return isBrowserOff(tools.env)
    ? { bundle: await loginByDevice(request, tools), by: 'device' }
    : { bundle: await loginByBrowser(request, tools), by: 'browser' }
}
