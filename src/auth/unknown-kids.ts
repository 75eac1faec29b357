import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/**
 * Keeps strangers from making the gateway ask the issuer (A-4 of spec/auth.md; J-13, J-14): a bucket of fetches for
 * unknown key ids and a short memory of ids that were looked for in vain.
 */
export interface UnknownKids {
  /** Takes the right to one fetch; false during the cool-down. */
  takeFetch(): boolean
  /** No further fetch before a whole cool-down: many different unknown ids are a flood, no rotation. */
  exhaust(): void
  /** The id was not in a set that was read a moment ago. */
  remember(kid: string): void
  isRemembered(kid: string): boolean
}

export function createUnknownKids(clock: Clock): UnknownKids {
  const seen = new Map<string, number>()
  let fetches: number = LIMITS.unknownKidBurst
  let refilledMs = clock.monotonicMs()

  const refill = () => {
    const earned = Math.floor((clock.monotonicMs() - refilledMs) / LIMITS.unknownKidCooldownMs)
    if (earned === 0) return
    fetches = Math.min(LIMITS.unknownKidBurst, fetches + earned)
    refilledMs += earned * LIMITS.unknownKidCooldownMs
  }

  return {
    takeFetch() {
      refill()
      if (fetches === 0) return false
      if (fetches === LIMITS.unknownKidBurst) refilledMs = clock.monotonicMs()
      fetches--
      return true
    },
    exhaust() {
      fetches = 0
      refilledMs = clock.monotonicMs()
    },
    remember(kid) {
      seen.delete(kid)
      seen.set(kid, clock.monotonicMs() + LIMITS.unknownKidCooldownMs)
      if (seen.size > LIMITS.unknownKids) seen.delete(seen.keys().next().value!)
    },
    isRemembered(kid) {
      const until = seen.get(kid)
      if (until === undefined) return false
      if (clock.monotonicMs() < until) return true
      seen.delete(kid)
      return false
    },
  }
}
