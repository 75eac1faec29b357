import { isUtf8 } from 'node:buffer'
import { Gathered } from '../base/gathered.ts'
import { LIMITS } from '../limits.ts'

/**
 * Bytes of a RelayStream ↔ what they mean, by hand: the payload is never decoded, copied or assembled on its way in
 * (spec/relay.md §5). A frame is `{ init 1 { channel_id 1 } | data 2 }`; on the wire each has the 5-byte gRPC prefix.
 */

/** What a RelayStream said. `odd`: a frame that is neither, or too long, or malformed; nothing follows it. */
export interface FrameSink {
  init(channelId: string): void
  data(bytes: Buffer): void
  odd(reason: OddFrame): void
}

/** Why the inbound direction of a relay ended early. */
export type OddFrame = 'empty' | 'compressed' | 'too large' | 'malformed'

const PREFIX_BYTES = 5
/** Tag of `data` (field 2) and of `init` (field 1), both length-delimited. */
const DATA_TAG = 0x12
const INIT_TAG = 0x0a
const NOTHING = Buffer.alloc(0)

/**
 * Reads frames from pieces of any size. The data of an ordinary frame goes to the sink as slices of the pieces it
 * came in, before the frame is complete; only frames that hold anything else are collected first.
 */
export class FrameReader {
  readonly #sink: FrameSink
  /** Collected head, or the whole of a frame that is not plain data. */
  readonly #held = new Gathered()
  /** Bytes without which nothing can be done about what is held. */
  #need = 0
  /** Bytes of data still to come of the frame under way. */
  #dataLeft = 0
  #stopped = false

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Bytes of an unfinished frame are held: the stream must not end here. */
  get midFrame(): boolean {
    return this.#dataLeft > 0 || this.#held.size > 0
  }

  push(piece: Buffer): void {
    let rest = piece
    if (this.#held.size > 0) {
      this.#held.append(piece)
      if (this.#held.size < this.#need) return
      rest = this.#held.take()
    }
    while (rest.length > 0 && !this.#stopped) {
      if (this.#dataLeft > 0) {
        const part = rest.length <= this.#dataLeft ? rest : rest.subarray(0, this.#dataLeft)
        this.#dataLeft -= part.length
        rest = rest.subarray(part.length)
        this.#sink.data(part)
        continue
      }
      const used = this.#open(rest)
      if (used === 0) return this.#held.append(rest)
      rest = rest.subarray(used)
    }
  }

  /** Takes the head of a frame, or all of it; 0 = more bytes are needed. */
  #open(bytes: Buffer): number {
    this.#need = bytes.length + 1
    if (bytes.length < PREFIX_BYTES) return 0
    if (bytes[0] !== 0) return this.#stop('compressed')
    const size = bytes.readUInt32BE(1)
    if (size > LIMITS.receiveMessageBytes) return this.#stop('too large')
    if (size === 0) return this.#stop('empty')
    const head = plainDataHead(bytes, size)
    if (head === 'more') return 0
    if (head > 0) {
      this.#dataLeft = size - head
      return PREFIX_BYTES + head
    }
    this.#need = PREFIX_BYTES + size
    if (bytes.length < this.#need) return 0
    const frame = parseFrame(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + size))
    if (typeof frame === 'string') return this.#stop(frame)
    if ('channelId' in frame) this.#sink.init(frame.channelId)
    else if (frame.data.length > 0) this.#sink.data(frame.data)
    return PREFIX_BYTES + size
  }

  #stop(reason: OddFrame): number {
    this.#stopped = true
    this.#sink.odd(reason)
    return 1
  }
}

/** Length of tag and length when the frame is `data` and nothing else; 0 = it is not. */
function plainDataHead(bytes: Buffer, size: number): number | 'more' {
  if (bytes.length === PREFIX_BYTES) return 'more'
  if (bytes[PREFIX_BYTES] !== DATA_TAG) return 0
  const length = readVarint(bytes, PREFIX_BYTES + 1)
  if (length === 'more') return bytes.length < PREFIX_BYTES + size ? 'more' : 0
  if (length === null) return 0
  const head = length.end - PREFIX_BYTES
  return head + length.value === size ? head : 0
}

/** A varint of at most five bytes: enough for any length within the message limit. */
function readVarint(bytes: Buffer, from: number): { value: number; end: number } | 'more' | null {
  let value = 0
  for (let i = 0; i < 5; i++) {
    const byte = bytes[from + i]
    if (byte === undefined) return 'more'
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return { value, end: from + i + 1 }
  }
  return null
}

type Frame = { channelId: string } | { data: Buffer }

/** A whole frame by the rules of protobuf: unknown fields are passed over, of a repeated member the last counts. */
function parseFrame(bytes: Buffer): Frame | OddFrame {
  let frame: Frame | null = null
  const fields = readFields(bytes)
  if (!fields) return 'malformed'
  for (const { tag, value } of fields) {
    if (tag === DATA_TAG) frame = { data: value! }
    else if (tag === INIT_TAG) {
      const inner = readFields(value!)
      if (!inner) return 'malformed'
      const id = inner.findLast(field => field.tag === INIT_TAG)?.value ?? NOTHING
      if (!isUtf8(id)) return 'malformed'
      frame = { channelId: id.toString() }
    }
  }
  return frame ?? 'empty'
}

/** Fields in order; `value` is there for length-delimited ones. Null = malformed. */
function readFields(bytes: Buffer): { tag: number; value: Buffer | null }[] | null {
  const fields: { tag: number; value: Buffer | null }[] = []
  let at = 0
  while (at < bytes.length) {
    const tag = readVarint(bytes, at)
    if (tag === 'more' || tag === null || tag.value < 8) return null
    at = tag.end
    const end = fieldEnd(bytes, at, tag.value % 8)
    if (!end || end.to > bytes.length) return null
    fields.push({ tag: tag.value, value: end.from === null ? null : bytes.subarray(end.from, end.to) })
    at = end.to
  }
  return fields
}

function fieldEnd(bytes: Buffer, at: number, wireType: number): { from: number | null; to: number } | null {
  if (wireType === 1) return { from: null, to: at + 8 }
  if (wireType === 5) return { from: null, to: at + 4 }
  if (wireType === 0) {
    for (let i = 0; i < 10; i++) if ((bytes[at + i] ?? 0x80) < 0x80) return { from: null, to: at + i + 1 }
    return null
  }
  if (wireType !== 2) return null
  const length = readVarint(bytes, at)
  return length === 'more' || length === null ? null : { from: length.end, to: length.end + length.value }
}

const headBytes = (size: number): number => PREFIX_BYTES + 1 + (size < 0x80 ? 1 : size < 0x4000 ? 2 : 3)

/** Bytes as they go onto the wire: as many `data` frames of at most `relayFrameBytes` as it takes, in one buffer. */
export function encodeData(bytes: Uint8Array): Buffer {
  const most = LIMITS.relayFrameBytes
  const whole = Math.floor(bytes.length / most)
  const last = bytes.length % most
  const out = Buffer.allocUnsafe(whole * (headBytes(most) + most) + (last > 0 ? headBytes(last) + last : 0))
  let at = 0
  for (let from = 0; from < bytes.length; from += most) {
    const size = Math.min(most, bytes.length - from)
    at = writeHead(out, at, size)
    out.set(bytes.subarray(from, from + size), at)
    at += size
  }
  return out
}

function writeHead(out: Buffer, at: number, size: number): number {
  const head = headBytes(size)
  out[at] = 0
  out.writeUInt32BE(head - PREFIX_BYTES + size, at + 1)
  out[at + PREFIX_BYTES] = DATA_TAG
  let rest = size
  for (let i = at + PREFIX_BYTES + 1; i < at + head; i++) {
    out[i] = rest > 0x7f ? (rest & 0x7f) | 0x80 : rest
    rest >>>= 7
  }
  return at + head
}

/** The first frame of a RelayStream. */
export function encodeInit(channelId: string): Buffer {
  const id = Buffer.from(channelId)
  if (id.length > 0x7f - 2) throw new RangeError('channel id too long')
  return Buffer.concat([Buffer.from([0, 0, 0, 0, id.length + 4, INIT_TAG, id.length + 2, INIT_TAG, id.length]), id])
}
