import { Duplex } from 'node:stream'

/**
 * Two streams, each the other's far end, for an HTTP/2 connection inside the process. Unlike the library's pair a
 * write completes in a later turn of the event loop, as a socket's does: Bun's HTTP/2 engine stalls at the first full
 * window when its transport drains while it still writes.
 */
export function createDuplexPair(): readonly [Duplex, Duplex] {
  const [left, right] = [new Side(), new Side()]
  left.connect(right)
  right.connect(left)
  return [left, right]
}

class Side extends Duplex {
  #other: Side | null = null
  /** The write of the other side that waits until this side is read. */
  #waiting: (() => void) | null = null

  constructor() {
    super({ allowHalfOpen: true })
  }

  connect(other: Side): void {
    this.#other = other
    // Whatever ends one side ends the other: nobody would read or answer there.
    this.once('close', () => other.destroy())
  }

  override _read(): void {
    const done = this.#waiting
    this.#waiting = null
    if (done) setImmediate(done)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const other = this.#other
    if (other === null || other.destroyed) return done(new Error('the other side is closed'))
    if (other.push(chunk)) setImmediate(done)
    else other.#waiting = done
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#other?.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const waiting = this.#waiting
    this.#waiting = null
    if (waiting) setImmediate(waiting)
    done(error)
  }
}
