import type { Clock } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import type { ComputeDriver } from '../drivers/contract.ts'
import type { Logger } from '../observe/log.ts'
import type { Store } from '../store/store.ts'
import { type Creations, createCreations } from './creations.ts'
import { createDeletions, type Deletions } from './deletions.ts'
import { createPlatformEvents, type PlatformEvents } from './platform-events.ts'
import { createReconciler, type Reconciler } from './reconciler.ts'
import { createRelays, type Relays } from './relays.ts'
import { createSandboxLogs, type SandboxLogs } from './sandbox-logs.ts'
import { createSandboxState, type SandboxState } from './sandbox-state.ts'
import { startSshReaper } from './ssh-sessions.ts'
import { createSupervisors, type Supervisors } from './supervisors.ts'
import { createTunnels, type Tunnels } from './tunnels.ts'
import { createWatchBus, type WatchBus } from './watch-bus.ts'

/** Everything that exists only while the process runs. */
export interface Live {
  readonly bus: WatchBus
  readonly logs: SandboxLogs
  readonly events: PlatformEvents
  readonly state: SandboxState
  readonly creations: Creations
  readonly deletions: Deletions
  readonly supervisors: Supervisors
  readonly relays: Relays
  readonly tunnels: Tunnels
  readonly reconciler: Reconciler
  /** Starts following the driver and reaping sessions. */
  start(): void
  /** Ends what streams: watches, supervisors, tunnels. Creates under way go on. */
  drain(): void
  /** Lets go of everything; resolves once creates under way are over. */
  close(): Promise<void>
}

export interface LiveDeps {
  readonly store: Store
  readonly driver: ComputeDriver
  readonly clock: Clock
  readonly log: Logger
  /** Tells the driver again to make a sandbox it never heard of (S-11). */
  readonly recreate: (id: string) => Promise<void>
}

export function createLive({ store, driver, clock, log, recreate }: LiveDeps): Live {
  const bus = createWatchBus()
  const logs = createSandboxLogs({ clock, bus, exists: async id => (await store.get('sandbox', id)) !== null })
  const events = createPlatformEvents(bus)
  const state = createSandboxState({ store, clock, log, bus, logs, events })
  const creations = createCreations()
  const deletions = createDeletions({ driver, store, state, clock, log })
  const supervisors = createSupervisors({ clock, log, phase: state })
  const relays = createRelays({ clock, log, supervisors })
  const tunnels = createTunnels(clock)
  const reconciler = createReconciler({ driver, store, state, events, deletions, clock, log, recreate })
  // Whoever removes a sandbox, nothing of it lives on (W15); its driver may take long to be done with it (W17).
  state.onStreamsClosed(id => {
    relays.drop(id)
    tunnels.cutSandbox(id)
  })
  state.onRemoved(id => supervisors.drop(id))
  let reaper: { cancel(): void } | null = null

  return {
    ...{ bus, logs, events, state, creations, deletions, supervisors, relays, tunnels, reconciler },
    start() {
      reconciler.start()
      reaper = startSshReaper(store, clock, log)
    },
    drain() {
      bus.drain()
      supervisors.drain()
      tunnels.stop()
      relays.stop()
    },
    async close() {
      reaper?.cancel()
      deletions.close()
      await reconciler.close()
      await creations.idle().catch(error => log.error('create not finished', { cause: errorText(error) }))
    },
  }
}
