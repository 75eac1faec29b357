import type { MethodRow } from './methods.ts'
import type { User } from './principal.ts'
import { AUTH_TEXTS } from './texts.ts'

/** What the flags say about roles and scopes. Both role names empty: any verified user has every role. */
export interface AccessPolicy {
  readonly adminRole: string
  readonly userRole: string
  readonly scopesEnabled: boolean
  /** A client CA is configured, so a certificate that arrives here was verified. */
  readonly clientCaConfigured: boolean
  readonly allowUnauthenticatedSupervisors: boolean
}

/** What a caller presented, as far as it can be told without looking into a token. */
export interface Presented {
  readonly secret: 'absent' | 'right' | 'wrong'
  readonly bearer: boolean
  readonly certificate: boolean
}

export type DenyReason =
  | 'secret-required'
  | 'secret-invalid'
  | 'authorization-missing'
  | 'supervisor-only'
  | 'role'
  | 'scope'

export interface Deny {
  readonly verdict: 'deny'
  readonly kind: 'UNAUTHENTICATED' | 'PERMISSION_DENIED'
  readonly reason: DenyReason
  readonly text: string
}

export type Allow = { readonly verdict: 'allow' }

/** How to go on with a call: let it in as what, look at its token, or refuse it. */
export type Proof =
  | { readonly verdict: 'allow'; readonly as: 'anonymous' | 'secret' | 'certificate' }
  | { readonly verdict: 'token' }
  | Deny

const ANONYMOUS: Proof = { verdict: 'allow', as: 'anonymous' }
const SECRET: Proof = { verdict: 'allow', as: 'secret' }
const CERTIFICATE: Proof = { verdict: 'allow', as: 'certificate' }
const TOKEN: Proof = { verdict: 'token' }
const ALLOW: Allow = { verdict: 'allow' }

const unauthenticated = (reason: DenyReason, text: string): Deny => ({
  verdict: 'deny',
  kind: 'UNAUTHENTICATED',
  reason,
  text,
})
const forbidden = (reason: DenyReason, text: string): Deny => ({
  verdict: 'deny',
  kind: 'PERMISSION_DENIED',
  reason,
  text,
})

const SECRET_REQUIRED = unauthenticated('secret-required', AUTH_TEXTS.secretRequired)
const SECRET_INVALID = unauthenticated('secret-invalid', AUTH_TEXTS.secretInvalid)
const AUTHORIZATION_MISSING = unauthenticated('authorization-missing', AUTH_TEXTS.missingAuthorization)
const SUPERVISOR_ONLY = forbidden('supervisor-only', AUTH_TEXTS.supervisorOnly)

/** Which proof rules a call while OIDC is on (spec/auth.md §4; supervisors §8 [B], decision 2). Pure. */
export function decideProof(row: MethodRow, presented: Presented, policy: AccessPolicy): Proof {
  switch (row.class) {
    case 'unauthenticated':
      return ANONYMOUS
    case 'sandbox-secret':
      if (presented.secret === 'right') return SECRET
      return presented.secret === 'absent' ? SECRET_REQUIRED : SECRET_INVALID
    case 'dual':
      if (presented.secret === 'right') return SECRET
      return presented.bearer ? TOKEN : AUTHORIZATION_MISSING
    case 'bearer':
      return presented.bearer ? TOKEN : AUTHORIZATION_MISSING
    case 'supervisor':
      if (presented.secret === 'right') return SECRET
      if (presented.bearer) return TOKEN
      if (presented.certificate && policy.clientCaConfigured) return CERTIFICATE
      if (policy.allowUnauthenticatedSupervisors) return ANONYMOUS
      return presented.secret === 'absent' ? SECRET_REQUIRED : SECRET_INVALID
  }
}

/**
 * Whether the bearer of a verified token may call: role, then scope (spec/auth.md §6.6). `admin` includes `user`;
 * a scope never replaces a role, and no scope implies another but `openshell:all`. Pure.
 */
export function decideUser(row: MethodRow, user: User, policy: AccessPolicy): Allow | Deny {
  if (row.class === 'supervisor') return SUPERVISOR_ONLY
  if (row.role !== null) {
    const required = row.role === 'admin' ? policy.adminRole : policy.userRole
    const isHeld = user.roles.includes(required) || (row.role === 'user' && user.roles.includes(policy.adminRole))
    if (required !== '' && !isHeld) return forbidden('role', AUTH_TEXTS.roleRequired(required))
  }
  if (
    policy.scopesEnabled &&
    row.scope !== null &&
    !user.scopes.includes('openshell:all') &&
    !user.scopes.includes(row.scope)
  )
    return forbidden('scope', AUTH_TEXTS.scopeRequired(row.scope))
  return ALLOW
}
