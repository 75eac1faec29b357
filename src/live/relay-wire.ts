import type { Http2Stream } from 'node:http2'
import { Duplex } from 'node:stream'
import { systemClock, type Timer } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { flushQueued } from '../base/http2-queue.ts'
import { RELAY_TEXTS as TEXTS } from '../domain/relay-texts.ts'
import { LIMITS } from '../limits.ts'
import { encodeData, FrameReader, type OddFrame } from './relay-frame.ts'

/** The other end of a relay went away in the middle: a reset, or its connection died. */
export class RelayLost extends Error {
  override readonly name = 'RelayLost'
}

export interface RelayWireOptions {
  /** The gateway's end: the first frame must be `init`. The supervisor's end sends it and gets only data. */
  readonly awaitsInit: boolean
  /** The inbound direction ended because of what the other end sent. */
  readonly onOdd?: (reason: OddFrame) => void
}

const NO_ERROR = 0
const CANCEL = 8

/**
 * One RelayStream as plain bytes, straight on its HTTP/2 stream: what is read are the contents of `data` frames, what
 * is written leaves as `data` frames. `end()` half-closes; reading goes on (spec/relay.md §2, half-close). Holds at
 * most `relayBufferBytes` each way beside the HTTP/2 window. Destroyed with `RelayLost` when the other end resets.
 */
export class RelayWire extends Duplex {
  /** The channel id of the first frame; rejects with the status the caller deserves. Only with `awaitsInit`. */
  readonly opening: Promise<string>
  readonly #stream: Http2Stream
  readonly #options: RelayWireOptions
  readonly #reader: FrameReader
  #opened: ((channelId: string) => void) | null = null
  #refused: ((error: GatewayError) => void) | null = null
  #inboundOver = false
  #waiting: (() => void) | null = null
  #linger: Timer | null = null

  constructor(stream: Http2Stream, options: RelayWireOptions) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: LIMITS.relayBufferBytes,
      writableHighWaterMark: LIMITS.relayBufferBytes,
    })
    this.#stream = stream
    this.#options = options
    this.opening = new Promise((resolve, reject) => {
      if (!options.awaitsInit) return
      this.#opened = resolve
      this.#refused = reject
    })
    this.opening.catch(() => {})
    this.#reader = new FrameReader({
      init: channelId => this.#onInit(channelId),
      data: bytes => this.#onData(bytes),
      odd: reason => this.#onOdd(reason),
    })
    stream.on('data', (piece: Buffer) => this.#inboundOver || this.#reader.push(piece))
    stream.on('end', () => (this.#wasReset() ? this.#lose() : this.#endInbound('end')))
    stream.on('drain', () => this.#drained())
    stream.on('aborted', () => this.#lose())
    stream.on('error', () => this.#lose())
    stream.on('close', () => this.#onClose())
  }

  #wasReset(): boolean {
    return this.#stream.aborted || (this.#stream.rstCode ?? NO_ERROR) !== NO_ERROR
  }

  #onInit(channelId: string): void {
    if (this.#opened === null) return this.#onOdd('malformed')
    if (channelId === '') return this.#refuse(new GatewayError('INVALID_ARGUMENT', TEXTS.relayInitFirst))
    this.#opened(channelId)
    this.#opened = null
  }

  #onData(bytes: Buffer): void {
    if (this.#inboundOver || this.destroyed) return
    if (this.#opened) return this.#refuse(new GatewayError('INVALID_ARGUMENT', TEXTS.relayInitFirst))
    if (!this.push(bytes)) this.#stream.pause()
  }

  #onOdd(reason: OddFrame): void {
    if (this.#opened) {
      this.#refuse(
        reason === 'too large'
          ? new GatewayError('RESOURCE_EXHAUSTED', `received message larger than max (${LIMITS.receiveMessageBytes})`)
          : reason === 'empty'
            ? new GatewayError('INVALID_ARGUMENT', TEXTS.relayInitFirst)
            : new GatewayError('INTERNAL', 'failed to decode Protobuf message'),
      )
      return
    }
    this.#options.onOdd?.(reason)
    this.#endInbound('odd')
  }

  #refuse(error: GatewayError): void {
    this.#opened = null
    this.#inboundOver = true
    this.#refused?.(error)
    this.#stream.resume()
  }

  /** No more bytes for the reader. What the other end still sends is thrown away. */
  #endInbound(why: 'end' | 'odd'): void {
    if (this.#inboundOver) return
    this.#inboundOver = true
    if (this.#opened) return this.#refuse(new GatewayError('INVALID_ARGUMENT', TEXTS.relayEmpty))
    this.push(null)
    if (why === 'odd') this.#stream.resume()
  }

  #lose(): void {
    this.#opened = null
    this.#refused?.(new GatewayError('CANCELLED', 'relay reset'))
    this.destroy(new RelayLost('relay reset by the other end'))
  }

  #onClose(): void {
    this.#linger?.cancel()
    if (!this.#inboundOver || !this.writableFinished || this.#wasReset()) this.#lose()
    else if (!this.readableEnded) this.push(null)
  }

  #drained(): void {
    const go = this.#waiting
    this.#waiting = null
    go?.()
  }

  #send(bytes: Uint8Array, done: () => void): void {
    if (this.#stream.destroyed || this.#stream.closed) return done()
    if (bytes.length === 0 || this.#stream.write(encodeData(bytes))) done()
    else this.#waiting = done
    flushQueued(this.#stream.session)
  }

  override _read(): void {
    if (!this.#inboundOver) this.#stream.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#send(chunks.length === 1 ? chunks[0]!.chunk : Buffer.concat(chunks.map(item => item.chunk)), done)
  }

  override _final(done: () => void): void {
    this.#stream.end()
    flushQueued(this.#stream.session)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const stream = this.#stream
    this.#waiting = null
    this.#inboundOver = true
    if (!stream.destroyed && !stream.closed) {
      if (error instanceof RelayLost || (!this.#options.awaitsInit && error)) stream.close(CANCEL)
      else {
        stream.end()
        stream.resume()
        // The status must reach the other end before the stream is taken away from it.
        this.#linger = systemClock.after(LIMITS.relayLingerMs, () => stream.close(NO_ERROR))
      }
    }
    done(error instanceof RelayLost || error === null ? error : null)
  }
}
