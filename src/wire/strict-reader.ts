import { isUtf8 } from 'node:buffer'
import protobuf from 'protobufjs/light.js'

/** Bytes that are not the message they claim to be. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** Refuses what the stock reader repairs in silence: broken UTF-8 and text that ends behind the buffer. */
export class StrictReader extends protobuf.BufferReader {
  /** Fields met so far that the contract does not have. */
  skipped = 0

  override skipType(wireType: number): this {
    this.skipped++
    super.skipType(wireType)
    return this
  }

  override string(): string {
    const length = this.uint32()
    const end = this.pos + length
    if (end > this.len) throw new WireError('buffer underflow')
    const buffer = this.buf as Buffer & { utf8Slice(start: number, end: number): string }
    const text = buffer.utf8Slice(this.pos, end)
    if (text.includes('\ufffd') && !isUtf8(buffer.subarray(this.pos, end)))
      throw new WireError('invalid string value: data is not UTF-8 encoded')
    this.pos = end
    return text
  }

  #bits(): bigint {
    const long = super.fixed64() as unknown as { low: number; high: number }
    return (BigInt(long.high >>> 0) << 32n) | BigInt(long.low >>> 0)
  }

  #varint(): bigint {
    let result = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.pos >= this.len) throw new WireError('buffer underflow')
      const byte = this.buf[this.pos++]!
      result |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, result)
    }
    throw new WireError('invalid varint')
  }

  override int64(): never {
    return BigInt.asIntN(64, this.#varint()) as never
  }

  override uint64(): never {
    return this.#varint() as never
  }

  override fixed64(): never {
    return this.#bits() as never
  }

  override sfixed64(): never {
    return BigInt.asIntN(64, this.#bits()) as never
  }
}
