/** Who is calling. Carried out of band, never as a header (spec/auth.md §2 [B]). */
export type Principal = Anonymous | SandboxPrincipal | User

/** Nobody proved anything, or OIDC is off. */
export interface Anonymous {
  readonly kind: 'anonymous'
}

/** A supervisor. */
export interface SandboxPrincipal {
  readonly kind: 'sandbox'
  /** `master`: the fleet-wide secret, any sandbox; `derived`: bound to `sandboxId`; `certificate`: a verified client certificate. */
  readonly proof: 'master' | 'derived' | 'certificate'
  /** The only sandbox this caller may act for; null = not bound to one. */
  readonly sandboxId: string | null
}

/** The bearer of a verified token. */
export interface User {
  readonly kind: 'user'
  readonly subject: string
  readonly issuer: string
  readonly displayName: string | null
  /** `azp` or `client_id` of the token. */
  readonly clientId: string | null
  readonly roles: readonly string[]
  /** Empty when scopes are off. */
  readonly scopes: readonly string[]
  /** Expiry of the token, milliseconds since the epoch. */
  readonly expiresAtMs: number
}

export const ANONYMOUS: Anonymous = Object.freeze({ kind: 'anonymous' })
