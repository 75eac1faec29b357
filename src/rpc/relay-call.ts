import type { ServerHttp2Stream } from 'node:http2'
import { Metadata, type ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { GatewayError, GRPC_CODES } from '../base/errors.ts'
import { RelayWire } from '../live/relay-wire.ts'
import { type CallOpening, GatewayCall } from './call.ts'
import type { CallContext } from './context.ts'
import type { Pipeline } from './pipeline.ts'
import { type CallStatus, statusOf } from './status.ts'

/**
 * Serves one RelayStream. Resolves when the relay is over in both directions; throws the status that ends it. `accept`
 * sends the response headers, which the supervisor waits for before it connects its daemon (spec/relay.md §2): call
 * it once the relay is claimed.
 */
export type RelayWireHandler = (wire: RelayWire, accept: () => void, context: CallContext) => Promise<void>

export interface RelayServing {
  readonly pipeline: Pipeline
  readonly handler: RelayWireHandler
  /** A bug was caught. */
  readonly onBug: (error: unknown, call: CallContext) => void
  /** The call is one that a drain must end. */
  readonly track: (call: GatewayCall) => void
}

type Wire = ServerInterceptingCallInterface

/**
 * Takes a RelayStream past the gRPC library, which stops reading a stream once its status is out, counts messages
 * instead of bytes, and copies each of them twice. Everything else, authentication and account included, is the
 * same pipeline as for any call.
 */
export function serveRelay(stream: ServerHttp2Stream, opening: CallOpening, serving: RelayServing): void {
  const wire = statusWriter(stream)
  const call = new GatewayCall(wire, opening, serving.pipeline)
  serving.track(call)
  stream.on('error', () => {})
  call.start({
    onReceiveMetadata: () => void run(call, stream, wire, serving),
    onReceiveMessage() {},
    onReceiveHalfClose() {},
    onCancel() {},
  })
}

async function run(
  call: GatewayCall,
  stream: ServerHttp2Stream,
  wire: StatusWriter,
  serving: RelayServing,
): Promise<void> {
  const relay = new RelayWire(stream, {
    awaitsInit: true,
    onOdd: reason => call.log.warn('relay input ended', { reason }),
  })
  relay.on('error', () => {})
  relay.once('finish', () => call.sendStatus({ code: GRPC_CODES.OK, details: '' }))
  // Ended from outside, by a drain: not by the end of this direction alone.
  call.signal.addEventListener('abort', () => relay.writableFinished || relay.destroy(), { once: true })
  try {
    await serving.handler(relay, () => wire.respond(), call)
    call.sendStatus({ code: GRPC_CODES.OK, details: '' })
  } catch (error) {
    if (!(error instanceof GatewayError)) serving.onBug(error, call)
    call.end(statusOf(error, call.id))
  } finally {
    relay.destroy()
  }
}

interface StatusWriter extends Wire {
  /** Sends the response headers; at once, and once. */
  respond(): void
}

const HEAD = { ':status': 200, 'content-type': 'application/grpc' } as const

/** The part of a call that GatewayCall writes to: headers, and a status in trailers, or alone when no header went out. */
function statusWriter(stream: ServerHttp2Stream): StatusWriter {
  let status: CallStatus | null = null
  const trailers = () => {
    const { code, details } = status ?? { code: GRPC_CODES.OK, details: '' }
    return { 'grpc-status': String(code), ...(details === '' ? {} : { 'grpc-message': encodeURIComponent(details) }) }
  }
  const usable = () => !stream.destroyed && !stream.closed
  const unused = (): never => {
    throw new Error('not part of a relay')
  }
  return {
    respond() {
      if (!usable() || stream.headersSent) return
      stream.on('wantTrailers', () => usable() && stream.sendTrailers(trailers()))
      stream.respond(HEAD, { waitForTrailers: true })
    },
    start(listener) {
      stream.once('close', () => listener.onCancel())
      listener.onReceiveMetadata(new Metadata())
    },
    sendStatus(given) {
      status ??= { code: given.code, details: given.details }
      if (!usable()) return
      if (stream.headersSent) stream.writableEnded || stream.end()
      else stream.respond({ ...HEAD, ...trailers() }, { endStream: true })
    },
    sendMetadata: unused,
    sendMessage: unused,
    startRead() {},
    getPeer: () => '',
    getDeadline: () => Number.POSITIVE_INFINITY,
    getHost: () => '',
    getAuthContext: () => ({}),
    getConnectionInfo: () => ({}),
    getMetricsRecorder: unused,
  }
}
