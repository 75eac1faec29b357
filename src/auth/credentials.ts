import type { GuessingPeer } from './failure-throttle.ts'

/** The other end of a call, as far as authentication looks at it. */
export interface CallerPeer extends GuessingPeer {
  /** SHA-256 of a client certificate that verified against the configured CA; null = none. */
  readonly certificateFingerprint: string | null
}

/** What a caller presented: every value of the two headers, as it arrived. */
export interface Credentials {
  readonly authorization: readonly string[]
  readonly sandboxSecret: readonly string[]
  readonly peer: CallerPeer
}

/** Header text that is more than printable ASCII counts as absent (spec/auth.md §2). */
const READABLE = /^[\t\x20-\x7e]*$/
const SCHEME = /^bearer /i

/** The token of a call: the text behind `Bearer `, or why there is none. The scheme counts in any case (§2 [B]). */
export function bearerOf(values: readonly string[]): { token: string } | 'absent' | 'repeated' {
  const value = values[0]
  if (value === undefined) return 'absent'
  if (values.length > 1) return 'repeated'
  return READABLE.test(value) && SCHEME.test(value) ? { token: value.slice(7) } : 'absent'
}

/** The first secret of a call, or undefined. */
export function secretOf(values: readonly string[]): string | undefined {
  const value = values[0]
  return value !== undefined && READABLE.test(value) ? value : undefined
}
