import { tmpdir } from 'node:os'
import { type Authenticator, createAuthenticator } from '../auth/authenticate.ts'
import { cautionsOf } from '../auth/cautions.ts'
import { systemClock as clock } from '../base/clock.ts'
import type { Config } from '../config/config.ts'
import { driverCommand } from '../drivers/command.ts'
import { createComputeDriver } from '../drivers/compute.ts'
import type { ComputeDriver, CredentialsDriver } from '../drivers/contract.ts'
import { createCredentialsDriver } from '../drivers/credentials.ts'
import { type DriverProcess, findDriver, startDriverProcess } from '../drivers/process.ts'
import { makeSocketDirectory } from '../drivers/socket-directory.ts'
import { LIMITS } from '../limits.ts'
import type { LogSink, RootLogger } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { NotReady, type Probe } from '../observe/readiness.ts'
import type { Store } from '../store/store.ts'
import type { Owned } from './owned.ts'

/** The environment that a spawned driver inherits parts of. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The parts that readiness asks, known by name from the start; one that does not exist yet is starting. */
export function createProbes(config: Config): { table: Record<string, Probe>; set(name: string, probe: Probe): void } {
  const starting: Probe = () => Promise.reject(new NotReady('starting'))
  const names = [
    'log',
    'database',
    'compute_driver',
    ...(config.oidc ? ['oidc'] : []),
    ...(config.credentialsDriverSocket ? ['credentials_driver'] : []),
  ]
  const current = new Map<string, Probe>()
  return {
    table: Object.fromEntries(
      names.map(name => [name, (signal: AbortSignal) => (current.get(name) ?? starting)(signal)]),
    ),
    set: (name, probe) => void current.set(name, probe),
  }
}

/** Who may call, with the issuer's keys fetched in the background (decision 15). */
export function openAuth(
  config: Config,
  environment: Environment,
  store: Store,
  metrics: Metrics,
  log: RootLogger,
): Authenticator {
  const certFile = environment['SSL_CERT_FILE']
  return createAuthenticator(authFacts(config), {
    ...{ clock, log, caFiles: certFile ? [certFile] : [] },
    async sandboxIds() {
      const ids: string[] = []
      for await (const row of store.scan('sandbox')) ids.push(row.id)
      return ids
    },
    onRefusal: metrics.countAuthFailure,
    onKeyFetch: outcome => outcome === 'failed' && metrics.countKeyRefreshFailure(),
    onAbuse: peer => destroyConnection(peer.connection),
  })
}

/** Says every hour what the start said about generous settings, so that no log rotation hides it (spec/auth.md A-7). */
export function repeatCautions(config: Config, log: RootLogger): { cancel(): void } {
  const cautions = cautionsOf(authFacts(config))
  let timer = clock.after(LIMITS.cautionRepeatMs, again)
  function again() {
    for (const caution of cautions) log.warn(caution)
    timer = clock.after(LIMITS.cautionRepeatMs, again)
  }
  return { cancel: () => timer.cancel() }
}

const authFacts = (config: Config) => ({
  oidc: config.oidc,
  sandboxSecret: config.sandboxSecret,
  clientCaConfigured: config.tls !== null,
})

/** Ends the connection of a peer that guesses secrets. */
function destroyConnection(connection: object): void {
  if ('destroy' in connection && typeof connection.destroy === 'function') connection.destroy()
}

/** Readiness of the log: its lines are kept (O-03). */
export async function requireWritable(sink: LogSink): Promise<void> {
  if (sink.fault !== null) throw new NotReady(sink.fault)
}

/** Readiness of the issuer: some keys are usable. */
export async function requireUsable(auth: Authenticator): Promise<void> {
  if (auth.readiness().status === 'unavailable') throw new NotReady('no signing keys')
}

/** The driver behind `--compute-driver-socket`, or one that the gateway starts itself (decisions 5, 6). */
export function openCompute(config: Config, environment: Environment, owned: Owned, log: RootLogger): ComputeDriver {
  const { driver, socket } = config.compute
  const spawned = socket === null ? spawnDriver(config, environment, owned, log) : null
  log.info('Using compute driver', { driver })
  const compute = createComputeDriver({
    ...{ socketPath: socket ?? spawned!.socketPath, driver, connectTimeoutSecs: config.driverConnectTimeoutSecs, log },
    ...(spawned ? { explain: () => spawned.explain() } : { uids: config.driverUids }),
  })
  return owned.add('compute driver', compute, it => it.close())
}

/** The driver that the gateway would start; throws a `StartError` that says where it looked (decision 6). */
export function driverExecutable({ compute }: Config, environment: Environment): string {
  const { driver, driverDir } = compute
  return findDriver(driver, { driverDir, home: environment['HOME'] ?? null, executable: process.execPath })
}

function spawnDriver(config: Config, environment: Environment, owned: Owned, log: RootLogger): DriverProcess {
  const { driver: name, settings } = config.compute
  const executable = driverExecutable(config, environment)
  const directory = owned.add('driver directory', makeSocketDirectory(tmpdir()), it => it.close()).path
  const command = driverCommand({
    name,
    settings,
    logLevel: config.logLevel,
    handshakeSecret: config.sandboxSecret.master,
    environment,
  })
  return owned.add('driver process', startDriverProcess({ name, executable, directory, log, ...command }), it =>
    it.close(),
  )
}

/** The driver behind `--credentials-driver-socket`. */
export function openCredentials(config: Config, socketPath: string, owned: Owned, log: RootLogger): CredentialsDriver {
  const { driverConnectTimeoutSecs: connectTimeoutSecs, driverUids: uids } = config
  const driver = createCredentialsDriver({ socketPath, uids, connectTimeoutSecs, log })
  return owned.add('credentials driver', driver, it => it.close())
}

/** Readiness says which driver is missing and nothing of what it answered. */
export function driverProbe(
  name: 'compute' | 'credentials',
  driver: Pick<ComputeDriver, 'state'>,
  metrics: Metrics,
): Probe {
  return async () => {
    const isUp = driver.state.status === 'ready'
    metrics.setDriverUp(name, isUp)
    if (!isUp) throw new NotReady('not connected')
  }
}
