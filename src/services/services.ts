import type { Clock } from '../base/clock.ts'
import type { SshConfig } from '../config/config.ts'
import type { ProxySettings } from '../domain/proxy-settings.ts'
import type { ComputeDriver, CredentialsDriver } from '../drivers/contract.ts'
import { createCredentials } from '../live/credentials.ts'
import { createProbe } from '../live/inference-probe.ts'
import type { Live } from '../live/live.ts'
import type { Logger } from '../observe/log.ts'
import type { ControlHandler } from '../rpc/control-call.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { RelayWireHandler } from '../rpc/relay-call.ts'
import { CLEAR_TEXT, type CredentialSealer } from '../store/sealing.ts'
import type { Store } from '../store/store.ts'
import { createCommit } from './commit.ts'
import { createRecreate } from './create-sandbox.ts'
import { createDraftService } from './drafts.ts'
import { createExecService } from './exec.ts'
import { createHealthService } from './health.ts'
import { createInferenceService } from './inference.ts'
import { createLogsService } from './logs.ts'
import { createPolicyService } from './policy.ts'
import { createProviderCodec } from './provider-codec.ts'
import { createProviderEnvironmentService } from './provider-environment.ts'
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
  /** Seconds by which an SSH session outlives the token it was asked for with; null = it has a life of its own. */
  readonly sshGraceSecs: number | null
  readonly listener: SshSessionServiceDeps['listener']
  readonly deriveSandboxSecret?: (sandboxId: string) => string
  /** How credential values are kept at rest; as they are unless told otherwise. */
  readonly sealer?: CredentialSealer
  readonly inference: InferenceOptions
  readonly clock: Clock
  readonly log: Logger
}

export interface InferenceOptions {
  /** Endpoints at private addresses and `mock:` ones may be used (decision 29). */
  readonly allowPrivate: boolean
  readonly proxy: ProxySettings
  /** Stable for the installation and secret; the revision of the bundle is keyed with it. */
  readonly revisionKey: string
}

/** Every RPC the gateway implements. */
export interface Services {
  readonly handlers: Handlers
  readonly relay: RelayWireHandler
  readonly control: ControlHandler
  /** Tells the driver again to make a stored sandbox (S-11). */
  readonly recreate: (id: string) => Promise<void>
}

export function createServices(deps: ServicesDeps): Services {
  const { store, live, clock, log } = deps
  const commit = createCommit(store)
  const records = createProviderCodec(deps.sealer ?? CLEAR_TEXT)
  const credentials = createCredentials({ driver: deps.credentials, clock, log })
  const { allowPrivate, proxy, revisionKey } = deps.inference
  const inference = { probe: createProbe({ allowPrivate, proxy }), allowMock: allowPrivate, revisionKey }
  const auditLine = (sandboxId: string, message: string) =>
    live.logs.onLine({ sandboxId, timestampMs: clock.nowMs(), level: 'OCSF', target: 'ocsf', message })
  const sandboxes = {
    ...{ store, driver: deps.compute, clock, log, ...live },
    ...(deps.deriveSandboxSecret && { deriveSandboxSecret: deps.deriveSandboxSecret }),
  }
  return {
    recreate: createRecreate(sandboxes),
    relay: createRelayService({ relays: live.relays, clock }),
    control: createSupervisorService({ supervisors: live.supervisors, relays: live.relays, store, clock }),
    handlers: {
      ...createHealthService({ version: deps.version }),
      ...createSandboxesService(sandboxes),
      ...createWatchService({ store, clock, ...live }),
      ...createLogsService({ store, logs: live.logs }),
      ...createProvidersService({ store, clock, log, credentials: deps.credentials, records }),
      ...createSshSessionService({
        store,
        tunnels: live.tunnels,
        clock,
        ssh: deps.ssh,
        graceSecs: deps.sshGraceSecs,
        listener: deps.listener,
      }),
      ...createExecService({ relays: live.relays, store, clock }),
      ...createPolicyService({ store, sandboxes: live.state, commit, clock, log, notify: live.bus.notify, auditLine }),
      ...createDraftService({ store, commit, clock, log, notify: live.bus.notify, auditLine }),
      ...createProviderEnvironmentService({ store, providers: records, credentials, log }),
      ...createInferenceService({ store, commit, providers: records, credentials, clock, log, ...inference }),
    },
  }
}
