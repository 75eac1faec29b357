import { type CryptoKey, compactVerify, errors } from 'jose'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { type ClaimPath, type Claims, rolesOf, scopesOf } from './claims.ts'
import { findJsonFlaw } from './json-scan.ts'
import type { KeyAnswer, KeyCache } from './keys.ts'
import type { User } from './principal.ts'
import type { TokenReason } from './texts.ts'

/** What the flags ask of a token. */
export interface TokenPolicy {
  readonly audience: string
  /** Client ids that excuse a missing `aud`; `'*'` = any (decision 1). */
  readonly clients: ReadonlySet<string> | '*'
  readonly algorithms: ReadonlySet<string>
  readonly leewaySecs: number
  readonly rolesPath: ClaimPath
  /** Null = scopes off. */
  readonly scopesPath: ClaimPath | null
}

/** A refused token. `detail` is for the log only. */
export interface TokenRefusal {
  readonly refused: TokenReason | 'keys-unavailable'
  readonly detail?: string
}

export type TokenVerdict = User | TokenRefusal

export const isRefusal = (verdict: TokenVerdict): verdict is TokenRefusal => 'refused' in verdict

/** The part of the key cache that verification uses. */
export type TokenKeys = Pick<KeyCache, 'find' | 'resolve' | 'issuerNames'>

interface Header {
  readonly alg: string
  readonly kid: string
}

/** Names that a header may carry; any other one, `none` and another case included, is no token (spec/auth.md §6.4). */
const KNOWN_ALGORITHMS: ReadonlySet<string> = new Set(
  ['HS', 'RS', 'PS', 'ES'].flatMap(family => [`${family}256`, `${family}384`, `${family}512`]).concat('EdDSA'),
)
/** A token of another purpose says so (J-35). */
const HEADER_TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt', 'application/at+jwt'])
/** What Keycloak calls tokens that are not for us. */
const FOREIGN_TYPES: ReadonlySet<unknown> = new Set(['ID', 'Refresh', 'Logout', 'Offline'])
const PART = /^[A-Za-z0-9_-]*$/
const CONTROL = /\p{Cc}/u
/** Keeps a byte-order mark, which JSON does not allow. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const refuse = (refused: TokenRefusal['refused'], detail?: string): TokenRefusal =>
  detail === undefined ? { refused } : { refused, detail }

/**
 * Verifies a token: structure, key, signature, claims, in the order of spec/auth.md §6.4 and with the stricter rules
 * of reliability §7. Never throws; asks the issuer only for a plausible token with an unknown key id.
 */
export async function verifyToken(
  token: string,
  keys: TokenKeys,
  policy: TokenPolicy,
  nowMs: number,
): Promise<TokenVerdict> {
  if (token.length > LIMITS.tokenBytes) return refuse('oversize')
  const parts = token.split('.', 4)
  const [head = '', body = '', signature = ''] = parts
  if (parts.length !== 3 || head === '' || parts.some(part => !PART.test(part) || part.length % 4 === 1))
    return refuse('malformed')
  const header = readHeader(head)
  if ('refused' in header) return header
  const key = keys.find(header.kid) ?? (await resolveKey(header, body, keys, policy))
  if (typeof key === 'string') return key === 'unknown' ? refuse('unknown-key') : refuse('keys-unavailable')
  const verifyWith = key.forAlgorithm.get(header.alg)
  if (!verifyWith) return refuse('algorithm', header.alg)
  const broken = signature === '' ? refuse('signature') : await checkSignature(token, verifyWith, header.alg)
  if (broken) return broken
  const claims = readJson(body)
  return 'refused' in claims ? claims : judgeClaims(claims.object, keys.issuerNames(), policy, nowMs)
}

function readHeader(part: string): Header | TokenRefusal {
  const read = readJson(part)
  if ('refused' in read) return refuse('malformed', read.detail)
  const { alg, kid, typ } = read.object
  if (typeof alg !== 'string' || !KNOWN_ALGORITHMS.has(alg)) return refuse('malformed', 'alg')
  if (typ !== undefined && typ !== null && typeof typ !== 'string') return refuse('malformed', 'typ')
  if (Object.hasOwn(read.object, 'crit')) return refuse('header', 'crit')
  if (typeof typ === 'string' && !HEADER_TYPES.has(typ.toLowerCase())) return refuse('token-type', typ.slice(0, 64))
  if (kid === undefined || kid === null) return refuse('missing-kid')
  return typeof kid === 'string' ? { alg, kid } : refuse('malformed', 'kid')
}

/** A fetch may be caused only by a token that could be ours (J-13, A-4 of spec/auth.md). */
async function resolveKey(header: Header, body: string, keys: TokenKeys, policy: TokenPolicy): Promise<KeyAnswer> {
  if (!policy.algorithms.has(header.alg)) return 'unknown'
  const claims = readJson(body)
  const issuer = 'refused' in claims ? undefined : claims.object['iss']
  return typeof issuer === 'string' && keys.issuerNames().has(issuer) ? keys.resolve(header.kid) : 'unknown'
}

/** Null when the signature is right. Whatever else goes wrong is the token's fault, never INTERNAL (J-45). */
async function checkSignature(token: string, key: CryptoKey, alg: string): Promise<TokenRefusal | null> {
  try {
    await compactVerify(token, key, { algorithms: [alg] })
    return null
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return refuse('signature')
    return error instanceof errors.JWSInvalid
      ? refuse('malformed', errorText(error))
      : refuse('signature', errorText(error))
  }
}

/** The object in one part of a token: UTF-8 without byte-order mark, no flaw that a parser would hide. */
function readJson(part: string): { object: Claims } | TokenRefusal {
  try {
    const text = UTF8.decode(Buffer.from(part, 'base64url'))
    const flaw = findJsonFlaw(text, LIMITS.tokenDepth)
    if (flaw) return refuse(flaw === 'duplicate' ? 'duplicate-claim' : 'payload', flaw)
    const object: unknown = JSON.parse(text)
    if (typeof object === 'object' && object !== null && !Array.isArray(object)) return { object: object as Claims }
    return refuse('payload', 'not an object')
  } catch {
    return refuse('payload', 'not JSON')
  }
}

function judgeClaims(claims: Claims, issuers: ReadonlySet<string>, policy: TokenPolicy, nowMs: number): TokenVerdict {
  const refusal =
    checkSubject(claims) ??
    checkTimes(claims, policy.leewaySecs, nowMs) ??
    checkIssuer(claims, issuers) ??
    checkAudience(claims, policy)
  if (refusal) return refusal
  if (FOREIGN_TYPES.has(claims['typ'])) return refuse('token-type', String(claims['typ']))
  const roles = rolesOf(claims, policy.rolesPath)
  const scopes = policy.scopesPath === null ? { ok: true as const, values: [] } : scopesOf(claims, policy.scopesPath)
  if (!roles.ok || !scopes.ok) return refuse('claim-limit')
  return {
    kind: 'user',
    subject: claims['sub'] as string,
    issuer: claims['iss'] as string,
    displayName: printable(claims['preferred_username']),
    clientId: clientOf(claims),
    roles: roles.values,
    scopes: scopes.values,
    expiresAtMs: (claims['exp'] as number) * 1000,
  }
}

const printable = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' && value.length <= LIMITS.subjectChars && !CONTROL.test(value)
    ? value
    : null

/** The client a token was issued to. */
const clientOf = (claims: Claims): string | null => printable(claims['azp']) ?? printable(claims['client_id'])

function checkSubject(claims: Claims): TokenRefusal | null {
  if (printable(claims['sub']) === null) return refuse('subject', 'sub')
  const isText = (value: unknown) => value === undefined || value === null || typeof value === 'string'
  return isText(claims['preferred_username']) && isText(claims['email'])
    ? null
    : refuse('subject', 'preferred_username or email')
}

/** `exp` is asked for, `nbf` is heeded, `iat` must not lie ahead; whole seconds, a leeway for both clocks (J-15 to J-21). */
function checkTimes(claims: Claims, leewaySecs: number, nowMs: number): TokenRefusal | null {
  const nowSecs = Math.floor(nowMs / 1000)
  const { exp, nbf, iat } = claims
  if (typeof exp !== 'number' || exp < 0) return refuse('missing-exp')
  if (!Number.isSafeInteger(exp) || exp * 1000 > nowMs + LIMITS.tokenLifetimeMs) return refuse('exp-range')
  if (exp < nowSecs - leewaySecs) return refuse('expired')
  if (nbf !== undefined && nbf !== null && typeof nbf !== 'number') return refuse('payload', 'nbf')
  if (typeof nbf === 'number' && nbf > nowSecs + leewaySecs) return refuse('not-yet-valid', 'nbf')
  return typeof iat === 'number' && iat > nowSecs + leewaySecs ? refuse('not-yet-valid', 'iat') : null
}

const checkIssuer = (claims: Claims, issuers: ReadonlySet<string>): TokenRefusal | null =>
  typeof claims['iss'] === 'string' && issuers.has(claims['iss']) ? null : refuse('issuer')

/** Decision 1: a present `aud` must name us; a missing one is excused by the client the token was issued to. */
function checkAudience(claims: Claims, policy: TokenPolicy): TokenRefusal | null {
  const audience = claims['aud']
  if (typeof audience === 'string') return audience === policy.audience ? null : refuse('audience')
  if (Array.isArray(audience))
    return audience.every(item => typeof item === 'string') && audience.includes(policy.audience)
      ? null
      : refuse('audience')
  if (audience !== undefined) return refuse('audience')
  const client = clientOf(claims)
  if (policy.clients === '*' || (client !== null && (client === policy.audience || policy.clients.has(client))))
    return null
  return refuse(
    'audience',
    `token without aud, issued to client ${JSON.stringify(client)}: add an audience mapper to the issuer or list the client in --oidc-clients`,
  )
}
