import type { Clock } from '../base/clock.ts'
import type { SshConfig } from '../config/config.ts'
import type { ComputeDriver, CredentialsDriver } from '../drivers/contract.ts'
import type { Live } from '../live/live.ts'
import type { Logger } from '../observe/log.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { RelayWireHandler } from '../rpc/relay-call.ts'
import type { Store } from '../store/store.ts'
import { createCommit } from './commit.ts'
import { createRecreate } from './create-sandbox.ts'
import { createExecService } from './exec.ts'
import { createHealthService } from './health.ts'
import { createLogsService } from './logs.ts'
import { createPolicyService } from './policy.ts'
import { createProvidersService } from './providers.ts'
import { createSandboxesService } from './sandboxes.ts'
import { createSshSessionService, type SshSessionServiceDeps } from './ssh-sessions.ts'
import { createRelayService, createSupervisorService } from './supervisor.ts'
import { createWatchService } from './watch.ts'

export interface ServicesDeps {
  readonly version: string
  readonly store: Store
  readonly live: Live
  readonly compute: ComputeDriver
  readonly credentials: CredentialsDriver | null
  readonly ssh: SshConfig
  readonly listener: SshSessionServiceDeps['listener']
  readonly deriveSandboxSecret?: (sandboxId: string) => string
  readonly clock: Clock
  readonly log: Logger
}

/** Every RPC the gateway implements. */
export interface Services {
  readonly handlers: Handlers
  readonly relay: RelayWireHandler
  /** Tells the driver again to make a stored sandbox (S-11). */
  readonly recreate: (id: string) => Promise<void>
}

export function createServices(deps: ServicesDeps): Services {
  const { store, live, clock, log } = deps
  const commit = createCommit(store)
  const auditLine = (sandboxId: string, message: string) =>
    live.logs.onLine({ sandboxId, timestampMs: clock.nowMs(), level: 'OCSF', target: 'ocsf', message })
  const sandboxes = {
    ...{ store, driver: deps.compute, clock, log, ...live },
    ...(deps.deriveSandboxSecret && { deriveSandboxSecret: deps.deriveSandboxSecret }),
  }
  return {
    recreate: createRecreate(sandboxes),
    relay: createRelayService({ relays: live.relays, clock }),
    handlers: {
      ...createHealthService({ version: deps.version }),
      ...createSandboxesService(sandboxes),
      ...createWatchService({ store, clock, ...live }),
      ...createLogsService({ store, logs: live.logs }),
      ...createProvidersService({ store, clock, log, credentials: deps.credentials }),
      ...createSupervisorService({ supervisors: live.supervisors, relays: live.relays, store, clock }),
      ...createSshSessionService({ store, tunnels: live.tunnels, clock, ssh: deps.ssh, listener: deps.listener }),
      ...createExecService({ relays: live.relays, store, clock }),
      ...createPolicyService({ store, sandboxes: live.state, commit, clock, log, notify: live.bus.notify, auditLine }),
    },
  }
}
