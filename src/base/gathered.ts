const NOTHING = Buffer.alloc(0)
const LEAST_BYTES = 64

/** Bytes that come in pieces: each is copied a few times at most, however small the pieces are. */
export class Gathered {
  #bytes: Buffer = NOTHING
  #size = 0

  get size(): number {
    return this.#size
  }

  append(piece: Uint8Array): void {
    const size = this.#size + piece.length
    if (size > this.#bytes.length) {
      const room = Buffer.allocUnsafe(Math.max(size, 2 * this.#bytes.length, LEAST_BYTES))
      room.set(this.#bytes.subarray(0, this.#size))
      this.#bytes = room
    }
    this.#bytes.set(piece, this.#size)
    this.#size = size
  }

  /** All that was gathered; nothing of it stays. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#size)
    this.#bytes = NOTHING
    this.#size = 0
    return taken
  }
}
