/**
 * Answers built from stored message bytes without decoding them: a length-delimited field is its tag, its length
 * and the bytes (platform.md §1).
 */

/** Bytes of `value` as a protobuf varint. */
function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return bytes
}

/**
 * One message whose field `field` occurs once for each item, in order. An item may come in parts that are
 * written back to back: later parts override scalars of earlier ones and merge sub-messages.
 */
export function spliceField(field: number, items: readonly (readonly Uint8Array[])[]): Buffer {
  const tag = varint((field << 3) | 2)
  const heads = items.map(parts => [...tag, ...varint(parts.reduce((sum, part) => sum + part.byteLength, 0))])
  let size = 0
  for (const [index, parts] of items.entries()) {
    size += heads[index]!.length
    for (const part of parts) size += part.byteLength
  }
  const out = Buffer.allocUnsafe(size)
  let at = 0
  for (const [index, parts] of items.entries()) {
    for (const byte of heads[index]!) out[at++] = byte
    for (const part of parts) {
      out.set(part, at)
      at += part.byteLength
    }
  }
  return out
}
