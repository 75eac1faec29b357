import type { ServerHttp2Stream } from 'node:http2'
import type { Metadata, ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { MethodRow } from '../auth/methods.ts'
import { ANONYMOUS, type Principal } from '../auth/principal.ts'
import { GRPC_CODES } from '../base/errors.ts'
import type { Logger } from '../observe/log.ts'
import type { CallContext, Peer } from './context.ts'
import type { Pipeline } from './pipeline.ts'
import { type CallStatus, statusFor, TEXTS } from './status.ts'

type Listener = Parameters<ServerInterceptingCallInterface['start']>[0]
type PartialStatus = Parameters<ServerInterceptingCallInterface['sendStatus']>[0]

/** What the server knows about a call before grpc-js has read any of it. */
export interface CallOpening {
  readonly row: MethodRow
  readonly stream: ServerHttp2Stream
  readonly peer: Peer
  /** Name and value alternating, as they arrived: the only place where a repeated header shows. */
  readonly rawHeaders: readonly string[]
  readonly path: string
  /** A call that asks for proof passed the pipeline: its connection is not a stranger's any more. */
  readonly onAdmitted: () => void
  /** Something was written. */
  readonly onWritten: () => void
}

const REQUEST_ID = /^[A-Za-z0-9-]{1,64}$/

/** What the client calls this call, when that is a word that any log can hold (O-06). */
function requestIdOf(raw: readonly string[]): string | undefined {
  for (let i = 0; i < raw.length; i += 2)
    if (raw[i] === 'x-request-id') return REQUEST_ID.test(raw[i + 1]!) ? raw[i + 1] : undefined
  return undefined
}

/** Contexts of calls that passed the pipeline, found by the handler through the metadata object it is given. */
export const contexts = new WeakMap<Metadata, GatewayCall>()

/**
 * Stands between the wire and the handler of one call: runs the pipeline before a byte of the body is decoded, and
 * sees how the call ends.
 */
export class GatewayCall implements ServerInterceptingCallInterface, CallContext {
  readonly id: string
  readonly requestId: string | undefined
  readonly row: MethodRow
  readonly peer: Peer
  readonly startedMs: number
  principal: Principal = ANONYMOUS
  /** The pipeline let it through to its handler. */
  admitted = false
  deadlineMs = Number.POSITIVE_INFINITY
  /** Wall time at which the token that opened the stream is over, grace included (T-01, A-14). */
  endsAtMs = Number.POSITIVE_INFINITY
  readonly #wire: ServerInterceptingCallInterface
  #opening: CallOpening
  readonly #pipeline: Pipeline
  #abort: AbortController | undefined
  #log: Logger | undefined
  #hasMessage = false
  #ended = false

  constructor(wire: ServerInterceptingCallInterface, opening: CallOpening, pipeline: Pipeline) {
    this.#wire = wire
    this.#opening = opening
    this.#pipeline = pipeline
    this.id = pipeline.nextCallId()
    this.requestId = requestIdOf(opening.rawHeaders)
    this.row = opening.row
    this.peer = opening.peer
    this.startedMs = pipeline.clock.monotonicMs()
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#ended) this.#abort.abort()
    return this.#abort.signal
  }

  get log(): Logger {
    this.#log ??= this.#pipeline.log.child({ call_id: this.id, request_id: this.requestId })
    return this.#log
  }

  get opening(): CallOpening {
    return this.#opening
  }

  get ended(): boolean {
    return this.#ended
  }

  start(listener: Listener): void {
    this.#wire.start({
      onReceiveMetadata: metadata => {
        // A time-out of next to nothing is over before the library's timer fires (F-16).
        if (Number(this.#wire.getDeadline()) <= this.#pipeline.clock.nowMs())
          return this.end(statusFor('DEADLINE_EXCEEDED', TEXTS.deadline))
        const verdict = this.#pipeline.admit(this)
        if (verdict instanceof Promise) void verdict.then(status => this.#proceed(status, metadata, listener))
        else this.#proceed(verdict, metadata, listener)
      },
      onReceiveMessage: message => {
        this.#hasMessage = true
        listener.onReceiveMessage(message)
      },
      onReceiveHalfClose: () => {
        if (!this.#hasMessage && !this.row.requestStream) return this.end(statusFor('INTERNAL', TEXTS.missingMessage))
        listener.onReceiveHalfClose()
      },
      onCancel: () => {
        this.#finish(GRPC_CODES.CANCELLED)
        listener.onCancel()
      },
    })
  }

  #proceed(status: CallStatus | null, metadata: Metadata, listener: Listener): void {
    if (this.#ended) return
    if (status) return this.end(status)
    if (this.row.deadlineMs !== null) this.deadlineMs = this.startedMs + this.row.deadlineMs
    if (this.row.class !== 'unauthenticated') this.#opening.onAdmitted()
    // Streams stay for days, and nobody asks for the headers again.
    this.#opening = { ...this.#opening, rawHeaders: [] }
    contexts.set(metadata, this)
    listener.onReceiveMetadata(metadata)
  }

  /** Waits until its answer, a page of records, may be made; false = there was no room for too long. */
  roomForPage(): boolean | Promise<boolean> {
    return this.#pipeline.answers.enter(this)
  }

  /** Ends the call when its time is over; asked for all open calls now and then, cheaper than a timer each. */
  endIfLate(monotonicMs: number, nowMs: number): void {
    if (monotonicMs >= this.deadlineMs) this.end(statusFor('DEADLINE_EXCEEDED', TEXTS.deadline))
    else if (nowMs >= this.endsAtMs) this.end(statusFor('UNAUTHENTICATED', TEXTS.tokenExpired))
  }

  /** Ends the call from outside its handler: a deadline, the drain. */
  end(status: CallStatus): void {
    this.sendStatus({ code: status.code, details: status.details })
    this.#abort?.abort()
  }

  sendStatus(status: PartialStatus): void {
    if (this.#ended) return
    this.#wire.sendStatus({
      code: status.code,
      details: status.code === GRPC_CODES.OK ? '' : status.details.toWellFormed(),
      metadata: status.metadata ?? null,
    })
    this.#opening.onWritten()
    this.#finish(status.code)
  }

  #finish(code: number): void {
    if (this.#ended) return
    this.#ended = true
    this.#abort?.abort()
    this.#pipeline.finished(this, code)
  }

  sendMetadata(metadata: Metadata): void {
    this.#wire.sendMetadata(metadata)
    this.#opening.onWritten()
  }

  sendMessage(message: Buffer, callback: () => void): void {
    if (this.row.kind === 'unary' && !this.#pipeline.answers.hold(this, message.length))
      return this.end(statusFor('RESOURCE_EXHAUSTED', TEXTS.tooMuchUnread))
    this.#wire.sendMessage(message, callback)
    this.#opening.onWritten()
  }

  startRead(): void {
    this.#wire.startRead()
  }

  getPeer(): string {
    return this.#wire.getPeer()
  }

  getDeadline(): ReturnType<ServerInterceptingCallInterface['getDeadline']> {
    return this.#wire.getDeadline()
  }

  getHost(): string {
    return this.#wire.getHost()
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface['getAuthContext']> {
    return this.#wire.getAuthContext()
  }

  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface['getConnectionInfo']> {
    return this.#wire.getConnectionInfo()
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface['getMetricsRecorder']> {
    return this.#wire.getMetricsRecorder()
  }
}
