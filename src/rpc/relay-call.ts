import type { ServerHttp2Stream } from 'node:http2'
import { GatewayError, GRPC_CODES } from '../base/errors.ts'
import { RelayWire } from '../live/relay-wire.ts'
import { type CallOpening, GatewayCall } from './call.ts'
import type { CallContext } from './context.ts'
import type { Pipeline } from './pipeline.ts'
import { statusOf } from './status.ts'
import { type StreamStatus, writeStatusTo } from './stream-status.ts'

/**
 * Serves one RelayStream. Resolves when the relay is over in both directions; throws the status that ends it. `accept`
 * sends the response headers, which the supervisor waits for before it connects its daemon (spec/relay.md §2): call
 * it once the relay is claimed.
 */
export type RelayWireHandler = (wire: RelayWire, accept: () => void, context: CallContext) => Promise<void>

/** What a call past the gRPC library shares with every other one. */
export interface StreamServing<Handler> {
  readonly pipeline: Pipeline
  readonly handler: Handler
  /** A bug was caught. */
  readonly onBug: (error: unknown, call: CallContext) => void
  /** The call is one that a drain must end. */
  readonly track: (call: GatewayCall) => void
  /** The first message came. */
  readonly heard: (stream: ServerHttp2Stream) => void
}

/**
 * Takes a RelayStream past the gRPC library, which stops reading a stream once its status is out, counts messages
 * instead of bytes, and copies each of them twice. Everything else, authentication and account included, is the
 * same pipeline as for any call.
 */
export function serveRelay(
  stream: ServerHttp2Stream,
  opening: CallOpening,
  serving: StreamServing<RelayWireHandler>,
): void {
  const wire = writeStatusTo(stream)
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
  wire: StreamStatus,
  serving: StreamServing<RelayWireHandler>,
): Promise<void> {
  const relay = new RelayWire(stream, {
    awaitsInit: true,
    onOdd: reason => call.log.warn('relay input ended', { reason }),
  })
  relay.on('error', () => {})
  const accept = () => {
    serving.heard(stream)
    wire.respond()
  }
  relay.once('finish', () => call.sendStatus({ code: GRPC_CODES.OK, details: '' }))
  // Ended from outside, by a drain: not by the end of this direction alone.
  call.signal.addEventListener('abort', () => relay.writableFinished || relay.destroy(), { once: true })
  try {
    await serving.handler(relay, accept, call)
    call.sendStatus({ code: GRPC_CODES.OK, details: '' })
  } catch (error) {
    if (!(error instanceof GatewayError)) serving.onBug(error, call)
    call.end(statusOf(error, call.id))
  } finally {
    relay.destroy()
  }
}
