import * as oauth from 'oauth4webapi'
import { LIMITS } from '../limits.ts'
import { clientSecretFrom } from './client-secret.ts'
import type { Credential } from './credential.ts'
import { grantBySecret } from './direct-grants.ts'
import { ClientFailure } from './failure.ts'
import { askIssuer, discoverIssuer, GrantRefused, publicClient } from './issuer.ts'
import { withoutSlashes } from './issuer-http.ts'
import { DEFAULT_CLIENT_ID, type Registration } from './registration.ts'
import type { Registry } from './registry.ts'
import { bundleFrom, peekClaims, type TokenBundle } from './token-bundle.ts'
import { withFileLock } from './token-lock.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What a token source needs from around it. */
export interface TokenSourceOptions {
  readonly registry: Registry
  readonly registration: Registration
  readonly env: Env
  /** Wall clock, milliseconds. */
  readonly nowMs: () => number
  /** A sentence for the person, when something is odd but the call can go on. */
  readonly warn: (text: string) => void
}

/** How long before its end a token is renewed: a minute, or a quarter of a short life (milliseconds). */
export function renewalMarginMs(bundle: TokenBundle): number {
  const issuedAt = peekClaims(bundle.access_token)?.['iat']
  if (bundle.expires_at === undefined || typeof issuedAt !== 'number') return LIMITS.tokenRenewMs
  const lifeMs = (bundle.expires_at - issuedAt) * 1000
  return lifeMs > 0 ? Math.min(LIMITS.tokenRenewMs, lifeMs / 4) : LIMITS.tokenRenewMs
}

/** Milliseconds until a token ends; infinite for one that does not say. */
const leftMs = (bundle: TokenBundle, nowMs: number): number =>
  bundle.expires_at === undefined ? Number.POSITIVE_INFINITY : bundle.expires_at * 1000 - nowMs

/**
 * The bearer of a registered gateway: read from its file for every call, renewed under a lock shared with every other
 * process, and never handed out when it has expired (spec/client.md §9, §18 rows 7 to 10).
 */
export class TokenSource implements Credential {
  readonly #options: TokenSourceOptions
  #shown: string | null = null
  /** The token of a process that cannot store one. */
  #unkept: TokenBundle | null = null

  constructor(options: TokenSourceOptions) {
    this.#options = options
  }

  async headers(): Promise<Readonly<Record<string, string>>> {
    return this.#headersOf(await this.token())
  }

  async renewed(): Promise<Readonly<Record<string, string>> | null> {
    const stored = this.#stored()
    if (stored && stored.access_token !== this.#shown) return this.#headersOf(stored)
    if (stored?.refresh_token === undefined && this.#secret === null) return null
    if (!this.#canKeep) return this.#secret === null ? null : this.#headersOf(await this.#grantUnkept(this.#secret))
    const refused = this.#shown
    const fresh = await this.#underLock(held =>
      held && held.access_token !== refused ? Promise.resolve(held) : this.#renew(held),
    )
    return this.#headersOf(fresh)
  }

  #headersOf(bundle: TokenBundle): Readonly<Record<string, string>> {
    this.#shown = bundle.access_token
    return { authorization: `Bearer ${bundle.access_token}` }
  }

  /** A token that is good for now. Rejects with a `ClientFailure`. */
  async token(): Promise<TokenBundle> {
    const stored = this.#stored()
    if (stored && this.#isFresh(stored)) return stored
    const isAlive = stored !== null && leftMs(stored, this.#options.nowMs()) > 0
    if (this.#secret === null) {
      if (stored === null) throw this.#signIn('you are not signed in')
      // A refresh token may be good for one use only, so none is used where its successor cannot be stored.
      if (isAlive && (stored.refresh_token === undefined || !this.#canKeep)) return stored
      if (stored.refresh_token === undefined)
        throw this.#signIn('the token has expired, and nothing was given to renew it with')
    } else if (!this.#canKeep) return this.#grantUnkept(this.#secret)
    return this.#underLock(held => (held && this.#isFresh(held) ? Promise.resolve(held) : this.#renewOrKeep(held)))
  }

  get #secret(): string | null {
    return clientSecretFrom(this.#options.env)
  }

  get #canKeep(): boolean {
    return this.#options.registry.canKeepToken(this.#options.registration.name)
  }

  /** Works on what is stored while no other process does. */
  #underLock(work: (held: TokenBundle | null) => Promise<TokenBundle>): Promise<TokenBundle> {
    const { registry, registration } = this.#options
    return withFileLock(registry.lockPath(registration.name), () => work(this.#stored()))
  }

  /** A service in a place without a home: it can show its secret as often as it likes, and nobody shares the token. */
  async #grantUnkept(secret: string): Promise<TokenBundle> {
    this.#unkept = await this.#grant(secret)
    return this.#unkept
  }

  /** Stores a new token. One that cannot be is used all the same: the issuer may take the old one no more. */
  #keep(fresh: TokenBundle): TokenBundle {
    const { registry, registration, warn } = this.#options
    try {
      registry.saveToken(registration.name, fresh)
    } catch (error) {
      if (!(error instanceof ClientFailure)) throw error
      this.#unkept = fresh
      warn(`a new token serves this command only: ${error.message}`)
    }
    return fresh
  }

  #isFresh(bundle: TokenBundle): boolean {
    return leftMs(bundle, this.#options.nowMs()) > renewalMarginMs(bundle)
  }

  /** What is stored for this gateway; a token of another issuer than the registered one does not count. */
  #stored(): TokenBundle | null {
    const { registry, registration } = this.#options
    const bundle = this.#unkept ?? registry.token(registration.name)
    const issuer = registration.oidc_issuer
    return bundle && issuer !== undefined && withoutSlashes(bundle.issuer) !== withoutSlashes(issuer) ? null : bundle
  }

  #signIn(why: string, cause?: unknown): ClientFailure {
    const { name } = this.#options.registration
    const text = `gateway '${name}': ${why}; sign in with: openshell-gateway gateway login ${name}`
    return new ClientFailure('sign-in', text, { cause })
  }

  /** An issuer that is away is no reason to give up a token that still lives. */
  async #renewOrKeep(held: TokenBundle | null): Promise<TokenBundle> {
    try {
      return await this.#renew(held)
    } catch (error) {
      const left = held === null ? 0 : leftMs(held, this.#options.nowMs())
      if (!(error instanceof ClientFailure) || error.kind !== 'issuer' || held === null) throw error
      if (left <= 0)
        throw new ClientFailure(
          'issuer',
          `the token of gateway '${this.#options.registration.name}' has expired and ${error.message}`,
          {
            cause: error,
          },
        )
      this.#options.warn(`the token could not be renewed and ends in ${Math.ceil(left / 1000)} s: ${error.message}`)
      return held
    }
  }

  /** Only under the lock. */
  async #renew(held: TokenBundle | null): Promise<TokenBundle> {
    if (held?.refresh_token !== undefined) return this.#refresh(held, held.refresh_token)
    if (this.#secret !== null) return this.#keep(await this.#grant(this.#secret))
    throw this.#signIn('the token has expired, and nothing was given to renew it with')
  }

  #grant(secret: string): Promise<TokenBundle> {
    const { registration, env } = this.#options
    const issuer = registration.oidc_issuer
    if (issuer === undefined) throw this.#signIn('no issuer is registered')
    const clientId = registration.oidc_client_id ?? DEFAULT_CLIENT_ID
    const { oidc_scopes: scope = '', oidc_audience: audience = null } = registration
    return grantBySecret({ issuer, clientId, scope, audience }, secret, env)
  }

  async #refresh(held: TokenBundle, refreshToken: string, isSecondTry = false): Promise<TokenBundle> {
    const { env, nowMs } = this.#options
    try {
      return this.#keep(await refreshBundle(held, refreshToken, env, nowMs))
    } catch (error) {
      if (!(error instanceof GrantRefused)) throw error
      // A program that knows nothing of our lock may have renewed it meanwhile: the refused token was then a used one.
      const now = this.#stored()
      if (isSecondTry || now?.refresh_token === undefined || now.refresh_token === refreshToken) {
        // Clients with a secret are given refresh tokens too, by some issuers, and refused without it.
        if (this.#secret !== null) return this.#keep(await this.#grant(this.#secret))
        throw this.#ended(held, error)
      }
      return this.#isFresh(now) ? now : this.#refresh(now, now.refresh_token, true)
    }
  }

  /** The issuer will not renew this sign-in again: other processes need not ask it, too. */
  #ended(held: TokenBundle, refused: GrantRefused): ClientFailure {
    const { registry, registration } = this.#options
    if (refused.code === 'invalid_grant') {
      const { refresh_token: _gone, ...rest } = held
      registry.saveToken(registration.name, { ...rest, expires_at: 0 })
    }
    return this.#signIn(`the issuer has ended your sign-in (${refused.message})`, refused)
  }
}

/** One refresh at the issuer that the token names. Rejects with `GrantRefused` or a `ClientFailure`. */
async function refreshBundle(
  held: TokenBundle,
  refreshToken: string,
  env: Env,
  nowMs: () => number,
): Promise<TokenBundle> {
  const issuer = await discoverIssuer(held.issuer, env)
  const client = publicClient(issuer, held.client_id)
  const answer = await askIssuer(issuer, 'token refresh', async () => {
    const auth = oauth.None()
    const response = await oauth.refreshTokenGrantRequest(issuer.metadata, client, auth, refreshToken, issuer.http)
    return oauth.processRefreshTokenResponse(issuer.metadata, client, response)
  })
  return bundleFrom(answer, held.issuer, held.client_id, nowMs(), refreshToken)
}
