import type { Principal } from '../auth/principal.ts'
import type { RootLogger } from './log.ts'

/** One decision about a call: who asked for what, and what came of it (reliability O-01). Never a token, never a secret. */
export interface AuditRecord {
  readonly callId: string
  /** The client's own name of the call. */
  readonly requestId: string | undefined
  readonly method: string
  readonly peer: string
  readonly principal: Principal | null
  /** `denied`: refused, before the handler ran or by it; otherwise what came of the call. */
  readonly outcome: 'denied' | 'ok' | 'failed'
  /** gRPC status code name, and for a denial the reason a log may hold. */
  readonly code: string
  readonly reason?: string
}

export type Audit = (record: AuditRecord) => void

/** Writes audit records as log lines that are dropped last. */
export function createAudit(log: RootLogger): Audit {
  return record =>
    log.audit('audit', {
      call_id: record.callId,
      request_id: record.requestId,
      method: record.method,
      outcome: record.outcome,
      code: record.code,
      reason: record.reason,
      peer: record.peer,
      ...describe(record.principal),
    })
}

/** The parts of a principal that may be written down. */
export function describe(principal: Principal | null): Record<string, unknown> {
  if (!principal) return {}
  switch (principal.kind) {
    case 'anonymous':
      return { auth: 'anonymous' }
    case 'sandbox':
      return { auth: `sandbox-${principal.proof}`, caller_sandbox: principal.sandboxId ?? undefined }
    case 'user':
      return {
        auth: 'bearer',
        subject: principal.subject,
        issuer: principal.issuer,
        client: principal.clientId ?? undefined,
      }
  }
}
