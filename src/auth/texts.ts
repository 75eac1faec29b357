/**
 * TABLE of the public texts of authentication and authorization. Clients match on them (decision 13), and nothing
 * more is told to a caller who has proved nothing (spec/auth.md A-27): the rest goes to the log.
 */
export const AUTH_TEXTS = {
  missingAuthorization: 'missing authorization header',
  secretRequired: 'sandbox secret required for this method',
  secretInvalid: 'invalid sandbox secret',
  secretUnchecked: 'sandbox secret cannot be checked at the moment',
  secretForeign: 'sandbox secret does not belong to this sandbox',
  supervisorOnly: 'supervisor RPCs require a sandbox principal',
  tooManyFailures: 'too many failed attempts',
  keysUnavailable: 'OIDC key refresh failed',
  tokenExpired: 'token expired',
  roleRequired: (role: string) => `role '${role}' required`,
  scopeRequired: (scope: string) => `scope '${scope}' required`,
} as const

/** Why a token is refused: all a log needs to know, never part of the token itself. */
export type TokenReason =
  | 'repeated'
  | 'oversize'
  | 'malformed'
  | 'header'
  | 'token-type'
  | 'missing-kid'
  | 'unknown-key'
  | 'algorithm'
  | 'signature'
  | 'payload'
  | 'duplicate-claim'
  | 'subject'
  | 'missing-exp'
  | 'exp-range'
  | 'expired'
  | 'not-yet-valid'
  | 'issuer'
  | 'audience'
  | 'claim-limit'

const INVALID = 'invalid token'

/** TABLE reason → public text (spec/auth.md §6.4, reliability §7). All of them are UNAUTHENTICATED. */
export const TOKEN_TEXTS: Readonly<Record<TokenReason, string>> = {
  repeated: INVALID,
  oversize: INVALID,
  malformed: INVALID,
  header: INVALID,
  'token-type': INVALID,
  'missing-kid': `${INVALID}: missing kid`,
  'unknown-key': `${INVALID}: unknown signing key`,
  algorithm: `${INVALID}: InvalidAlgorithm`,
  signature: `${INVALID}: InvalidSignature`,
  payload: INVALID,
  'duplicate-claim': INVALID,
  subject: INVALID,
  'missing-exp': `${INVALID}: Missing required claim: exp`,
  'exp-range': INVALID,
  expired: `${INVALID}: ExpiredSignature`,
  'not-yet-valid': `${INVALID}: ImmatureSignature`,
  issuer: `${INVALID}: InvalidIssuer`,
  audience: `${INVALID}: InvalidAudience`,
  'claim-limit': INVALID,
}
