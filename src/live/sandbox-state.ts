import type { Clock } from '../base/clock.ts'
import { createKeyedLock } from '../base/keyed-lock.ts'
import { failures, observe, PHASE_NAMES, whenConnected, whenDisconnected } from '../domain/phase.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { type Store, StoreConflict, type StoredObject, type StoreTransaction } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { ComputeDriverSandboxStatus, Sandbox } from '../wire/messages.generated.ts'
import type { PlatformEvents } from './platform-events.ts'
import type { SandboxLogs } from './sandbox-logs.ts'
import type { Closing, WatchBus } from './watch-bus.ts'

/** What a change of a record may look at and write beside it, all in the one transaction. */
export interface MutationContext {
  readonly tx: StoreTransaction
  readonly row: StoredObject
}

/** Answers the record as it shall be, or null to leave it. What it throws rolls everything back and is passed on. */
export type Change = (sandbox: Sandbox, context: MutationContext) => Sandbox | null | Promise<Sandbox | null>

export interface Mutated {
  readonly sandbox: Sandbox
  readonly row: StoredObject
  readonly changed: boolean
}

/** `unknown`: no such record. `stale`: the record changed after the word was spoken. */
export type ObserveResult = 'applied' | 'unchanged' | 'unknown' | 'stale'

/**
 * The one way to change a sandbox record. Changes of one sandbox run one after another, each in one transaction that
 * compares before it writes (W4, W5, S-09); watchers are told of each that was stored. Nothing here creates a record:
 * a word about an unknown id changes nothing (W3).
 */
export interface SandboxState {
  /** Null when there is no such record. Throws what the store throws. */
  mutate(id: string, change: Change): Promise<Mutated | null>
  /**
   * Applies a driver's word about a sandbox. `listedMs`: the word stood in a list asked for at that wall time; a record
   * that changed since then is left alone.
   */
  observe(id: string, status: ComputeDriverSandboxStatus | null, listedMs?: number): Promise<ObserveResult>
  /** The record and all that depends on it go in one transaction; watchers, logs and events end (decision 19, W13). */
  remove(id: string, how: Closing['how']): Promise<boolean>
  /** Ends all that streams from or into a sandbox whose record stays for a while. */
  closeStreams(id: string, lastPayload: Uint8Array | null): void
  /** False = there is no such record. */
  supervisorConnected(id: string, sessionId: string): Promise<boolean>
  /** Of a session that another one has replaced, it changes nothing (W36). */
  supervisorDisconnected(id: string, sessionId: string): Promise<void>
  isConnected(id: string): boolean
  /** Whether a sandbox of that id was here and is gone. */
  isGone(id: string): boolean
  /** Runs `listener` when a sandbox is on its way out or gone, to end what else streams from or into it (W17). */
  onStreamsClosed(listener: (id: string) => void): void
  /** Runs `listener` after a sandbox went away, to end what else lives for it (W15). */
  onRemoved(listener: (id: string) => void): void
}

export interface SandboxStateDeps {
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
  readonly bus: WatchBus
  readonly logs: SandboxLogs
  readonly events: PlatformEvents
}

const TRIES = 5

export function createSandboxState(deps: SandboxStateDeps): SandboxState {
  const { store, clock, bus } = deps
  const lock = createKeyedLock()
  const sessions = new Map<string, string>()
  const gone = new Set<string>()
  const whenClosed: ((id: string) => void)[] = []
  const whenRemoved: ((id: string) => void)[] = []
  const sandboxCodec = codec('openshell.v1.Sandbox')
  const ageMs = (row: StoredObject) => clock.nowMs() - row.createdAtMs

  const attempt = (id: string, change: Change): Promise<Mutated | null> =>
    store.transaction(async tx => {
      const row = await tx.get('sandbox', id)
      if (!row) return null
      const before = sandboxCodec.decode(row.payload)
      const after = await change(before, { tx, row })
      if (!after || after === before) return { sandbox: before, row, changed: false }
      const payload = sandboxCodec.encode(after)
      if (payload.equals(row.payload)) return { sandbox: after, row, changed: false }
      return { sandbox: after, row: await tx.update(row, payload), changed: true }
    })

  /** The caller holds the sandbox's lock. */
  const mutateLocked = async (id: string, change: Change): Promise<Mutated | null> => {
    for (let tries = 1; ; tries++) {
      try {
        const mutated = await attempt(id, change)
        if (mutated?.changed) bus.changed(id)
        return mutated
      } catch (error) {
        if (!(error instanceof StoreConflict && error.what === 'changed') || tries === TRIES) throw error
      }
    }
  }

  const forget = (id: string) => {
    sessions.delete(id)
    gone.delete(id)
    gone.add(id)
    if (gone.size > LIMITS.tombstones) for (const oldest of gone) return void gone.delete(oldest)
  }

  const closeStreams = (id: string, closing: Closing) => {
    deps.logs.remove(id)
    deps.events.remove(id)
    bus.end(id, closing)
    for (const listener of whenClosed) listener(id)
  }

  const report = (before: number, { sandbox, row }: Mutated) => {
    const about = { sandbox_id: row.id, sandbox_name: row.name }
    if (before !== sandbox.phase)
      deps.log.info('Sandbox phase changed', {
        ...about,
        old_phase: PHASE_NAMES[before],
        new_phase: PHASE_NAMES[sandbox.phase],
      })
    for (const { reason, message } of failures(sandbox, ageMs(row))) {
      // The sandbox's own log shows the condition's words (spec/sandbox.md §6.1), the process log a fixed text.
      deps.log.warn('Sandbox failed to become ready', {
        sandbox: row.id,
        sandbox_name: row.name,
        reason,
        condition: message,
      })
      deps.logs.onLine({
        sandboxId: row.id,
        timestampMs: clock.nowMs(),
        level: 'WARN',
        target: 'openshell_gateway',
        message,
      })
    }
  }

  const observeLocked = async (
    id: string,
    status: ComputeDriverSandboxStatus | null,
    listedMs: number,
  ): Promise<ObserveResult> => {
    const row = await store.get('sandbox', id)
    if (!row) return 'unknown'
    if (row.updatedAtMs >= listedMs) return 'stale'
    const around = { isConnected: sessions.has(id), ageMs: ageMs(row), isFromList: Number.isFinite(listedMs) }
    const known = sandboxCodec.decode(row.payload)
    const first = observe(known, status, around)
    if (!first.changed) {
      report(first.sandbox.phase, { sandbox: first.sandbox, row, changed: false })
      return 'unchanged'
    }
    let before = known.phase
    const mutated = await mutateLocked(id, (sandbox, { row: current }) => {
      if (current.updatedAtMs >= listedMs) return null
      before = sandbox.phase
      const next = observe(sandbox, status, around)
      return next.changed ? next.sandbox : null
    })
    if (!mutated) return 'unknown'
    report(before, mutated)
    return mutated.changed ? 'applied' : 'unchanged'
  }

  return {
    mutate: (id, change) => lock.run(id, () => mutateLocked(id, change)),
    observe: (id, status, listedMs = Number.POSITIVE_INFINITY) =>
      lock.run(id, () => observeLocked(id, status, listedMs)),
    remove: (id, how) =>
      lock.run(id, async () => {
        const [row, existed] = await store.transaction(async tx => [
          await tx.get('sandbox', id),
          await tx.deleteSandbox(id),
        ])
        forget(id)
        closeStreams(id, { how, lastPayload: row?.payload ?? null })
        for (const listener of whenRemoved) listener(id)
        return existed
      }),
    closeStreams: (id, lastPayload) => closeStreams(id, { how: 'deleted', lastPayload }),
    async supervisorConnected(id, sessionId) {
      sessions.set(id, sessionId)
      const mutated = await lock.run(id, () =>
        mutateLocked(id, (sandbox, { row }) =>
          sessions.get(id) === sessionId ? whenConnected(sandbox, ageMs(row)) : null,
        ),
      )
      if (!mutated && sessions.get(id) === sessionId) sessions.delete(id)
      return mutated !== null
    },
    async supervisorDisconnected(id, sessionId) {
      if (sessions.get(id) !== sessionId) return
      sessions.delete(id)
      await lock.run(id, () => mutateLocked(id, sandbox => (sessions.has(id) ? null : whenDisconnected(sandbox))))
    },
    isConnected: id => sessions.has(id),
    isGone: id => gone.has(id),
    onStreamsClosed: listener => void whenClosed.push(listener),
    onRemoved: listener => void whenRemoved.push(listener),
  }
}
