import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/** Sends the last octets of a connection; a peer that does not close its side is not waited for. */
export function closeWith(socket: Duplex, words?: string | Buffer, clock: Clock = systemClock): void {
  socket.end(words)
  const timer = clock.after(LIMITS.closeLingerMs, () => socket.destroy())
  socket.once('close', () => timer.cancel())
}
