import { hashPolicy } from '../domain/policy-hash.ts'
import { LIMITS } from '../limits.ts'
import { decodePolicy } from './policy-revisions.ts'

/**
 * Hashes of stored policies, computed once: a poll of a sandbox then decodes no policy (spec/policy.md W25). `key`
 * is the id of a revision, whose payload never changes, or the payload object itself.
 */
export function createHashMemo(): (key: string | Uint8Array, payload: Uint8Array) => string {
  const byId = new Map<string, string>()
  const byBytes = new WeakMap<Uint8Array, string>()
  return (key, payload) => {
    const known = typeof key === 'string' ? byId.get(key) : byBytes.get(key)
    if (known !== undefined) return known
    const hash = hashPolicy(decodePolicy(payload))
    if (typeof key !== 'string') byBytes.set(key, hash)
    else {
      if (byId.size >= LIMITS.policyHashesRemembered) byId.delete(byId.keys().next().value!)
      byId.set(key, hash)
    }
    return hash
  }
}
