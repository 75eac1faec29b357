import type { ServerHttp2Stream } from 'node:http2'
import { GatewayError, GRPC_CODES } from '../base/errors.ts'
import { flushQueued } from '../base/http2-queue.ts'
import { LIMITS } from '../limits.ts'
import type { ControlStream } from '../live/supervisor-session.ts'
import { codec, type Init, WireError } from '../wire/codec.ts'
import { MessageReader } from '../wire/message-reader.ts'
import type { GatewayMessage, SupervisorMessage } from '../wire/messages.generated.ts'
import { type CallOpening, GatewayCall } from './call.ts'
import type { CallContext } from './context.ts'
import type { StreamServing } from './relay-call.ts'
import { statusOf } from './status.ts'
import { type StreamStatus, writeStatusTo } from './stream-status.ts'

/** Serves one ConnectSupervisor: resolves for status OK, throws any other one. */
export type ControlHandler = (control: ControlStream, context: CallContext) => Promise<void>

const PREFIX_BYTES = 5
const inbound = codec('openshell.v1.SupervisorMessage')
const outbound = codec('openshell.v1.GatewayMessage')

/**
 * Takes a ConnectSupervisor past the gRPC library: these streams stay for days, one for each sandbox, and the
 * library keeps five times as much for one as its two queues need. Pipeline and account are those of any call.
 */
export function serveControl(
  stream: ServerHttp2Stream,
  opening: CallOpening,
  serving: StreamServing<ControlHandler>,
): void {
  const wire = writeStatusTo(stream, () => control.finish(null))
  const control = new ControlCall(stream, wire, serving.heard)
  const call = new GatewayCall(wire, opening, serving.pipeline)
  serving.track(call)
  stream.once('close', () => control.finish(null))
  call.start({
    onReceiveMetadata: () => void run(call, control, serving),
    onReceiveMessage() {},
    onReceiveHalfClose() {},
    onCancel() {},
  })
}

async function run(call: GatewayCall, control: ControlCall, serving: StreamServing<ControlHandler>): Promise<void> {
  try {
    control.read()
    await serving.handler(control, call)
    call.sendStatus({ code: GRPC_CODES.OK, details: '' })
  } catch (error) {
    if (!(error instanceof GatewayError)) serving.onBug(error, call)
    call.end(statusOf(error, call.id))
  }
}

/** Messages on an HTTP/2 stream. What comes before somebody listens waits, and the stream with it. */
class ControlCall implements ControlStream {
  readonly #stream: ServerHttp2Stream
  readonly #wire: StreamStatus
  readonly #heard: (stream: ServerHttp2Stream) => void
  readonly #reader = new MessageReader(LIMITS.receiveMessageBytes)
  #early: SupervisorMessage[] = []
  #take: ((message: SupervisorMessage) => void) | null = null
  #onOver: ((error: GatewayError | null) => void) | null = null
  /** Undefined = not over. */
  #over: GatewayError | null | undefined
  #drained: (() => void) | null = null

  constructor(stream: ServerHttp2Stream, wire: StreamStatus, heard: (stream: ServerHttp2Stream) => void) {
    this.#stream = stream
    this.#wire = wire
    this.#heard = heard
    stream.on('error', () => {})
  }

  /** Starts reading. A call that was refused is never read. */
  read(): void {
    this.#stream.on('data', (piece: Buffer) => this.#receive(piece))
    this.#stream.once('end', () => this.finish(null))
    this.#stream.on('drain', () => this.#drain())
  }

  /** Nothing more comes; null = the other end is done, or gone. */
  finish(error: GatewayError | null): void {
    if (this.#over !== undefined) return
    this.#over = error
    this.#drain()
    this.#onOver?.(error)
    this.#take = this.#onOver = null
    // Nobody reads what is still sent, and the other end must not wait for it.
    if (!this.#stream.destroyed) this.#stream.resume()
  }

  listen(take: (message: SupervisorMessage) => void, over: (error: GatewayError | null) => void): void {
    this.#take = take
    this.#onOver = over
    while (this.#early.length > 0 && this.#take === take) take(this.#early.shift()!)
    if (this.#over !== undefined) over(this.#over)
    else this.#stream.resume()
  }

  pause(): void {
    this.#take = this.#onOver = null
    if (this.#over === undefined) this.#stream.pause()
  }

  send(message: Init<GatewayMessage>): Promise<void> {
    if (this.#stream.destroyed || this.#stream.writableEnded)
      return Promise.reject(new GatewayError('CANCELLED', 'call ended'))
    this.#wire.respond()
    const bytes = outbound.encode(message)
    const frame = Buffer.allocUnsafe(PREFIX_BYTES + bytes.length)
    frame[0] = 0
    frame.writeUInt32BE(bytes.length, 1)
    frame.set(bytes, PREFIX_BYTES)
    const isRoomLeft = this.#stream.write(frame)
    flushQueued(this.#stream.session)
    if (isRoomLeft) return Promise.resolve()
    return new Promise(resolve => (this.#drained = resolve))
  }

  #drain(): void {
    this.#drained?.()
    this.#drained = null
  }

  #receive(piece: Buffer): void {
    if (this.#over !== undefined) return
    for (const bytes of this.#reader.push(piece)) if (this.#over === undefined) this.#deliver(bytes)
    const { fault } = this.#reader
    if (fault === null) return
    this.finish(
      fault === 'compressed'
        ? new GatewayError('INTERNAL', 'compressed messages are not supported')
        : new GatewayError(
            'RESOURCE_EXHAUSTED',
            `Received message larger than max (${fault.bytes} vs ${LIMITS.receiveMessageBytes})`,
          ),
    )
  }

  #deliver(bytes: Buffer): void {
    this.#heard(this.#stream)
    try {
      const message = inbound.decode(bytes)
      if (this.#take) return this.#take(message)
      this.#early.push(message)
      this.#stream.pause()
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.finish(new GatewayError('INTERNAL', `failed to decode Protobuf message: ${error.message}`))
    }
  }
}
