const FIRST_BYTES = 65_536
/** A varint of 32 bits, and of 64. */
const VARINT_MOST = 5
const LONG_MOST = 10
const FLOAT_BYTES = 4
/** Texts up to this are written without asking the engine how long their bytes are; one length byte suffices. */
const SHORT_CHARS = 100

/**
 * Protobuf fields into one growing buffer, written from front to back and used again: a policy of a thousand endpoints,
 * or an answer of ten thousand rows, has no thousand pieces. What the caller leaves out (defaults) is up to the caller.
 */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES)
  #at = 0

  /** Begins anew. */
  reset(): void {
    this.#at = 0
  }

  /** Bytes written. */
  get length(): number {
    return this.#at
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }

  /** An unsigned 32-bit number. */
  varint(value: number): void {
    this.#reserve(VARINT_MOST)
    let rest = value >>> 0
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[this.#at++] = rest
  }

  /** A safe integer in 64 bits; one below zero takes ten bytes. */
  varint64(value: number): void {
    if (value >= 0 && value <= 0xffff_ffff) return this.varint(value)
    this.#reserve(LONG_MOST)
    let low = value >>> 0
    let high = Math.floor(value / 2 ** 32) >>> 0
    while (high > 0 || low > 0x7f) {
      this.#bytes[this.#at++] = (low & 0x7f) | 0x80
      low = ((low >>> 7) | (high << 25)) >>> 0
      high >>>= 7
    }
    this.#bytes[this.#at++] = low
  }

  /** A field of type float. */
  float(field: number, value: number): void {
    this.varint((field << 3) | 5)
    this.#reserve(FLOAT_BYTES)
    this.#at = this.#bytes.writeFloatLE(value, this.#at)
  }

  /** A length-delimited field with bytes that are there already. */
  bytes(field: number, value: Uint8Array): void {
    this.varint((field << 3) | 2)
    this.varint(value.byteLength)
    this.#reserve(value.byteLength)
    this.#bytes.set(value, this.#at)
    this.#at += value.byteLength
  }

  /** A field of type string. */
  text(field: number, value: string): void {
    this.varint((field << 3) | 2)
    if (value.length <= SHORT_CHARS && this.#ascii(value)) return
    const size = Buffer.byteLength(value)
    this.varint(size)
    this.#reserve(size)
    this.#bytes.write(value, this.#at, 'utf8')
    this.#at += size
  }

  /** Length and bytes of a short text; false, and nothing written, when it is not plain ASCII. */
  #ascii(value: string): boolean {
    this.#reserve(value.length + 1)
    const bytes = this.#bytes
    const start = this.#at
    bytes[start] = value.length
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i)
      if (unit > 0x7f) return false
      bytes[start + 1 + i] = unit
    }
    this.#at = start + 1 + value.length
    return true
  }

  /** A length-delimited field; its length takes one byte until it shows to need more. */
  nested(field: number, write: () => void): void {
    this.varint((field << 3) | 2)
    this.#reserve(VARINT_MOST)
    const start = ++this.#at
    write()
    const size = this.#at - start
    if (size <= 0x7f) {
      this.#bytes[start - 1] = size
      return
    }
    let lengthBytes = 1
    for (let rest = size >>> 7; rest > 0; rest >>>= 7) lengthBytes++
    this.#reserve(lengthBytes)
    this.#bytes.copyWithin(start - 1 + lengthBytes, start, this.#at)
    this.#at = start - 1
    this.varint(size)
    this.#at += size
  }

  /** Forgets what was written behind `length`. */
  cut(length: number): void {
    this.#at = length
  }

  /** What was written, in a buffer of its own. */
  copy(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#at))
  }
}
