/** The gRPC codes in use, by name, with their numbers (design.md §5). */
export const GRPC_CODES = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

export type ErrorKind = Exclude<keyof typeof GRPC_CODES, 'OK'>

/**
 * An answer other than OK: an expected refusal, or something outside that broke. `publicText` is all a client
 * sees; `cause` goes to the log under the call id and nowhere else. Anything else thrown is a bug and becomes
 * INTERNAL "internal error".
 */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly kind: ErrorKind
  readonly publicText: string

  constructor(kind: ErrorKind, publicText: string, options?: { cause?: unknown }) {
    super(publicText, options)
    this.kind = kind
    this.publicText = publicText
  }
}

/** Ends the start with one sentence on stderr. Exit 1: the world is at fault; exit 2: the command line is (design.md §5). */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly exitCode: 1 | 2

  constructor(message: string, exitCode: 1 | 2 = 1, options?: { cause?: unknown }) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** The text of anything thrown, for logs. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
