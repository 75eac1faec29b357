/** What the caller of a supervisor stream proved, and where it came from. */
export interface SupervisorCaller {
  /** `derived`: the secret of the sandbox named by `boundTo`; `master`: the fleet's secret; `certificate`: a verified certificate. */
  readonly proof: 'none' | 'certificate' | 'master' | 'derived'
  /** The only sandbox this caller may act for; null = any. */
  readonly boundTo: string | null
  /** Fingerprint of a verified client certificate, whatever else was proven. */
  readonly fingerprint: string | null
  readonly address: string
  /** Identity of the connection. */
  readonly connection: object
}

/** Two calls that come from the same supervisor as far as anyone can tell: one credential, or one certificate. */
export function isSameSupervisor(one: SupervisorCaller, other: SupervisorCaller): boolean {
  if (one.connection === other.connection) return true
  if (one.fingerprint !== null && one.fingerprint === other.fingerprint) return true
  return (
    one.proof === other.proof &&
    one.boundTo === other.boundTo &&
    (one.proof !== 'certificate' && one.proof !== 'none' ? true : !one.fingerprint && !other.fingerprint)
  )
}

/** Whether a caller may act for a sandbox at all (decision 3). */
export const mayActFor = (caller: SupervisorCaller, sandboxId: string): boolean =>
  caller.boundTo === null || caller.boundTo === sandboxId

/**
 * Whether a hello may replace a live session (spec/auth.md §8): the same supervisor, one that holds the sandbox's
 * own secret, or any when the old one proved nothing.
 */
export function mayTakeOver(old: SupervisorCaller, next: SupervisorCaller): boolean {
  if (isSameSupervisor(old, next)) return true
  return next.proof === 'derived' || (old.proof === 'none' && old.fingerprint === null)
}

/** Whether a claim of a relay comes from where its announcement went (W3). */
export const mayClaim = (announcedTo: SupervisorCaller, claimer: SupervisorCaller): boolean =>
  isSameSupervisor(announcedTo, claimer)
