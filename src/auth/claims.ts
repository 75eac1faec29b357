import { LIMITS } from '../limits.ts'

/** Names from the top of the payload down to a claim. */
export type ClaimPath = readonly string[]

/** Decoded payload of a token. */
export type Claims = Readonly<Record<string, unknown>>

/** A list read from a token, or the fact that it is larger than allowed (J-30). */
export type ClaimList = { readonly ok: true; readonly values: readonly string[] } | { readonly ok: false }

/** Granted by every issuer for its own purposes; no scope of ours. */
const STANDARD_SCOPES: ReadonlySet<string> = new Set(['openid', 'profile', 'email', 'offline_access'])

/** Fields of their own in the identity, so no path leads to them (spec/auth.md §6.5). */
const CONSUMED: ReadonlySet<string> = new Set(['sub', 'preferred_username', 'email'])

const WHITE_SPACE = /\p{White_Space}+/u

/**
 * Reads a configured path: names joined by dots, or a JSON Pointer when it starts with `/` (spec/auth.md §6.5 [B]).
 * The empty text is the claim with the empty name. A path that cannot lead anywhere is refused with a sentence (J-31).
 */
export function parseClaimPath(text: string): { ok: true; path: ClaimPath } | { ok: false; message: string } {
  const isPointer = text.startsWith('/')
  const segments = isPointer ? text.slice(1).split('/') : text.split('.')
  if (segments.length > LIMITS.claimPathSegments)
    return { ok: false, message: `has more than ${LIMITS.claimPathSegments} segments` }
  if (segments.length > 1 && segments.includes('')) return { ok: false, message: 'has an empty segment' }
  if (!isPointer) return { ok: true, path: segments }
  if (segments.some(segment => /~(?![01])/.test(segment)))
    return { ok: false, message: 'has a ~ that is neither ~0 nor ~1' }
  return { ok: true, path: segments.map(segment => segment.replaceAll('~1', '/').replaceAll('~0', '~')) }
}

/** The value at a path, by own members of plain objects only: no prototype, no array index (J-28, J-31). */
export function claimAt(claims: Claims, path: ClaimPath): unknown {
  if (CONSUMED.has(path[0]!)) return undefined
  let value: unknown = claims
  for (const name of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/** Roles of a token: an array's texts, or one text split at white space; anything else is no role (J-29, J-32). */
export const rolesOf = (claims: Claims, path: ClaimPath): ClaimList => readList(claimAt(claims, path))

/** Scopes of a token without the standard ones: a text split at white space, or an array's texts as they are (J-33). */
export function scopesOf(claims: Claims, path: ClaimPath): ClaimList {
  const list = readList(claimAt(claims, path))
  return list.ok ? { ok: true, values: list.values.filter(scope => !STANDARD_SCOPES.has(scope)) } : list
}

function readList(value: unknown): ClaimList {
  const items = typeof value === 'string' ? value.split(WHITE_SPACE).filter(item => item !== '') : value
  if (!Array.isArray(items)) return { ok: true, values: [] }
  if (items.length > LIMITS.tokenRoles) return { ok: false }
  const values = items.filter(item => typeof item === 'string')
  return values.some(item => Buffer.byteLength(item) > LIMITS.tokenRoleBytes) ? { ok: false } : { ok: true, values }
}
