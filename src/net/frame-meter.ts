import { type Clock, systemClock } from '../base/clock.ts'
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts'
import { LIMITS } from '../limits.ts'

/** What a connection did too often; also the label under which it is counted. */
export type FrameViolation =
  | 'continuation-flood'
  | 'control-frame-flood'
  | 'window-update-flood'
  | 'reset-flood'
  | 'data-dribble'
  | 'unauthenticated-bytes'

const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const PUSH_PROMISE = 5
const PING = 6
const WINDOW_UPDATE = 8
const CONTINUATION = 9

const END_STREAM = 0x1
const END_HEADERS = 0x4
const PADDED = 0x8
const HEADER_BYTES = 9
const PREFACE_BYTES = 24

/**
 * Counts the frames of one inbound HTTP/2 connection without decoding them, so that floods the engine tolerates end
 * the connection (reliability §5 "frame meter", F-03 to F-06). Only the nine header octets of a frame are looked at.
 */
export class FrameMeter {
  readonly #onAuthenticated: () => void
  readonly #control: TokenBucket
  readonly #resets: TokenBucket
  readonly #smallData: TokenBucket
  /** Bytes a stranger may send; null = the peer is none. */
  #strange: TokenBucket | null
  /** Octets still to skip: first the connection preface, later the payload of the frame being received. */
  #skip = PREFACE_BYTES
  /** A frame header cut by the end of a chunk. */
  readonly #partial = new Uint8Array(HEADER_BYTES)
  #partialBytes = 0
  #continuations = 0
  #windowUpdates = 0
  #callFrames = 0
  #sentBytes = 0
  /** Whether data went either way since the last PING: bandwidth probes are never a flood (decision 30). */
  #dataSincePing = false
  #sentAtPing = 0

  /** `onAuthenticated` is called at the first `authenticated()`. */
  constructor(clock: Clock = systemClock, onAuthenticated: () => void = () => {}) {
    this.#onAuthenticated = onAuthenticated
    const bucket = (burst: number, perSecond: number) => createTokenBucket(burst, perSecond, clock.monotonicMs)
    this.#control = bucket(LIMITS.controlFrameBurst, LIMITS.controlFramesPerSecond)
    this.#resets = bucket(LIMITS.resetFrameBurst, LIMITS.resetFramesPerSecond)
    this.#smallData = bucket(LIMITS.smallDataBurst, LIMITS.smallDataPerSecond)
    this.#strange = bucket(LIMITS.unauthenticatedBytes, LIMITS.unauthenticatedBytesPerSecond)
  }

  /** The peer proved who it is (or nobody has to): the byte budget for strangers no longer applies. */
  authenticated(): void {
    if (this.#strange === null) return
    this.#strange = null
    this.#onAuthenticated()
  }

  /** Octets sent to the peer; they earn it WINDOW_UPDATE frames. */
  sent(bytes: number): void {
    this.#sentBytes += bytes
  }

  /** Reads on through `chunk`, the next received octets. A violation is final: the connection must be closed. */
  inspect(chunk: Uint8Array): FrameViolation | null {
    const length = chunk.length
    if (this.#strange !== null && this.#strange.take(length) < length) return 'unauthenticated-bytes'
    let at = this.#skip
    if (at >= length) {
      this.#skip = at - length
      return null
    }
    if (this.#partialBytes > 0) {
      at = this.#completeHeader(chunk)
      if (at < 0) return null
      const violation = this.#frame(this.#partial, 0)
      if (violation !== null) return violation
      at += frameLength(this.#partial, 0)
    }
    while (at + HEADER_BYTES <= length) {
      const violation = this.#frame(chunk, at)
      if (violation !== null) return violation
      at += HEADER_BYTES + frameLength(chunk, at)
    }
    if (at < length) {
      this.#partial.set(chunk.subarray(at))
      this.#partialBytes = length - at
      this.#skip = 0
    } else this.#skip = at - length
    return null
  }

  /** Fills the cut header from the front of `chunk`; where its payload begins, or -1 when it is still cut. */
  #completeHeader(chunk: Uint8Array): number {
    const missing = HEADER_BYTES - this.#partialBytes
    const taken = Math.min(missing, chunk.length)
    this.#partial.set(chunk.subarray(0, taken), this.#partialBytes)
    if (taken < missing) {
      this.#partialBytes += taken
      return -1
    }
    this.#partialBytes = 0
    return taken
  }

  #frame(bytes: Uint8Array, at: number): FrameViolation | null {
    const type = bytes[at + 3]
    const flags = bytes[at + 4] ?? 0
    switch (type) {
      case DATA:
        return this.#data(frameLength(bytes, at), flags)
      case HEADERS:
      case PUSH_PROMISE:
        this.#continuations = 0
        return this.#callFrame()
      case CONTINUATION:
        this.#continuations++
        if (this.#continuations > LIMITS.continuationFrames) return 'continuation-flood'
        if ((flags & END_HEADERS) !== 0) this.#continuations = 0
        return null
      case WINDOW_UPDATE:
        return this.#windowUpdate()
      case RST_STREAM:
        return this.#resets.take(1) === 1 ? null : 'reset-flood'
      case PING:
        return this.#ping()
      default:
        return this.#controlFrame()
    }
  }

  #data(length: number, flags: number): FrameViolation | null {
    if (length === 0) return (flags & END_STREAM) !== 0 ? null : this.#controlFrame()
    const isSmall = length < LIMITS.smallDataBytes || (flags & PADDED) !== 0
    return isSmall && this.#smallData.take(1) < 1 ? 'data-dribble' : this.#callFrame()
  }

  /** A frame that belongs to a call earns WINDOW_UPDATE frames and makes the next PING a bandwidth probe. */
  #callFrame(): null {
    this.#callFrames++
    this.#dataSincePing = true
    return null
  }

  #windowUpdate(): FrameViolation | null {
    this.#windowUpdates++
    const allowed =
      LIMITS.windowUpdateFrames +
      this.#callFrames * LIMITS.windowUpdatesPerFrame +
      this.#sentBytes / LIMITS.sentBytesPerWindowUpdate
    return this.#windowUpdates > allowed ? 'window-update-flood' : null
  }

  #ping(): FrameViolation | null {
    const probing = this.#dataSincePing || this.#sentBytes - this.#sentAtPing >= LIMITS.sentBytesPerProbe
    this.#dataSincePing = false
    this.#sentAtPing = this.#sentBytes
    return probing ? null : this.#controlFrame()
  }

  #controlFrame(): FrameViolation | null {
    return this.#control.take(1) === 1 ? null : 'control-frame-flood'
  }
}

const frameLength = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
