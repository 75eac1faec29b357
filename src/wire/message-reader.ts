import { Gathered } from '../base/gathered.ts'

const PREFIX_BYTES = 5
/** Where the length stands in the prefix; before it a flag that says whether the message is compressed. */
const LENGTH_AT = 1

/** Why there are no more messages: one that is compressed, or the length of one that is too long. */
export type MessageFault = 'compressed' | { readonly bytes: number }

/** The messages of a gRPC stream out of pieces of any size. */
export class MessageReader {
  readonly #mostBytes: number
  readonly #held = new Gathered()
  /** Bytes without which nothing can be done. */
  #need = PREFIX_BYTES
  #fault: MessageFault | null = null

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  get fault(): MessageFault | null {
    return this.#fault
  }

  /** The messages that end in this piece. Nothing comes after a fault. */
  push(piece: Buffer): Buffer[] {
    const messages: Buffer[] = []
    if (this.#fault) return messages
    let rest = piece
    if (this.#held.size > 0) {
      this.#held.append(piece)
      if (this.#held.size < this.#need) return messages
      rest = this.#held.take()
    }
    while (rest.length >= this.#openOne(rest)) {
      messages.push(rest.subarray(PREFIX_BYTES, this.#need))
      rest = rest.subarray(this.#need)
    }
    if (!this.#fault && rest.length > 0) this.#held.append(rest)
    return messages
  }

  /** How long the message that begins here is with its prefix, as far as that is known. */
  #openOne(bytes: Buffer): number {
    this.#need = PREFIX_BYTES
    if (bytes.length < PREFIX_BYTES) return this.#need
    const size = bytes.readUInt32BE(LENGTH_AT)
    if (bytes[0] !== 0) this.#fault = 'compressed'
    else if (size > this.#mostBytes) this.#fault = { bytes: size }
    this.#need = this.#fault ? Number.POSITIVE_INFINITY : PREFIX_BYTES + size
    return this.#need
  }
}
