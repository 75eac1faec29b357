import type { ServerHttp2Session } from 'node:http2'
import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/** Finds connections whose other end is gone without a word (decision 22). */
export interface Keepalive {
  watch(session: ServerHttp2Session): void
  forget(session: ServerHttp2Session): void
  stop(): void
}

interface Watched {
  /** When to ping, or while a ping is out, when to give up. */
  dueMs: number
  isWaiting: boolean
}

const PAYLOAD = Buffer.alloc(8)

/** The latest look at which it is not yet later than `ms` from now: a look may come a whole sweep late. */
const within = (clock: Clock, ms: number): number => clock.monotonicMs() + ms - LIMITS.keepaliveSweepMs

/**
 * Pings each connection at most `keepaliveMs` after its last answer and destroys it when the next one takes longer than
 * `keepaliveTimeoutMs`: nobody who is gone stays beyond both together (F-15). One timer for all of them: the library's
 * own keepalive holds a dozen closures for each.
 */
export function createKeepalive(clock: Clock): Keepalive {
  const table = new Map<ServerHttp2Session, Watched>()

  const ping = (session: ServerHttp2Session, watched: Watched) => {
    watched.isWaiting = true
    watched.dueMs = within(clock, LIMITS.keepaliveTimeoutMs)
    try {
      session.ping(PAYLOAD, error => {
        watched.isWaiting = false
        watched.dueMs = within(clock, LIMITS.keepaliveMs)
        if (error) session.destroy()
      })
    } catch {
      // A session that is closing takes no pings; it may close by the time that an answer would have had.
    }
  }

  const sweep = () => {
    timer = clock.after(LIMITS.keepaliveSweepMs, sweep)
    const now = clock.monotonicMs()
    for (const [session, watched] of table) {
      if (now < watched.dueMs) continue
      if (watched.isWaiting || session.destroyed) session.destroy()
      else ping(session, watched)
    }
  }
  let timer: Timer = clock.after(LIMITS.keepaliveSweepMs, sweep)

  return {
    watch: session => void table.set(session, { dueMs: within(clock, LIMITS.keepaliveMs), isWaiting: false }),
    forget: session => void table.delete(session),
    stop: () => timer.cancel(),
  }
}
