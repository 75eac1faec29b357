import http2 from 'node:http2'
import type { Duplex } from 'node:stream'
import {
  Server as GrpcServer,
  logVerbosity,
  type ServerInterceptor,
  type ServerUnaryCall,
  type sendUnaryData,
  setLogVerbosity,
} from '@grpc/grpc-js'
import { rowFor } from '../auth/methods.ts'
import { GRPC_CODES } from '../base/errors.ts'
import { flushQueued } from '../base/http2-queue.ts'
import { LIMITS } from '../limits.ts'
import type { RpcMethod } from '../wire/codec.ts'
import { type BindOptions, identity, register } from './bind.ts'
import { type CallOpening, GatewayCall } from './call.ts'
import type { Peer } from './context.ts'
import { type ControlHandler, serveControl } from './control-call.ts'
import { ifThere } from './gone-stream.ts'
import { createKeepalive } from './keepalive.ts'
import { createReadingBudget, guardReading } from './message-reader.ts'
import { drainingStatus, type Pipeline } from './pipeline.ts'
import { type RelayWireHandler, serveRelay } from './relay-call.ts'
import { createSilentStreams } from './silent-streams.ts'

/** A request over HTTP/2 that is not gRPC, and its answer. */
export interface PlainRequest {
  readonly method: string
  readonly path: string
  readonly headers: http2.IncomingHttpHeaders
  readonly peer: Peer
}

export interface PlainResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface RpcServerOptions extends BindOptions {
  readonly methods: readonly RpcMethod[]
  /** RelayStream: bytes in and bytes out, past the gRPC library. */
  readonly relay: RelayWireHandler
  /** ConnectSupervisor, likewise. */
  readonly control: ControlHandler
  readonly pipeline: Pipeline
  readonly answerPlain: (request: PlainRequest) => PlainResponse
  readonly maxStreams: number
  /** Streams of one address on which no message has come yet; 0 = no such limit. */
  readonly silentStreamsPerAddress: number
}

/** Serves gRPC on connections that it is given. */
export interface RpcServer {
  /** Takes over a connection whose first bytes are the HTTP/2 preface. `onAdmitted` hears of each call that may run and is not open to strangers. */
  accept(socket: Duplex, peer: Peer, onAdmitted: () => void): void
  /** Says GOAWAY everywhere, ends open streams with UNAVAILABLE, lets unary calls finish. Resolves when no call is left. */
  drain(): Promise<void>
  /** Cuts every connection. */
  destroy(): void
  readonly connections: number
}

interface Origin {
  readonly peer: Peer
  readonly onAdmitted: () => void
}

/** What calls of one connection share. */
interface Connection extends Origin {
  readonly onWritten: () => void
}

/** The parts of grpc-js that let it run on an HTTP/2 server of ours: it can listen only by itself otherwise (design.md §9). */
interface GrpcInternals {
  handlers: Map<string, unknown>
  _setupHandlers(server: http2.Http2Server, interceptors: ServerInterceptor[]): void
}

type StreamListener = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void

const GRPC_CONTENT = 'application/grpc'

export function createRpcServer(options: RpcServerOptions): RpcServer {
  // The library would print header values that it cannot take, tokens among them, to standard error as they came (P-09).
  setLogVerbosity(logVerbosity.NONE)
  const connections = new WeakMap<http2.Http2Session, Connection>()
  const sessions = new Set<http2.ServerHttp2Session>()
  const open = new Set<GatewayCall>()
  const budget = createReadingBudget()
  const silent = createSilentStreams(options.silentStreamsPerAddress)
  let whenIdle: (() => void) | undefined
  let whenGone: (() => void) | undefined
  let accepting: Origin | undefined
  let opening: CallOpening | undefined

  const grpc = new GrpcServer({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': LIMITS.receiveMessageBytes,
    'grpc.max_send_message_length': LIMITS.answerBytes,
    // grpc-js calls the interceptor in the same turn in which it takes the stream, so `opening` is that stream's.
    interceptors: [(_method, wire) => openCall(wire) as never],
  })

  const openCall = (wire: Parameters<ServerInterceptor>[1]): GatewayCall => {
    const call = new GatewayCall(wire, opening!, pipeline)
    guardReading(wire, call, budget, silent)
    open.add(call)
    return call
  }

  const { clock } = options.pipeline
  const sweep = () => {
    const monotonicMs = clock.monotonicMs()
    const nowMs = clock.nowMs()
    for (const call of open) call.endIfLate(monotonicMs, nowMs)
    sweeping = clock.after(LIMITS.deadlineSweepMs, sweep)
  }
  let sweeping = clock.after(LIMITS.deadlineSweepMs, sweep)

  const pipeline: Pipeline = {
    ...options.pipeline,
    finished(call, code) {
      open.delete(call)
      budget.release(call)
      options.pipeline.answers.leave(call)
      options.pipeline.finished(call, code)
      if (open.size === 0) whenIdle?.()
    },
  }

  const shared = {
    pipeline,
    onBug: options.onBug,
    track: (call: GatewayCall) => void open.add(call),
    heard: silent.heard,
  }
  const relays = { ...shared, handler: options.relay }
  const controls = { ...shared, handler: options.control }
  const internals = grpc as unknown as GrpcInternals
  for (const method of options.methods) register(grpc, method, options, clock)
  internals.handlers = withFallback(internals.handlers)

  const engine = http2.createServer({
    maxSendHeaderBlockLength: Number.MAX_SAFE_INTEGER,
    maxSessionMemory: LIMITS.sessionMemoryMib,
    maxSessionRejectedStreams: LIMITS.rejectedStreams,
    settings: {
      maxConcurrentStreams: options.maxStreams,
      initialWindowSize: LIMITS.windowBytes,
      maxFrameSize: LIMITS.frameBytes,
      maxHeaderListSize: LIMITS.engineHeaderListBytes,
    },
  } as http2.ServerOptions)
  internals._setupHandlers(engine, [])
  const toGrpc = engine.listeners('stream')[0] as unknown as StreamListener
  engine.removeAllListeners('stream')
  // What the library does for a session are keepalive, age and idle limits: the first is done here, the others are off.
  engine.removeAllListeners('session')
  const keepalive = createKeepalive(clock)
  engine.on('session', session => {
    // The engine announces the session in the same turn in which it is given the socket.
    connections.set(session, { ...accepting!, onWritten: () => flushQueued(session) })
    sessions.add(session)
    keepalive.watch(session)
    session.on('error', () => {})
    session.once('close', () => {
      sessions.delete(session)
      keepalive.forget(session)
      if (sessions.size === 0) whenGone?.()
    })
    // Both windows must be equal: Bun derives the update threshold of a stream from the connection's (platform.md §4).
    session.setLocalWindowSize(LIMITS.windowBytes)
  })
  engine.on(
    'stream',
    (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, _flags: number, rawHeaders: string[]) => {
      if (listSize(rawHeaders) > LIMITS.headerListBytes) return refuseHead(stream)
      const connection = stream.session && connections.get(stream.session)
      if (!connection) return void stream.destroy()
      const { peer, onAdmitted, onWritten } = connection
      const path = String(headers[':path'] ?? '')
      if (!String(headers['content-type'] ?? '').startsWith(GRPC_CONTENT))
        return answerPlain(stream, headers, path, peer, options)
      const exact = path.split('?', 1)[0]!
      if (exact !== path) headers[':path'] = exact
      if (!silent.admit(stream, peer.address)) return
      opening = { row: rowFor(exact), stream, peer, rawHeaders, path: exact, onAdmitted, onWritten }
      if (opening.row.rpc === 'RelayStream') return serveRelay(stream, opening, relays)
      if (opening.row.rpc === 'ConnectSupervisor') return serveControl(stream, opening, controls)
      trimHead(stream)
      toGrpc(stream, headers)
    },
  )

  /** A call is over before its status has left: a connection closes by itself once it has. */
  const flushed = (): Promise<void> => {
    if (sessions.size === 0) return Promise.resolve()
    return new Promise(resolve => {
      const late = clock.after(LIMITS.drainFlushMs, resolve)
      whenGone = () => {
        late.cancel()
        resolve()
      }
    })
  }

  return {
    accept(socket, peer, onAdmitted) {
      accepting = { peer, onAdmitted }
      engine.emit('connection', socket)
    },
    drain() {
      for (const session of sessions) session.close()
      for (const call of open) if (call.row.kind !== 'unary') call.end(drainingStatus())
      const idle = open.size === 0 ? Promise.resolve() : new Promise<void>(resolve => (whenIdle = resolve))
      return idle.then(flushed)
    },
    destroy() {
      sweeping.cancel()
      keepalive.stop()
      for (const session of sessions) session.destroy()
    },
    get connections() {
      return sessions.size
    },
  }
}

/** Size of a header list as RFC 9113 §6.5.2 counts it. */
function listSize(rawHeaders: readonly string[]): number {
  let size = rawHeaders.length * 16
  for (const text of rawHeaders) size += text.length
  return size
}

function refuseHead(stream: http2.ServerHttp2Stream): void {
  stream.on('error', () => {})
  stream.resume()
  ifThere(stream, () => stream.respond({ ':status': 431 }, { endStream: true }))
}

/** Unknown methods pass authentication too, before they are UNIMPLEMENTED (spec/auth.md §3.4). */
function withFallback(handlers: Map<string, unknown>): Map<string, unknown> {
  const unknown = {
    func: (call: ServerUnaryCall<Buffer, Buffer>, respond: sendUnaryData<Buffer>) => {
      call.on('error', () => {})
      respond({ code: GRPC_CODES.UNIMPLEMENTED, details: '' })
    },
    serialize: identity,
    deserialize: identity,
    type: 'clientStream',
    path: '',
  }
  return new (class extends Map<string, unknown> {
    override get(path: string): unknown {
      return super.get(path) ?? unknown
    }
  })(handlers)
}

/**
 * Answers carry `content-type`, `date` and nothing else of grpc-js's own: clients print every header to their users
 * (decision 27). The library answers whenever it has something to say, also when nobody is there.
 */
function trimHead(stream: http2.ServerHttp2Stream): void {
  const respond = stream.respond
  stream.respond = function (headers, streamOptions) {
    const head = headers as http2.OutgoingHttpHeaders
    head['content-type'] = GRPC_CONTENT
    delete head['grpc-encoding']
    delete head['grpc-accept-encoding']
    if (head['grpc-message'] === '') delete head['grpc-message']
    ifThere(this, () => respond.call(this, head, streamOptions))
  }
  const sendTrailers = stream.sendTrailers
  stream.sendTrailers = function (trailers) {
    ifThere(this, () => sendTrailers.call(this, trailers))
  }
}

function answerPlain(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  path: string,
  peer: Peer,
  options: RpcServerOptions,
): void {
  stream.on('error', () => {})
  stream.resume()
  const method = String(headers[':method'] ?? 'GET')
  const answer = options.answerPlain({ method, path, headers, peer })
  const head = { ':status': answer.status, ...answer.headers }
  ifThere(stream, () => {
    if (method === 'HEAD' || answer.body === '') return stream.respond(head, { endStream: true })
    stream.respond(head)
    stream.end(answer.body)
  })
}
