import type { MethodRow } from '../auth/methods.ts'
import type { Principal } from '../auth/principal.ts'
import type { Logger } from '../observe/log.ts'

/** The other end of a connection. */
export interface Peer {
  readonly address: string
  readonly port: number
  /** SHA-256 fingerprint of a client certificate that verified against the configured CA; null = none. */
  readonly certificateFingerprint: string | null
  /** Identity of the underlying connection, to tell whether two calls share it. */
  readonly connection: object
}

/** Everything a handler may know about its call beside the message. */
export interface CallContext {
  /** Random, printed in logs and in the text of INTERNAL errors. */
  readonly id: string
  readonly row: MethodRow
  readonly principal: Principal
  readonly peer: Peer
  /** Aborts when the client goes away, the deadline passes or the gateway drains. */
  readonly signal: AbortSignal
  /** Monotonic moment (clock.monotonicMs) at which the call must be over; Infinity for streams without a deadline. */
  readonly deadlineMs: number
  readonly log: Logger
}
