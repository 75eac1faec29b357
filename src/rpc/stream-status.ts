import type { ServerHttp2Stream } from 'node:http2'
import { Metadata, type ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { GRPC_CODES } from '../base/errors.ts'
import { ifThere } from './gone-stream.ts'
import type { CallStatus } from './status.ts'

/** The part of a call that GatewayCall writes to, on an HTTP/2 stream that the gRPC library knows nothing of. */
export interface StreamStatus extends ServerInterceptingCallInterface {
  /** Sends the response headers; at once, and once. */
  respond(): void
}

const HEAD = { ':status': 200, 'content-type': 'application/grpc' } as const

const trailersOf = ({ code, details }: CallStatus) => ({
  'grpc-status': String(code),
  ...(details === '' ? {} : { 'grpc-message': encodeURIComponent(details) }),
})

/** Sends headers, and a status in trailers, or alone when no header went out. `onStatus` hears of the status. */
export function writeStatusTo(stream: ServerHttp2Stream, onStatus: () => void = () => {}): StreamStatus {
  return new StatusWriter(stream, onStatus)
}

class StatusWriter implements StreamStatus {
  readonly #stream: ServerHttp2Stream
  readonly #onStatus: () => void
  #status: CallStatus | null = null

  constructor(stream: ServerHttp2Stream, onStatus: () => void) {
    this.#stream = stream
    this.#onStatus = onStatus
  }

  get #isUsable(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed
  }

  respond(): void {
    const stream = this.#stream
    if (!this.#isUsable || stream.headersSent) return
    stream.on('wantTrailers', () => {
      ifThere(stream, () => stream.sendTrailers(trailersOf(this.#status ?? { code: GRPC_CODES.OK, details: '' })))
    })
    ifThere(stream, () => stream.respond(HEAD, { waitForTrailers: true }))
  }

  start(listener: Parameters<ServerInterceptingCallInterface['start']>[0]): void {
    this.#stream.once('close', () => listener.onCancel())
    listener.onReceiveMetadata(new Metadata())
  }

  sendStatus(given: { code: number; details: string }): void {
    const stream = this.#stream
    const status = this.#status ?? { code: given.code, details: given.details }
    this.#status = status
    if (this.#isUsable) {
      if (stream.headersSent) stream.writableEnded || stream.end()
      else ifThere(stream, () => stream.respond({ ...HEAD, ...trailersOf(status) }, { endStream: true }))
    }
    this.#onStatus()
  }

  // The rest is the library's side of a call, which has none here. On the prototype: these objects are many.
  sendMetadata(): void {}
  sendMessage(): void {}
  startRead(): void {}
  getPeer(): string {
    return ''
  }
  getDeadline(): number {
    return Number.POSITIVE_INFINITY
  }
  getHost(): string {
    return ''
  }
  getAuthContext(): Record<string, never> {
    return {}
  }
  getConnectionInfo(): Record<string, never> {
    return {}
  }
  getMetricsRecorder(): never {
    throw new Error('no metrics')
  }
}
