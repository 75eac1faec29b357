import { randomUUID } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { collectEvery } from '../base/collect.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { isSameSupervisor, mayTakeOver, type SupervisorCaller } from '../domain/supervisor-identity.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { type ControlStream, SupervisorSession } from './supervisor-session.ts'

/** Who is told that a sandbox has, or has lost, its supervisor (spec/sandbox.md §9). Failures are logged. */
export interface SupervisorPhase {
  /** Answers false when there is no such sandbox any more. */
  supervisorConnected(sandboxId: string, sessionId: string): Promise<unknown> | unknown
  supervisorDisconnected(sandboxId: string, sessionId: string): Promise<unknown> | unknown
}

/** What relays need to know of sessions. */
export interface SessionListener {
  /** A session was accepted: pending relays are announced (again) to it. */
  accepted(session: SupervisorSession): void
  /** The supervisor of a sandbox says that a relay will not come. */
  refused(sandboxId: string, channelId: string, reason: string): void
}

export interface SupervisorsDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly phase: SupervisorPhase
}

export interface SupervisorHello {
  readonly sandboxId: string
  readonly instanceId: string
}

/** The registry of supervisor sessions: at most one for each sandbox id, the newest (spec/relay.md §3). */
export interface Supervisors {
  /** Registers a session and runs it to its end; throws the status that ended it, or the refusal to register it. */
  serve(hello: SupervisorHello, caller: SupervisorCaller, stream: ControlStream, log: Logger): Promise<void>
  current(sandboxId: string): SupervisorSession | null
  /** The session of a sandbox, waiting up to `waitMs` for one. Throws UNAVAILABLE after that, CANCELLED when `signal` aborts. */
  waitFor(sandboxId: string, waitMs: number, signal: AbortSignal): Promise<SupervisorSession>
  listen(listener: SessionListener): void
  /** The sandbox is gone: its session ends, and nobody waits for another. */
  drop(sandboxId: string): void
  /** Ends every session with UNAVAILABLE and takes no more. */
  drain(): void
  readonly size: number
}

interface Waiter {
  take(session: SupervisorSession): void
  fail(error: GatewayError): void
}

export function createSupervisors(deps: SupervisorsDeps): Supervisors {
  const { clock, log } = deps
  const sessions = new Map<string, SupervisorSession>()
  const waiters = new Map<string, Set<Waiter>>()
  /** When a sandbox's session last went to another address. */
  const moved = new Map<string, number>()
  const listeners: SessionListener[] = []
  let draining = false
  const collect = collectEvery(LIMITS.sessionsPerCollection)

  const tell = async (what: keyof SupervisorPhase, session: SupervisorSession): Promise<unknown> => {
    try {
      return await deps.phase[what](session.sandboxId, session.id)
    } catch (error) {
      log.warn('sandbox phase not updated', { sandbox_id: session.sandboxId, event: what, cause: errorText(error) })
      return null
    }
  }

  const checkTakeover = (old: SupervisorSession, next: SupervisorCaller) => {
    if (!mayTakeOver(old.caller, next)) {
      log.warn('supervisor takeover refused', {
        sandbox_id: old.sandboxId,
        held_by: old.caller.address,
        peer: next.address,
      })
      throw new GatewayError('PERMISSION_DENIED', RELAY_TEXTS.takeoverRefused)
    }
    if (old.caller.address === next.address && isSameSupervisor(old.caller, next)) return
    const now = clock.monotonicMs()
    if (now - (moved.get(old.sandboxId) ?? Number.NEGATIVE_INFINITY) < LIMITS.takeoverPauseMs)
      throw new GatewayError('RESOURCE_EXHAUSTED', RELAY_TEXTS.takeoverTooSoon)
    moved.set(old.sandboxId, now)
    clock.after(LIMITS.takeoverPauseMs, () => moved.get(old.sandboxId) === now && moved.delete(old.sandboxId))
    log.warn('supervisor session taken over from another place', {
      sandbox_id: old.sandboxId,
      held_by: old.caller.address,
      peer: next.address,
    })
  }

  const endGone = (session: SupervisorSession | undefined) =>
    session?.end(new GatewayError('NOT_FOUND', RELAY_TEXTS.sandboxNotFound))

  const register = (session: SupervisorSession) => {
    const old = sessions.get(session.sandboxId)
    if (old) checkTakeover(old, session.caller)
    sessions.set(session.sandboxId, session)
    old?.end()
    for (const listener of listeners) listener.accepted(session)
    for (const waiter of waiters.get(session.sandboxId) ?? []) waiter.take(session)
    collect()
    log.info('supervisor session: accepted', {
      sandbox_id: session.sandboxId,
      session_id: session.id,
      instance_id: session.instanceId,
      peer: session.caller.address,
      proof: session.caller.proof,
      superseded: old !== undefined,
    })
  }

  const unregister = (session: SupervisorSession) => {
    if (sessions.get(session.sandboxId) !== session) return
    sessions.delete(session.sandboxId)
    log.info('supervisor session: ended', { sandbox_id: session.sandboxId, session_id: session.id })
    void tell('supervisorDisconnected', session)
  }

  return {
    async serve(hello, caller, stream, callLog) {
      if (draining) throw new GatewayError('UNAVAILABLE', RELAY_TEXTS.draining)
      const session = new SupervisorSession({
        id: randomUUID(),
        ...hello,
        caller,
        clock,
        log: callLog.child({ sandbox_id: hello.sandboxId }),
        onRelayRefused: (channelId, reason) => {
          for (const listener of listeners) listener.refused(hello.sandboxId, channelId, reason)
        },
      })
      register(session)
      try {
        const running = session.run(stream)
        // It may have gone since this call looked for it.
        void tell('supervisorConnected', session).then(isThere => isThere === false && endGone(session))
        await running
        if (sessions.get(session.sandboxId) === session)
          log.info('supervisor session: stream closed by supervisor', {
            sandbox_id: session.sandboxId,
            session_id: session.id,
          })
      } finally {
        unregister(session)
      }
    },
    current: sandboxId => sessions.get(sandboxId) ?? null,
    waitFor(sandboxId, waitMs, signal) {
      const there = sessions.get(sandboxId)
      if (there && !there.isOver) return Promise.resolve(there)
      return new Promise((resolve, reject) => {
        const leave = () => {
          timer.cancel()
          signal.removeEventListener('abort', onAbort)
          const set = waiters.get(sandboxId)
          set?.delete(waiter)
          if (set?.size === 0) waiters.delete(sandboxId)
        }
        const waiter: Waiter = {
          take: session => {
            leave()
            resolve(session)
          },
          fail: error => {
            leave()
            reject(error)
          },
        }
        const onAbort = () => waiter.fail(new GatewayError('CANCELLED', 'call ended'))
        const timer = clock.after(waitMs, () =>
          waiter.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.sessionMissing)),
        )
        if (!waiters.has(sandboxId)) waiters.set(sandboxId, new Set())
        waiters.get(sandboxId)!.add(waiter)
        signal.addEventListener('abort', onAbort, { once: true })
        if (signal.aborted) onAbort()
      })
    },
    listen: listener => void listeners.push(listener),
    drop(sandboxId) {
      endGone(sessions.get(sandboxId))
      for (const waiter of [...(waiters.get(sandboxId) ?? [])])
        waiter.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.sessionMissing))
    },
    drain() {
      draining = true
      for (const session of sessions.values()) session.end(new GatewayError('UNAVAILABLE', RELAY_TEXTS.draining))
      for (const set of [...waiters.values()])
        for (const waiter of [...set]) waiter.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.draining))
    },
    get size() {
      return sessions.size
    },
  }
}
