import { type CryptoKey, importJWK, type JWK } from 'jose'
import { LIMITS } from '../limits.ts'
import { ALGORITHM_NAMES, ALGORITHMS, type Algorithm } from './algorithms.ts'

/** A public key of the issuer, ready to verify with each algorithm it may be used for. */
export interface VerifyKey {
  readonly kid: string
  readonly forAlgorithm: ReadonlyMap<string, CryptoKey>
}

/** A member of the document that is not used, and why. */
export interface DroppedKey {
  readonly kid: string | null
  readonly reason: string
}

export interface KeySet {
  readonly keys: ReadonlyMap<string, VerifyKey>
  readonly dropped: readonly DroppedKey[]
  /** The same for the same usable keys. */
  readonly fingerprint: string
}

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const BASE64URL = /^[A-Za-z0-9_-]+$/

const KEY_TYPES: ReadonlySet<unknown> = new Set(['RSA', 'EC', 'OKP'])

/**
 * The usable keys of a key set document. A bad member is dropped alone (K-09); null when the document as a whole is
 * not a key set or has too many members (K-08).
 */
export async function readKeySet(document: unknown, algorithms: ReadonlySet<string>): Promise<KeySet | null> {
  const members = (document as { keys?: unknown } | null)?.keys
  if (typeof document !== 'object' || !Array.isArray(members) || members.length > LIMITS.issuerKeys) return null
  const dropped: DroppedKey[] = []
  const found = new Map<string, { key: JWK; usable: readonly Algorithm[] }>()
  const clashing = new Set<string>()
  for (const member of members as unknown[]) {
    const verdict = judgeKey(member, algorithms)
    if ('reason' in verdict) {
      dropped.push(verdict)
      continue
    }
    const known = found.get(verdict.kid)
    if (known && identity(known.key) !== identity(verdict.key)) clashing.add(verdict.kid)
    found.set(verdict.kid, verdict)
  }
  for (const kid of clashing) {
    found.delete(kid)
    dropped.push({ kid, reason: 'different keys of one id' })
  }
  const keys = new Map<string, VerifyKey>()
  const fingerprint: string[] = []
  for (const [kid, { key, usable }] of found) {
    const imported = await importKey(kid, key, usable)
    if (!imported) {
      dropped.push({ kid, reason: 'not a valid key' })
      continue
    }
    keys.set(kid, imported)
    fingerprint.push(JSON.stringify([kid, identity(key), usable]))
  }
  return { keys, dropped, fingerprint: fingerprint.sort().join() }
}

function judgeKey(
  member: unknown,
  algorithms: ReadonlySet<string>,
): { kid: string; key: JWK; usable: readonly Algorithm[] } | DroppedKey {
  if (typeof member !== 'object' || member === null || Array.isArray(member))
    return { kid: null, reason: 'not an object' }
  const key = member as JWK
  const kid = key.kid
  if (typeof kid !== 'string' || kid.length > LIMITS.kidChars) return { kid: null, reason: 'no usable kid' }
  const drop = (reason: string): DroppedKey => ({ kid, reason })
  if (!KEY_TYPES.has(key.kty)) return drop('key type')
  if (PRIVATE_MEMBERS.some(name => Object.hasOwn(key, name))) return drop('private key')
  if (key.use !== undefined && key.use !== 'sig') return drop('not for signatures')
  const operations: unknown = key.key_ops
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return drop('not for verifying')
  const isRsa = key.kty === 'RSA'
  const flaw = isRsa ? checkRsa(key) : null
  if (flaw !== null) return drop(flaw)
  const type = isRsa ? 'RSA' : `${key.kty} ${key.crv}`
  const possible = ALGORITHM_NAMES.filter(name => ALGORITHMS[name] === type)
  if (possible.length === 0) return drop('unknown curve')
  const usable = possible.filter(name => algorithms.has(name) && (key.alg === undefined || key.alg === name))
  return usable.length === 0 ? drop('algorithm') : { kid, key, usable }
}

/** Why an RSA key is refused, or null. A modulus that starts with a zero byte is not minimal, as RFC 7518 asks. */
function checkRsa(key: JWK): string | null {
  if (typeof key.n !== 'string' || !BASE64URL.test(key.n) || typeof key.e !== 'string' || !BASE64URL.test(key.e))
    return 'modulus or exponent'
  const modulus = Buffer.from(key.n, 'base64url')
  const exponent = Buffer.from(key.e, 'base64url')
  const first = modulus[0] ?? 0
  if (first === 0) return 'modulus'
  const bits = modulus.length * 8 - (Math.clz32(first) - 24)
  if (bits < LIMITS.rsaBitsLeast || bits > LIMITS.rsaBitsMost) return `${bits} bits`
  const isTooSmall = exponent.length === 1 && exponent[0]! < 3
  if (exponent.length > 4 || isTooSmall || (exponent.at(-1)! & 1) === 0) return 'exponent'
  return null
}

const identity = (key: JWK): string => JSON.stringify([key.kty, key.n, key.e, key.crv, key.x, key.y, key.alg])

/** Only the members that make the public key: no `x5c`, `key_ops` or `ext` can disturb the import. */
async function importKey(kid: string, key: JWK, usable: readonly Algorithm[]): Promise<VerifyKey | null> {
  const { kty, n, e, crv, x, y } = key
  const bare = Object.fromEntries(Object.entries({ kty, n, e, crv, x, y }).filter(([, value]) => value !== undefined))
  try {
    const forAlgorithm = new Map<string, CryptoKey>()
    for (const name of usable) {
      const imported = await importJWK(bare as JWK, name)
      if (imported instanceof Uint8Array) return null
      forAlgorithm.set(name, imported)
    }
    return { kid, forAlgorithm }
  } catch {
    return null
  }
}
