import { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { LIMITS } from '../limits.ts'
import type { Peer } from '../rpc/context.ts'
import { closeWith } from './close-with.ts'
import type { FrameMeter, FrameViolation } from './frame-meter.ts'

const ENHANCE_YOUR_CALM = 11

/**
 * The stream between an accepted connection and the HTTP/2 engine (M31): everything received passes the frame meter.
 * It has no native handle, so the engine cannot read around it, and it forwards back-pressure both ways. The other
 * end of the connection is told as the engine's users read it from sockets.
 */
export class MeteredSocket extends Duplex {
  readonly peer: Peer
  readonly meter: FrameMeter
  readonly remoteAddress: string
  readonly remotePort: number
  readonly remoteFamily: 'IPv4' | 'IPv6'
  readonly #raw: Duplex
  /** Streams that are no sockets may complete a write at once; the engine stalls when they do (see duplex-pair.ts). */
  readonly #isNested: boolean
  readonly #onViolation: (violation: FrameViolation) => void
  #isClosing = false

  /** `head`: octets of `raw` that were read already. `onViolation` is called once at most, before the connection closes. */
  constructor(
    raw: Duplex,
    head: Buffer,
    peer: Peer,
    meter: FrameMeter,
    onViolation: (violation: FrameViolation) => void,
  ) {
    super({ allowHalfOpen: false, highWaterMark: LIMITS.socketBufferBytes })
    this.#raw = raw
    this.#isNested = !(raw instanceof Socket)
    this.peer = peer
    this.meter = meter
    this.remoteAddress = peer.address
    this.remotePort = peer.port
    this.remoteFamily = peer.address.includes(':') ? 'IPv6' : 'IPv4'
    this.#onViolation = onViolation
    this.#receive(head)
    raw.on('data', this.#receive)
    raw.once('end', () => this.push(null))
    raw.once('close', () => this.destroy())
    raw.once('error', error => this.destroy(error))
    raw.resume()
  }

  readonly #receive = (chunk: Buffer): void => {
    if (this.#isClosing) return
    const violation = this.meter.inspect(chunk)
    if (violation !== null) this.#refuse(violation)
    else if (!this.push(chunk)) this.#raw.pause()
  }

  /** Says why and closes. The engine hears nothing of the offending octets, only that the connection is over. */
  #refuse(violation: FrameViolation): void {
    this.#isClosing = true
    this.#onViolation(violation)
    this.#raw.pause()
    closeWith(this.#raw, goAway(ENHANCE_YOUR_CALM, violation))
    this.push(null)
    super.destroy()
  }

  override _read(): void {
    if (!this.#isClosing) this.#raw.resume()
  }

  /**
   * What the engine writes for many calls in one turn of the event loop leaves in one piece: a system call costs as
   * much as a third of a small answer.
   */
  override write(...given: unknown[]): boolean {
    if (this.writableCorked === 0) {
      this.cork()
      setImmediate(this.#uncork)
    }
    return super.write(...(given as Parameters<Duplex['write']>))
  }

  readonly #uncork = (): void => this.uncork()

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(chunk, done)
  }

  override _writev(chunks: Array<{ chunk: Buffer }>, done: (error?: Error | null) => void): void {
    const buffers = chunks.map(({ chunk }) => chunk)
    const all = buffers.length === 1 ? (buffers[0] as Buffer) : Buffer.concat(buffers)
    this.#send(all, done)
  }

  #send(bytes: Buffer, done: (error?: Error | null) => void): void {
    this.meter.sent(bytes.length)
    this.#raw.write(bytes, this.#isNested ? error => setImmediate(done, error) : done)
  }

  override _final(done: (error?: Error | null) => void): void {
    closeWith(this.#raw)
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#isClosing) this.#raw.destroy()
    done(error)
  }

  /** The listener sets TCP_NODELAY and keepalive; timeouts are the pipeline's. These exist because engines call them. */
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  setTimeout(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
}

/** A GOAWAY frame: last stream 2^31-1, `code`, `reason` as debug data. */
export function goAway(code: number, reason: string): Buffer {
  const text = Buffer.from(reason)
  const frame = Buffer.alloc(17 + text.length)
  frame.writeUIntBE(8 + text.length, 0, 3)
  frame[3] = 7
  frame.writeUInt32BE(0x7fff_ffff, 9)
  frame.writeUInt32BE(code, 13)
  text.copy(frame, 17)
  return frame
}
