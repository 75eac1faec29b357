import { GatewayError } from '../base/errors.ts'
import type { Principal } from './principal.ts'
import { AUTH_TEXTS } from './texts.ts'

/** Whether a caller may act for a sandbox. Only a secret of one sandbox binds; users, master and open modes do not. */
export const mayActFor = (principal: Principal, sandboxId: string): boolean =>
  principal.kind !== 'sandbox' || principal.sandboxId === null || principal.sandboxId === sandboxId

/**
 * For every handler that a supervisor reaches, once the id of the sandbox is known and before anything about it is
 * said (decision 3, A-3). Throws PERMISSION_DENIED when the caller's secret belongs to another sandbox.
 */
export function requireSandbox(principal: Principal, sandboxId: string): void {
  if (!mayActFor(principal, sandboxId)) throw new GatewayError('PERMISSION_DENIED', AUTH_TEXTS.secretForeign)
}

/** Whether the call was let in by a sandbox secret, which restricts UpdateConfig (spec/auth.md §5). */
export const isSecretCaller = (principal: Principal): boolean =>
  principal.kind === 'sandbox' && principal.proof !== 'certificate'

/**
 * When a stream that a token opened has to end with UNAUTHENTICATED `token expired`, in milliseconds since the epoch;
 * null = it may go on (spec/auth.md §6.7, A-14). `graceSecs` null = streams outlive their tokens.
 */
export const streamEndMs = (principal: Principal, graceSecs: number | null): number | null =>
  principal.kind === 'user' && graceSecs !== null ? principal.expiresAtMs + graceSecs * 1000 : null
