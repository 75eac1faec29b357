import { AUTH_TEXTS } from '../auth/texts.ts'
import { type ErrorKind, GatewayError, GRPC_CODES } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'

/**
 * TABLE of the public texts clients match on (decision 13). A text that a client can see and that a rule fixes stands
 * here and nowhere else; groups by area.
 */
export const TEXTS = {
  ...AUTH_TEXTS,
  draining: 'gateway shutting down',
  deadline: 'deadline exceeded',
  missingMessage: 'Missing request message.',
  compressionFlag: (flag: number) =>
    `protocol error: received message with invalid compression flag: ${flag} (valid flags are 0 and 1), while sending request`,
  unaudited: 'the audit log cannot be written',
  tooMuchAtOnce: 'too much is being received at once',
  tooMuchUnread: 'too many large answers have not been read yet; read them, or ask for smaller pages',
  tooManyCalls: 'too many calls of this user',
} as const

/** What goes onto the wire at the end of a call. */
export interface CallStatus {
  readonly code: number
  readonly details: string
}

/** The status of anything a handler threw. A bug shows the call id and nothing else. */
export function statusOf(error: unknown, callId: string): CallStatus {
  if (error instanceof GatewayError) return { code: GRPC_CODES[error.kind], details: publicText(error.publicText) }
  return { code: GRPC_CODES.INTERNAL, details: `internal error (call ${callId})` }
}

export const statusFor = (kind: ErrorKind, text: string): CallStatus => ({
  code: GRPC_CODES[kind],
  details: publicText(text),
})

/** Control characters of a status text but the line end, written out so that no terminal obeys them (decision 20). */
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** Well-formed, free of control characters, at most 4 KiB, cut at a character. */
export function publicText(text: string): string {
  const clean = text
    .toWellFormed()
    .replace(CONTROL, c => (c === '\t' ? ' ' : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`))
  if (Buffer.byteLength(clean) <= LIMITS.statusTextBytes) return clean
  let end = LIMITS.statusTextBytes - 3
  const bytes = Buffer.from(clean)
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return `${bytes.subarray(0, end).toString()}…`
}
