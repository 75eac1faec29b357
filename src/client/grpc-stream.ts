import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { flushQueued } from '../base/http2-queue.ts'
import { LIMITS } from '../limits.ts'
import { codec, type Init, type MessageName } from '../wire/codec.ts'
import { MessageReader } from '../wire/message-reader.ts'
import type { Messages } from '../wire/messages.generated.ts'
import { faultOf } from './channel.ts'

/** How a call ended, as trailers said; code 14 when the stream broke off. */
export interface CallEnd {
  readonly code: number
  readonly details: string
}

const DEADLINE_EXCEEDED = 4
const UNAVAILABLE = 14
const UNKNOWN = 2
/** What an HTTP status without a gRPC one means: the answer of a proxy, or of no gateway (grpc doc/http-grpc-status-mapping.md). */
const HTTP_MEANINGS: Readonly<Record<number, number>> = {
  400: 13,
  401: 16,
  403: 7,
  404: 12,
  429: UNAVAILABLE,
  502: UNAVAILABLE,
  503: UNAVAILABLE,
  504: UNAVAILABLE,
}
const PREFIX_BYTES = 5
const NO_ERROR = 0
const CANCEL = 8

/** Opens the HTTP/2 stream of one RPC. */
export function openCall(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>>,
): ClientHttp2Stream {
  return session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  })
}

/** The status of a finished stream. Listen before it ends. */
export function callEnd(stream: ClientHttp2Stream): Promise<CallEnd> {
  const { session } = stream
  return new Promise(resolve => {
    const read = (headers: Record<string, unknown>) => {
      const code = headers['grpc-status']
      if (code === undefined) return
      resolve({ code: Number(code), details: decodeText(String(headers['grpc-message'] ?? '')) })
    }
    stream.on('response', headers => {
      read(headers)
      const status = Number(headers[':status'])
      if (status === 200) return
      resolve({ code: HTTP_MEANINGS[status] ?? UNKNOWN, details: `HTTP status ${status}` })
      // What follows is a page for a browser.
      stream.close(CANCEL)
    })
    stream.on('trailers', read)
    stream.on('error', () => {})
    stream.once('close', () => {
      const why = faultOf(session)
      resolve({ code: UNAVAILABLE, details: why === null ? 'connection lost' : `connection lost: ${why}` })
    })
  })
}

function decodeText(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** A streaming RPC on a connection that also carries relays, with messages both ways. */
export class GrpcStream<Request extends MessageName, Response extends MessageName> {
  /** The status it ended with. */
  readonly ended: Promise<CallEnd>
  readonly #stream: ClientHttp2Stream
  readonly #request: Request
  readonly #response: Response

  constructor(stream: ClientHttp2Stream, request: Request, response: Response) {
    this.#stream = stream
    this.#request = request
    this.#response = response
    this.ended = callEnd(stream)
  }

  /** Resolves when the connection may take another message; a message for a stream that is over is dropped. */
  send(message: Init<Messages[Request]>): Promise<void> {
    const bytes = codec(this.#request).encode(message)
    const head = Buffer.alloc(PREFIX_BYTES)
    head.writeUInt32BE(bytes.length, 1)
    const stream = this.#stream
    if (stream.destroyed || stream.writableEnded) return Promise.resolve()
    const isRoomLeft = stream.write(Buffer.concat([head, bytes]))
    flushQueued(stream.session)
    if (isRoomLeft) return Promise.resolve()
    return new Promise(resolve => {
      stream.once('drain', resolve)
      stream.once('close', resolve)
    })
  }

  end(): void {
    this.#stream.end()
  }

  cancel(): void {
    if (!this.#stream.closed) this.#stream.close(CANCEL)
  }

  /** Messages until the other end is done; ends early, without an error, when the stream breaks off. */
  async *messages(): AsyncGenerator<Messages[Response]> {
    const reader = new MessageReader(LIMITS.sendMessageBytes)
    const pieces = this.#stream as AsyncIterable<Buffer>
    try {
      for await (const piece of pieces) {
        for (const bytes of reader.push(piece)) yield codec(this.#response).decode(bytes)
        if (reader.fault) return this.cancel()
      }
    } catch {
      if (!this.#stream.closed) this.#stream.close(NO_ERROR)
    }
  }
}

/** An answer other than OK. */
export class CallFailed extends Error {
  override readonly name = 'CallFailed'
  readonly code: number

  constructor(end: CallEnd) {
    super(end.details || `status ${end.code}`)
    this.code = end.code
  }
}

/** The end of a call that took longer than its caller waits. */
export const tooLate = (timeoutMs: number): CallEnd => ({
  code: DEADLINE_EXCEEDED,
  details: `no answer within ${timeoutMs / 1000} s`,
})

/** One request, one answer. Throws `CallFailed` when the status is not OK, or there is no answer in time. */
export async function callOnce<Request extends MessageName, Response extends MessageName>(
  stream: GrpcStream<Request, Response>,
  request: Init<Messages[Request]>,
  timeoutMs: number = LIMITS.clientCallMs,
): Promise<Messages[Response]> {
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    stream.cancel()
  }, timeoutMs)
  try {
    await stream.send(request)
    stream.end()
    let answer: Messages[Response] | null = null
    for await (const message of stream.messages()) answer ??= message
    const end = await stream.ended
    if (isLate) throw new CallFailed(tooLate(timeoutMs))
    if (end.code !== 0 || answer === null) throw new CallFailed(end)
    return answer
  } finally {
    clearTimeout(timer)
  }
}
