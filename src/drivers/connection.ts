import type { Socket } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { type Clock, sleep } from '../base/clock.ts'
import { type ErrorKind, GRPC_CODES } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { type Codec, codec, type Init, type MessageName, methodsOf, type RpcMethod } from '../wire/codec.ts'
import type { Messages } from '../wire/messages.generated.ts'
import { DriverError } from './contract.ts'
import { osErrorWords } from './os-error.ts'
import { peerUid, refusePeer } from './peer-user.ts'

/** One RPC of a driver, with its codecs. */
export interface DriverMethod<Request, Response> {
  readonly name: string
  readonly path: string
  readonly request: Pick<Codec<Request>, 'encode'>
  readonly response: Pick<Codec<Response>, 'decode'>
}

/** The RPC `name` of a driver service of the contract. */
export function driverMethod<Q extends MessageName, A extends MessageName>(
  service: string,
  name: string,
  request: Q,
  response: A,
): DriverMethod<Messages[Q], Messages[A]> {
  const found: RpcMethod | undefined = methodsOf(service).find(method => method.name === name)
  if (found?.request !== request || found.response !== response)
    throw new Error(`${service}/${name} is not in the contract`)
  return { name, path: found.path, request: codec(request), response: codec(response) }
}

/** How one try to connect ended without a connection. `detail` is made of the words of the operating system or the HTTP/2 layer. */
export class DialError extends Error {
  override readonly name = 'DialError'
}

/** One call on a connection. */
export interface ConnectionCall {
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/**
 * One accepted connection to a driver, from the peer's HTTP/2 settings to its end. It is never repaired: its owner
 * dials the path again (spec/drivers.md §2: a restarted driver is a new socket).
 */
export interface Connection {
  /** Resolves once no new call may be made, with the reason; never rejects. */
  readonly over: Promise<string>
  readonly isOver: boolean
  /** The socket is closed: calls in flight failed. */
  readonly isBroken: boolean
  /** The user behind the socket; null where the kernel does not tell. */
  readonly peerUid: number | null
  /** One answer, or a `DriverError`. DEADLINE_EXCEEDED of our own clock carries `timedOut`. */
  unary<Q, A>(method: DriverMethod<Q, A>, request: Init<Q>, call: ConnectionCall): Promise<A>
  /**
   * Reads a server stream until it ends: resolves on OK, rejects with a `DriverError`. No deadline. `onMessage` is
   * awaited, which slows the sender; the end of the connection ends the stream.
   */
  stream<Q, A>(
    method: DriverMethod<Q, A>,
    request: Init<Q>,
    onMessage: (message: A) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>
  /** No new calls and no streams; calls in flight may still end by themselves. */
  retire(reason: string): void
  /** Ends everything at once. */
  destroy(): void
}

/** A call that ended because our own deadline passed; what the breaker counts. */
export class TimedOut extends DriverError {}

export interface DialTarget {
  readonly path: string
  /** Names the peer in errors: `compute driver`, `credentials driver`. */
  readonly label: string
  /** Users that may stand behind the socket; none = any (D-15). */
  readonly uids: readonly number[]
  readonly timeoutMs: number
  readonly clock: Clock
  readonly signal: AbortSignal
}

const OPTIONS: grpc.ChannelOptions = {
  'grpc.primary_user_agent': 'openshell-gateway',
  'grpc.max_receive_message_length': LIMITS.driverAnswerBytes,
  'grpc.max_send_message_length': -1,
  'grpc.keepalive_time_ms': LIMITS.driverPingMs,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.client_idle_timeout_ms': 2_147_483_647,
  'grpc.initial_reconnect_backoff_ms': 3_600_000,
  'grpc.max_reconnect_backoff_ms': 3_600_000,
}

/** Connects once. Resolves when the peer spoke HTTP/2; rejects with `DialError`. Nothing stays open after a rejection. */
export async function dial(target: DialTarget): Promise<Connection> {
  const sockets = new Set<Socket>()
  const client = new grpc.Client(`unix:${target.path.replace(/^\/+/, '/')}`, socketCredentials(sockets), OPTIONS)
  const discard = () => {
    client.close()
    for (const socket of sockets) socket.destroy()
  }
  const failure = await firstAttempt(client, target)
  const [socket] = sockets
  const uid = failure === null && socket && !socket.destroyed ? peerUid(socket) : null
  const refusal = failure ?? (socket && !socket.destroyed ? refusePeer(uid, target.uids) : 'connection closed at once')
  if (refusal === null) return createConnection(client, socket!, uid, target)
  discard()
  throw new DialError(refusal)
}

/** Insecure credentials that also hand out the socket, so that its owner can destroy one whose peer never speaks. */
function socketCredentials(sockets: Set<Socket>): grpc.ChannelCredentials {
  const insecure = grpc.credentials.createInsecure()
  const connector = insecure._createSecureConnector.bind(insecure)
  insecure._createSecureConnector = (...args) => {
    const made = connector(...args)
    return {
      connect(socket) {
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
        return made.connect(socket)
      },
      waitForReady: () => made.waitForReady(),
      getCallCredentials: () => made.getCallCredentials(),
      destroy: () => made.destroy(),
    }
  }
  return insecure
}

/** Null when connected, else what went wrong. */
async function firstAttempt(client: grpc.Client, target: DialTarget): Promise<string | null> {
  const channel = client.getChannel()
  const givenUp = new AbortController()
  const late = sleep(target.clock, target.timeoutMs, AbortSignal.any([target.signal, givenUp.signal])).then(
    () => 'the socket was accepted but the peer does not speak HTTP/2',
  )
  const attempt = (async () => {
    for (let state = channel.getConnectivityState(true); ; ) {
      if (state === grpc.connectivityState.READY) return null
      if (state === grpc.connectivityState.TRANSIENT_FAILURE) return lastError(client)
      const before = state
      await new Promise(resolve => channel.watchConnectivityState(before, Number.POSITIVE_INFINITY, resolve))
      state = channel.getConnectivityState(false)
      if (state === grpc.connectivityState.SHUTDOWN) return 'closed'
    }
  })()
  const failure = await Promise.race([attempt, late])
  givenUp.abort()
  return failure
}

/** grpc-js tells why a connection failed only to a call that it refuses. */
function lastError(client: grpc.Client): Promise<string> {
  return new Promise(resolve => {
    const deadline = new Date(Date.now() + 1000)
    const none = (): Buffer => Buffer.alloc(0)
    client.makeUnaryRequest('/', none, none, null, new grpc.Metadata(), { deadline }, error => {
      const text = error?.details ?? ''
      resolve(osErrorWords(text) ?? 'the peer does not speak gRPC')
    })
  })
}

function createConnection(client: grpc.Client, socket: Socket, uid: number | null, target: DialTarget): Connection {
  const streams = new AbortController()
  let isBroken = false
  let isOver = false
  let inFlight = 0
  const { promise: over, resolve: resolveOver } = Promise.withResolvers<string>()

  const retire = (reason: string) => {
    if (isOver) return
    isOver = true
    streams.abort()
    client.close()
    resolveOver(reason)
    if (inFlight === 0) socket.destroy()
  }
  const broken = () => {
    isBroken = true
    retire('connection lost')
  }
  socket.once('close', broken)
  client
    .getChannel()
    .watchConnectivityState(grpc.connectivityState.READY, Number.POSITIVE_INFINITY, () =>
      retire('connection ended by the driver'),
    )

  const connection: Connection = {
    over,
    get isOver() {
      return isOver
    },
    get isBroken() {
      return isBroken
    },
    peerUid: uid,
    async unary(method, request, call) {
      if (isOver) throw new DriverError('UNAVAILABLE', `${target.label} connection lost`, false)
      inFlight++
      try {
        return await unaryCall(client, method, request, call, target, () => isBroken)
      } finally {
        inFlight--
        if (isOver && inFlight === 0) socket.destroy()
      }
    },
    async stream(method, request, onMessage, signal) {
      if (isOver) throw new DriverError('UNAVAILABLE', `${target.label} connection lost`, false)
      const ended = AbortSignal.any([signal, streams.signal])
      await readStream(client, method, request, onMessage, ended, error =>
        translate(error, target.label, isOver && !signal.aborted),
      )
    },
    retire,
    destroy() {
      retire('closed')
      socket.destroy()
    },
  }
  return connection
}

function unaryCall<Q, A>(
  client: grpc.Client,
  method: DriverMethod<Q, A>,
  request: Init<Q>,
  { timeoutMs, signal }: ConnectionCall,
  { clock, label }: DialTarget,
  isBroken: () => boolean,
): Promise<A> {
  if (signal?.aborted) return Promise.reject(new DriverError('CANCELLED', `${label} call cancelled`, false))
  const startedMs = clock.monotonicMs()
  return new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest(
      method.path,
      (value: Init<Q>) => method.request.encode(value),
      bytes => method.response.decode(bytes),
      request,
      new grpc.Metadata(),
      { deadline: new Date(Date.now() + timeoutMs) },
      (error, answer) => {
        signal?.removeEventListener('abort', cancel)
        if (!error) return resolve(answer as A)
        if (signal?.aborted)
          return reject(new DriverError('CANCELLED', `${label} call cancelled`, true, { cause: error }))
        const isOurs = error.code === grpc.status.DEADLINE_EXCEEDED && clock.monotonicMs() - startedMs >= timeoutMs - 20
        if (isOurs)
          return reject(
            new TimedOut('DEADLINE_EXCEEDED', lateText(label, method.name, timeoutMs), true, { cause: error }),
          )
        return reject(translate(error, label, isBroken()))
      },
    )
    const cancel = () => call.cancel()
    signal?.addEventListener('abort', cancel, { once: true })
  })
}

const lateText = (label: string, name: string, timeoutMs: number): string =>
  `${label} did not answer ${name} within ${Number((timeoutMs / 1000).toFixed(3))} s`

async function readStream<Q, A>(
  client: grpc.Client,
  method: DriverMethod<Q, A>,
  request: Init<Q>,
  onMessage: (message: A) => Promise<void>,
  signal: AbortSignal,
  toError: (error: grpc.ServiceError) => DriverError,
): Promise<void> {
  const stream = client.makeServerStreamRequest(
    method.path,
    (value: Init<Q>) => method.request.encode(value),
    bytes => method.response.decode(bytes),
    request,
    new grpc.Metadata(),
  )
  const { promise: finished, resolve, reject } = Promise.withResolvers<void>()
  finished.catch(() => undefined)
  let work = Promise.resolve()
  stream.on('data', (message: A) => {
    stream.pause()
    work = onMessage(message).then(() => void stream.resume(), reject)
  })
  stream.on('error', (error: grpc.ServiceError) => reject(toError(error)))
  stream.on('end', () => resolve())
  const cancel = () => stream.cancel()
  signal.addEventListener('abort', cancel, { once: true })
  if (signal.aborted) cancel()
  try {
    await finished
  } finally {
    signal.removeEventListener('abort', cancel)
    stream.cancel()
    await work
  }
}

const KINDS = new Map<number, ErrorKind>(
  Object.entries(GRPC_CODES).flatMap(([kind, code]) => (code === 0 ? [] : [[code, kind as ErrorKind]])),
)

/** What grpc-js reports as a `DriverError`. A code that does not exist is UNKNOWN; the text is the driver's, bounded. */
function translate(error: grpc.ServiceError, label: string, connectionLost: boolean): DriverError {
  if (connectionLost) return new DriverError('UNAVAILABLE', `${label} connection lost`, true, { cause: error })
  return new DriverError(KINDS.get(error.code) ?? 'UNKNOWN', bounded(error.details ?? ''), true, { cause: error })
}

/** At most as much of a driver's text as a status may carry. */
function bounded(text: string): string {
  return text.length <= LIMITS.statusTextBytes ? text : `${text.slice(0, LIMITS.statusTextBytes - 1)}…`.toWellFormed()
}
