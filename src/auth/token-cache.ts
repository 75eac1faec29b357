import { hash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { User } from './principal.ts'

/**
 * Remembers verified tokens by their SHA-256, so that no live token stays in memory and a hit costs microseconds
 * (platform.md §1). A hit never outlives the token, and everything is forgotten when the issuer's keys change.
 */
export interface TokenCache {
  keyOf(token: string): string
  get(key: string): User | undefined
  set(key: string, user: User): void
  clear(): void
  /** Changes with `clear`: what was verified before must not be stored after. */
  readonly generation: number
}

export function createTokenCache(clock: Clock, leewaySecs: number): TokenCache {
  const entries = new Map<string, { readonly user: User; readonly untilMs: number }>()
  let generation = 0
  return {
    keyOf: token => hash('sha256', token, 'base64'),
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entries.delete(key)
      const isExpired = Math.floor(clock.nowMs() / 1000) > entry.user.expiresAtMs / 1000 + leewaySecs
      if (isExpired || clock.monotonicMs() >= entry.untilMs) return undefined
      entries.set(key, entry)
      return entry.user
    },
    set(key, user) {
      entries.delete(key)
      entries.set(key, { user, untilMs: clock.monotonicMs() + LIMITS.verifiedTokenMs })
      if (entries.size > LIMITS.verifiedTokens) entries.delete(entries.keys().next().value!)
    },
    clear() {
      entries.clear()
      generation++
    },
    get generation() {
      return generation
    },
  }
}
