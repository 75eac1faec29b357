import {
  type Server as GrpcServer,
  Metadata,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { METHODS } from '../auth/methods.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { createTokenBucket } from '../base/token-bucket.ts'
import { LIMITS } from '../limits.ts'
import { codec, type MessageName, type RpcMethod, WireError } from '../wire/codec.ts'
import { contexts, type GatewayCall } from './call.ts'
import type { CallContext } from './context.ts'
import type { Handlers, Outbound } from './handlers.ts'
import { type CallStatus, statusOf, TEXTS } from './status.ts'

export interface BindOptions {
  readonly handlers: Handlers
  /** A bug was caught; the counter that must stay 0 (reliability O-07). */
  readonly onBug: (error: unknown, call: CallContext) => void
}

/** Messages pass the library as the bytes they are. */
export const identity = (bytes: Buffer): Buffer => bytes

type AnyHandler = (...args: unknown[]) => Promise<never>

/** Puts the handler of one RPC behind the library's stream types; without a handler it answers UNIMPLEMENTED. */
export function register(grpc: GrpcServer, method: RpcMethod, options: BindOptions, clock: Clock): void {
  const handler = options.handlers[method.name as keyof Handlers] as AnyHandler | undefined
  const bind = { handler: handler ?? unimplemented, method, options, clock }
  const kind = METHODS.get(method.path)!.kind
  const make = {
    unary: unaryHandler,
    serverStream: serverStreamHandler,
    clientStream: clientStreamHandler,
  }
  // Both RPCs that stream both ways go past the library (server.ts).
  if (kind !== 'bidi') grpc.register(method.path, make[kind](bind) as never, identity, identity, kind)
}

const unimplemented: AnyHandler = async () => {
  throw new GatewayError('UNIMPLEMENTED', '')
}

interface Binding {
  readonly handler: AnyHandler
  readonly method: RpcMethod
  readonly options: BindOptions
  readonly clock: Clock
}

const encode = (name: MessageName, reply: unknown): Buffer =>
  reply instanceof Uint8Array
    ? Buffer.isBuffer(reply)
      ? reply
      : Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength)
    : codec(name).encode(reply as never)

/** Bytes that are not the message are the caller's fault, and INTERNAL all the same (spec/gateway.md §8.3). */
function decode(name: MessageName, bytes: Buffer): unknown {
  try {
    return codec(name).decode(bytes)
  } catch (error) {
    if (error instanceof WireError)
      throw new GatewayError('INTERNAL', `failed to decode Protobuf message: ${error.message}`)
    throw error
  }
}

/** The status of what a handler threw; a bug is counted and logged with its stack. */
function failure(error: unknown, call: CallContext, options: BindOptions): CallStatus {
  if (!(error instanceof GatewayError)) options.onBug(error, call)
  else if (error.cause !== undefined)
    call.log.warn('call failed', { method: call.row.name, kind: error.kind, cause: errorText(error.cause) })
  return statusOf(error, call.id)
}

function unaryHandler({ handler, method, options }: Binding) {
  return (wire: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>): void => {
    const call = contexts.get(wire.metadata)!
    const run = async () => {
      const room = !call.row.isPage || call.roomForPage()
      if (room !== true && !(await room)) throw new GatewayError('RESOURCE_EXHAUSTED', TEXTS.tooMuchUnread)
      return encode(method.response, await handler(decode(method.request, wire.request), call))
    }
    run().then(
      reply => respond(null, reply),
      error => respond(failure(error, call, options)),
    )
  }
}

/** A gRPC stream's sending side. One write is under way at a time for each caller that awaits. */
function outbound(stream: ServerWritableStream<Buffer, Buffer>, call: GatewayCall, name: MessageName): Outbound<never> {
  return {
    open() {
      if (!call.ended && !stream.destroyed) stream.sendMetadata(new Metadata())
    },
    write(message) {
      if (call.ended || stream.destroyed) return Promise.reject(new GatewayError('CANCELLED', 'call ended'))
      return new Promise((resolve, reject) => {
        stream.write(encode(name, message), (error: Error | null | undefined) =>
          error ? reject(new GatewayError('CANCELLED', 'call ended', { cause: error })) : resolve(),
        )
      })
    },
  }
}

/** Runs a streaming handler and ends its stream with what came of it. */
function conclude(
  run: () => Promise<unknown>,
  stream: ServerWritableStream<Buffer, Buffer>,
  call: GatewayCall,
  options: BindOptions,
): void {
  stream.on('error', () => {})
  run().then(
    () => call.ended || stream.end(),
    error => {
      if (!call.ended) call.end(failure(error, call, options))
    },
  )
}

function serverStreamHandler({ handler, method, options }: Binding) {
  return (stream: ServerWritableStream<Buffer, Buffer>): void => {
    const call = contexts.get(stream.metadata)!
    conclude(
      async () => handler(decode(method.request, stream.request), outbound(stream, call, method.response), call),
      stream,
      call,
      options,
    )
  }
}

/** The messages of a client stream, no faster than the event loop can bear: a frame holds thousands of small ones. */
async function* decoded(
  stream: ServerReadableStream<Buffer, Buffer>,
  name: MessageName,
  clock: Clock,
): AsyncGenerator<unknown> {
  const pace = createTokenBucket(LIMITS.streamMessageBurst, LIMITS.streamMessagesPerSecond, clock.monotonicMs)
  // Not destroyed at its end: the half-close of the client leaves the sending side as it is.
  const pieces = stream.iterator({ destroyOnReturn: false })
  for (;;) {
    // What the stream itself fails with is the client's going.
    const next = await pieces.next().catch(error => {
      throw new GatewayError('CANCELLED', 'call ended', { cause: error })
    })
    if (next.done) return
    while (pace.take(1) < 1) await sleep(clock, pace.waitMs())
    yield decode(name, next.value as Buffer)
  }
}

function clientStreamHandler({ handler, method, options, clock }: Binding) {
  return (stream: ServerReadableStream<Buffer, Buffer>, respond: sendUnaryData<Buffer>): void => {
    const call = contexts.get(stream.metadata)!
    stream.on('error', () => {})
    const run = async () => encode(method.response, await handler(decoded(stream, method.request, clock), call))
    run().then(
      reply => respond(null, reply),
      error => respond(failure(error, call, options)),
    )
  }
}
