import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { Peer } from '../rpc/context.ts'

/** An HTTP/1.x connection between being handed over and being closed or taken by a tunnel. */
export interface HttpConnection {
  readonly peer: Peer
}

interface Entry extends HttpConnection {
  timer: Timer
  /** Requests and answers under way; 0 and not `isReading` = between two requests. */
  pending: number
  isReading: boolean
  readonly onFirst: () => void
  readonly forget: () => void
}

/**
 * The clocks of HTTP/1.x connections (F-11, M12): the first head must be whole within the time given, each further
 * request within 10 s of its first octet, answer included, and 60 s may pass between two. A connection that is late is closed.
 */
export class HttpConnections {
  readonly #clock: Clock
  readonly #entries = new Map<Duplex, Entry>()
  #isDraining = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  get(socket: Duplex): HttpConnection | undefined {
    return this.#entries.get(socket)
  }

  /** `onFirst` is called at the first complete request, or when the connection leaves without one. */
  add(socket: Duplex, peer: Peer, firstMs: number, onFirst: () => void): void {
    const onData = () => {
      if (entry.pending > 0 || entry.isReading) return
      entry.isReading = true
      this.#arm(socket, entry, LIMITS.httpRequestMs)
    }
    const onClose = () => this.release(socket)
    const onError = () => socket.destroy()
    const forget = () => socket.off('data', onData).off('close', onClose).off('error', onError)
    const entry: Entry = { peer, timer: { cancel() {} }, pending: 0, isReading: true, onFirst, forget }
    this.#entries.set(socket, entry)
    this.#arm(socket, entry, firstMs)
    socket.on('data', onData).on('close', onClose).on('error', onError)
  }

  /** A request arrived; call the returned function when its body and when its answer are through. */
  begin(socket: Duplex): () => void {
    const entry = this.#entries.get(socket)
    if (entry === undefined) return () => {}
    entry.onFirst()
    entry.pending += 2
    this.#arm(socket, entry, LIMITS.httpRequestMs)
    return () => this.#settle(socket, entry)
  }

  /** The answer to the current request takes its own time, bounded elsewhere. */
  suspend(socket: Duplex): void {
    this.#entries.get(socket)?.timer.cancel()
  }

  /** The connection is closed or no longer ours. */
  release(socket: Duplex): HttpConnection | undefined {
    const entry = this.#entries.get(socket)
    if (entry === undefined) return undefined
    this.#entries.delete(socket)
    entry.timer.cancel()
    entry.forget()
    entry.onFirst()
    return entry
  }

  /** Closes what is between two requests; the others close behind their answer. */
  drain(): void {
    this.#isDraining = true
    for (const [socket, { pending, isReading }] of [...this.#entries]) if (pending === 0 && !isReading) socket.destroy()
  }

  destroy(): void {
    this.#isDraining = true
    for (const socket of [...this.#entries.keys()]) socket.destroy()
  }

  #settle(socket: Duplex, entry: Entry): void {
    entry.pending--
    if (entry.pending > 0 || this.#entries.get(socket) !== entry) return
    entry.isReading = false
    if (this.#isDraining) socket.destroy()
    else this.#arm(socket, entry, LIMITS.httpIdleMs)
  }

  #arm(socket: Duplex, entry: Entry, ms: number): void {
    entry.timer.cancel()
    entry.timer = this.#clock.after(Math.max(ms, 1), () => socket.destroy())
  }
}
