import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { Tally } from './relays.ts'

/** Why an open tunnel was cut from this side. */
export type CutReason = 'revoked' | 'expired' | 'sandbox gone' | 'stopping'

/** A place held by one tunnel. */
export interface TunnelSlot {
  /** Aborts when the tunnel has to end; its reason is a `CutReason`. */
  readonly signal: AbortSignal
  /** Gives the place back; idempotent. */
  release(): void
}

/** Open SSH tunnels: how many, whose, and how to end them (spec/gateway.md §10, W17, W34). */
export interface Tunnels {
  /** A place for one more tunnel of the session, or null when the session or the sandbox has its fill. */
  admit(session: { id: string; sandboxId: string; expiresAtMs: number }): TunnelSlot | null
  cutSession(sessionId: string, reason: CutReason): void
  cutSandbox(sandboxId: string): void
  stop(): void
  readonly open: number
}

/** Timers take 31 bits of milliseconds. */
const LONGEST_TIMER_MS = 0x7fffffff

interface Open {
  readonly sessionId: string
  readonly sandboxId: string
  cut(reason: CutReason): void
}

export function createTunnels(clock: Clock): Tunnels {
  const bySession = new Tally()
  const bySandbox = new Tally()
  const open = new Set<Open>()

  const cutWhere = (matches: (tunnel: Open) => boolean, reason: CutReason) => {
    for (const tunnel of [...open]) if (matches(tunnel)) tunnel.cut(reason)
  }

  return {
    admit(session) {
      if (bySession.of(session.id) >= LIMITS.tunnelsPerToken) return null
      if (bySandbox.of(session.sandboxId) >= LIMITS.tunnelsPerSandbox) return null
      bySession.add(session.id, 1)
      bySandbox.add(session.sandboxId, 1)
      const abort = new AbortController()
      let timer: Timer | null = null
      const watchExpiry = () => {
        const left = session.expiresAtMs - clock.nowMs()
        if (left < 0) tunnel.cut('expired')
        else timer = clock.after(Math.min(left + 1, LONGEST_TIMER_MS), watchExpiry)
      }
      const tunnel: Open = {
        sessionId: session.id,
        sandboxId: session.sandboxId,
        cut: reason => abort.abort(reason),
      }
      open.add(tunnel)
      if (session.expiresAtMs > 0) watchExpiry()
      return {
        signal: abort.signal,
        release() {
          if (!open.delete(tunnel)) return
          timer?.cancel()
          bySession.add(session.id, -1)
          bySandbox.add(session.sandboxId, -1)
        },
      }
    },
    cutSession: (sessionId, reason) => cutWhere(tunnel => tunnel.sessionId === sessionId, reason),
    cutSandbox: sandboxId => cutWhere(tunnel => tunnel.sandboxId === sandboxId, 'sandbox gone'),
    stop: () => cutWhere(() => true, 'stopping'),
    get open() {
      return open.size
    },
  }
}
