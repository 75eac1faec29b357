import { lstatSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { type ErrorKind, GatewayError, GRPC_CODES, StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { codec, type Init, methodsOf } from '../wire/codec.ts'
import type { Messages } from '../wire/messages.generated.ts'

/** A server stream that a driver writes to; `signal` aborts when the reader is gone. */
export interface DriverStream {
  readonly signal: AbortSignal
  /** Resolves when the stream may take more. */
  write(message: object): Promise<void>
}

/** One RPC of a driver: unary ones return their answer, streaming ones write it. A `GatewayError` becomes the status. */
export type DriverHandler = (request: never, stream: DriverStream) => Promise<object | undefined>

/** A driver's gRPC server on a Unix socket. */
export interface DriverServer {
  /** Ends every call and closes the socket; grpc-js removes its file. */
  close(): Promise<void>
}

/** Serves one service of the contract at `socketPath`. RPCs without a handler answer UNIMPLEMENTED. Rejects when the path is in use. */
export async function serveDriver(
  socketPath: string,
  service: string,
  handlers: Readonly<Record<string, DriverHandler>>,
): Promise<DriverServer> {
  const server = new grpc.Server({
    'grpc.max_receive_message_length': LIMITS.driverAnswerBytes,
    'grpc.max_send_message_length': -1,
  })
  server.addService(definitionOf(service), implementationOf(service, handlers))
  await new Promise<void>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure()
    server.bindAsync(`unix:${socketPath}`, credentials, error => (error ? reject(error) : resolve()))
  })
  return {
    close() {
      return new Promise(resolve => {
        server.tryShutdown(() => resolve())
        server.forceShutdown()
      })
    },
  }
}

/** Removes a socket file that nobody listens on; throws a `StartError` for a path that is in use or no socket. */
export async function removeDeadSocket(path: string): Promise<void> {
  const facts = lstatSync(path, { throwIfNoEntry: false })
  if (!facts) return
  if (!facts.isSocket()) throw new StartError(`'${path}' exists and is not a socket`)
  const isInUse = await new Promise<boolean>(resolve => {
    const probe = connect(path, () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (isInUse) throw new StartError(`another process listens on '${path}'`)
  rmSync(path, { force: true })
}

function definitionOf(service: string): grpc.ServiceDefinition {
  const rows = methodsOf(service).map(method => [
    method.name,
    {
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: (value: Init<Messages[typeof method.request]>) => codec(method.request).encode(value as never),
      requestDeserialize: (bytes: Buffer) => codec(method.request).decode(bytes),
      responseSerialize: (value: Init<Messages[typeof method.response]>) =>
        codec(method.response).encode(value as never),
      responseDeserialize: (bytes: Buffer) => codec(method.response).decode(bytes),
    },
  ])
  return Object.fromEntries(rows) as grpc.ServiceDefinition
}

function implementationOf(
  service: string,
  handlers: Readonly<Record<string, DriverHandler>>,
): grpc.UntypedServiceImplementation {
  const rows = methodsOf(service).flatMap(method => {
    const handler = handlers[method.name]
    if (!handler) return []
    return [[method.name, method.responseStream ? streaming(handler) : unary(handler)]]
  })
  return Object.fromEntries(rows) as grpc.UntypedServiceImplementation
}

function unary(handler: DriverHandler): grpc.handleUnaryCall<unknown, object> {
  return (call, answer) => {
    const ended = new AbortController()
    call.once('cancelled', () => ended.abort())
    const stream: DriverStream = { signal: ended.signal, write: () => Promise.reject(new Error('not a stream')) }
    handler(call.request as never, stream).then(
      message => answer(null, message ?? {}),
      error => answer(statusOf(error)),
    )
  }
}

function streaming(handler: DriverHandler): grpc.handleServerStreamingCall<unknown, object> {
  return call => {
    const ended = new AbortController()
    call.once('cancelled', () => ended.abort())
    call.once('close', () => ended.abort())
    const stream: DriverStream = { signal: ended.signal, write: message => writeOne(call, message, ended.signal) }
    handler(call.request as never, stream).then(
      () => call.end(),
      error => void call.emit('error', statusOf(error)),
    )
  }
}

async function writeOne(
  call: grpc.ServerWritableStream<unknown, object>,
  message: object,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted || call.write(message)) return
  await new Promise<void>(resolve => {
    const done = () => {
      call.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    call.once('drain', done)
    signal.addEventListener('abort', done, { once: true })
  })
}

function statusOf(error: unknown): { code: number; details: string } {
  if (error instanceof GatewayError) return { code: GRPC_CODES[error.kind], details: error.publicText.toWellFormed() }
  return { code: GRPC_CODES.INTERNAL, details: 'internal error' }
}

/** Shorthand for a refusal. */
export const refuse = (kind: ErrorKind, text: string): GatewayError => new GatewayError(kind, text)
