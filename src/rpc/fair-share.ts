import type { Principal } from '../auth/principal.ts'
import type { Clock } from '../base/clock.ts'
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts'
import { LIMITS } from '../limits.ts'

/** What one user may take of what all share (F-18). */
export interface FairShare {
  /** Whether the caller may make one more call now. */
  take(principal: Principal): boolean
}

const UNLIMITED: FairShare = { take: () => true }

/**
 * A bucket of calls for each user: `perSecond`, and twice as many at once; 0 = no limit. Sandboxes have limits of
 * their own, and nobody knows who the anonymous are.
 */
export function createFairShare(perSecond: number, clock: Clock): FairShare {
  if (perSecond === 0) return UNLIMITED
  /** Least recently seen first. */
  const buckets = new Map<string, TokenBucket>()
  return {
    take(principal) {
      if (principal.kind !== 'user') return true
      const user = `${principal.issuer} ${principal.subject}`
      const bucket = buckets.get(user) ?? createTokenBucket(2 * perSecond, perSecond, clock.monotonicMs)
      buckets.delete(user)
      buckets.set(user, bucket)
      if (buckets.size > LIMITS.fairShareUsers) buckets.delete(buckets.keys().next().value!)
      return bucket.take(1) === 1
    },
  }
}
