import { randomBytes } from 'node:crypto'
import { AccessRefusal } from '../auth/authenticate.ts'
import type { Credentials } from '../auth/credentials.ts'
import type { MethodRow } from '../auth/methods.ts'
import type { Principal } from '../auth/principal.ts'
import { streamEndMs } from '../auth/sandbox-binding.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError, GRPC_CODES } from '../base/errors.ts'
import type { StreamLifetimes } from '../config/fields.ts'
import type { Audit } from '../observe/audit.ts'
import { describe } from '../observe/audit.ts'
import type { Logger } from '../observe/log.ts'
import { type AnswerBudget, createAnswerBudget } from './answer-budget.ts'
import type { GatewayCall } from './call.ts'
import type { FairShare } from './fair-share.ts'
import { type CallStatus, statusFor, statusOf, TEXTS } from './status.ts'

/** Proves who calls and decides whether they may; throws `GatewayError` otherwise. Synchronous when the answer is cached. */
export interface Authenticator {
  authenticate(row: MethodRow, credentials: Credentials): Principal | Promise<Principal>
}

export interface PipelineDeps {
  readonly authenticator: Authenticator
  readonly clock: Clock
  readonly log: Logger
  readonly audit: Audit
  /** Counts one finished call. */
  readonly observe: (method: string, code: number, seconds: number) => void
  /** Why audit lines are lost, or null; absent = calls go on without them (O-03). */
  readonly auditFault?: () => string | null
  /** How long streams outlive the tokens that opened them; absent = for ever. */
  readonly streams?: StreamLifetimes
  /** Whether a proven caller may make one more call now. */
  readonly share: FairShare
  /** Why no new call is taken, or null. */
  readonly refusal: () => CallStatus | null
}

/** The steps every call passes, and the account kept of it. */
export interface Pipeline {
  readonly clock: Clock
  readonly log: Logger
  readonly answers: AnswerBudget
  nextCallId(): string
  /** Null lets the call through to its handler; a status ends it before its body is read. */
  admit(call: GatewayCall): CallStatus | null | Promise<CallStatus | null>
  finished(call: GatewayCall, code: number): void
}

const CODE_NAMES = Object.fromEntries(Object.entries(GRPC_CODES).map(([name, code]) => [code, name]))
const IDENTITY = 'identity'

/** Every value of the headers that authentication reads, in order of arrival. */
function credentialsOf(call: GatewayCall): Credentials {
  const authorization: string[] = []
  const sandboxSecret: string[] = []
  const raw = call.opening.rawHeaders
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i] === 'authorization') authorization.push(raw[i + 1]!)
    else if (raw[i] === 'x-sandbox-secret') sandboxSecret.push(raw[i + 1]!)
  }
  return { authorization, sandboxSecret, peer: call.peer }
}

/** Messages are never compressed; a call that says otherwise is refused before its body is read (reliability F-13). */
function refuseEncoding(call: GatewayCall): CallStatus | null {
  const raw = call.opening.rawHeaders
  for (let i = 0; i < raw.length; i += 2)
    if (raw[i] === 'grpc-encoding' && raw[i + 1] !== IDENTITY)
      return statusFor('UNIMPLEMENTED', `Content is compressed with \`${raw[i + 1]}\` which isn't supported`)
  return null
}

/** When a stream has outlived its token, in milliseconds since the epoch; null = never. */
function endOf(row: MethodRow, principal: Principal, streams: StreamLifetimes | undefined): number | null {
  if (row.lifetime === null || !streams) return null
  return streamEndMs(principal, row.lifetime === 'watch' ? streams.watchGraceSecs : streams.workGraceSecs)
}

/** Builds the pipeline: admit → authenticate and authorize → share → encoding → audit → handler → account. */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const prefix = randomBytes(4).toString('hex')
  let calls = 0

  const denied = (call: GatewayCall, error: unknown): CallStatus => {
    const status = statusOf(error, call.id)
    const cause = error instanceof GatewayError ? error.cause : error
    deps.audit({
      callId: call.id,
      requestId: call.requestId,
      method: call.row.name,
      peer: call.peer.address,
      principal: error instanceof AccessRefusal ? error.principal : null,
      outcome: 'denied',
      code: CODE_NAMES[status.code] ?? 'UNKNOWN',
      reason: cause === undefined ? status.details : cause instanceof Error ? cause.message : String(cause),
    })
    return status
  }

  const refuseExcess = (principal: Principal): CallStatus | null =>
    deps.share.take(principal) ? null : statusFor('RESOURCE_EXHAUSTED', TEXTS.tooManyCalls)

  const refuseUnaudited = (call: GatewayCall): CallStatus | null =>
    call.row.audit && deps.auditFault?.() ? statusFor('UNAVAILABLE', TEXTS.unaudited) : null

  const accept = (call: GatewayCall, principal: Principal): CallStatus | null => {
    call.principal = principal
    call.endsAtMs = endOf(call.row, principal, deps.streams) ?? Number.POSITIVE_INFINITY
    const status = refuseExcess(principal) ?? refuseEncoding(call) ?? refuseUnaudited(call)
    call.admitted = status === null
    return status
  }

  return {
    clock: deps.clock,
    log: deps.log,
    answers: createAnswerBudget(deps.clock),
    nextCallId: () => `${prefix}-${(++calls).toString(36)}`,
    admit(call) {
      const refusal = deps.refusal()
      if (refusal) return refusal
      try {
        const principal = deps.authenticator.authenticate(call.row, credentialsOf(call))
        if (!(principal instanceof Promise)) return accept(call, principal)
        return principal.then(
          proven => accept(call, proven),
          error => denied(call, error),
        )
      } catch (error) {
        return denied(call, error)
      }
    },
    finished(call, code) {
      const tookMs = deps.clock.monotonicMs() - call.startedMs
      deps.observe(call.row.name, code, tookMs / 1000)
      // A handler refuses too: only it knows whose sandbox a message is about.
      const isRefused = code === GRPC_CODES.PERMISSION_DENIED
      if (call.admitted && (call.row.audit || isRefused))
        deps.audit({
          callId: call.id,
          requestId: call.requestId,
          method: call.row.name,
          peer: call.peer.address,
          principal: call.principal,
          outcome: code === GRPC_CODES.OK ? 'ok' : isRefused ? 'denied' : 'failed',
          code: CODE_NAMES[code] ?? 'UNKNOWN',
        })
      deps.log.info('response', {
        method: 'POST',
        path: call.opening.path,
        status: 200,
        code: CODE_NAMES[code],
        latency_ms: Math.round(tookMs),
        call_id: call.id,
        request_id: call.requestId,
        peer: call.peer.address,
        ...describe(call.principal),
      })
    },
  }
}

export const drainingStatus = (): CallStatus => statusFor('UNAVAILABLE', TEXTS.draining)
