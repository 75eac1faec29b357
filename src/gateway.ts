import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Authenticator, createAuthenticator } from './auth/authenticate.ts'
import { systemClock as clock } from './base/clock.ts'
import { errorText } from './base/errors.ts'
import type { Config } from './config/config.ts'
import { driverCommand } from './drivers/command.ts'
import { createComputeDriver } from './drivers/compute.ts'
import type { ComputeDriver, CredentialsDriver } from './drivers/contract.ts'
import { createCredentialsDriver } from './drivers/credentials.ts'
import { type DriverProcess, findDriver, startDriverProcess } from './drivers/process.ts'
import { LIMITS } from './limits.ts'
import { createLive } from './live/live.ts'
import { createAuthPages } from './net/auth-pages.ts'
import { capByDescriptors } from './net/connection-table.ts'
import { createHttpFront } from './net/http.ts'
import type { HttpAnswer } from './net/http-answer.ts'
import { createListener, printAddress } from './net/listener.ts'
import { createSidePort, healthRoutes, metricsRoutes } from './net/probes.ts'
import { createRoutes, type Routes } from './net/routes.ts'
import { routesWith } from './net/routes-table.ts'
import { createSshConnect } from './net/ssh-connect.ts'
import { createTls } from './net/tls.ts'
import { createWsTunnel } from './net/ws-tunnel.ts'
import { createAudit } from './observe/audit.ts'
import { createLogger, type RootLogger, type SandboxLine } from './observe/log.ts'
import { createFdSink } from './observe/log-sink.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import { createReadinessProber, NotReady, type Probe } from './observe/readiness.ts'
import { createPipeline, drainingStatus } from './rpc/pipeline.ts'
import { createRpcServer, type PlainRequest } from './rpc/server.ts'
import { createServices } from './services/services.ts'
import { openStore } from './store/open.ts'
import type { Store } from './store/store.ts'
import { methodsOf } from './wire/codec.ts'

const STDOUT = 1

/** What `serve` holds of a running gateway. */
export interface Gateway {
  /** Not ready → no new work → streams end → unary calls finish → everything closed. Never rejects. */
  drain(reason: string): Promise<void>
  stop(): void
  reload(): void
  readonly finished: Promise<void>
  /** Where the main port listens. */
  readonly address: string
}

export interface GatewayOptions {
  readonly version: string
  readonly warnings: readonly string[]
  readonly environment?: Readonly<Record<string, string | undefined>>
}

/** Closes what was opened, last first; each step is bounded by its owner and none stops the next. */
class Owned {
  readonly #steps: { what: string; close: () => unknown }[] = []

  add<T>(what: string, thing: T, close: (thing: T) => unknown): T {
    this.#steps.push({ what, close: () => close(thing) })
    return thing
  }

  async closeAll(log: RootLogger): Promise<void> {
    for (const { what, close } of this.#steps.reverse()) {
      try {
        await close()
      } catch (error) {
        log.error('not closed cleanly', { part: what, cause: errorText(error) })
      }
    }
    this.#steps.length = 0
  }
}

/** The whole gateway, wired in the order of its start (spec/gateway.md §4 [B]). Rejects with a `StartError` when the world is wrong. */
export async function startGateway(config: Config, options: GatewayOptions): Promise<Gateway> {
  const owned = new Owned()
  const sink = createFdSink(STDOUT)
  let onSandboxLine = (_line: SandboxLine): void => {}
  const log = createLogger({
    sink,
    format: config.logFormat,
    level: config.logLevel,
    clock,
    onSandboxLine: line => onSandboxLine(line),
  })
  try {
    return await assemble(
      config,
      options,
      owned,
      log,
      hook => {
        onSandboxLine = hook
      },
      () => sink.flush(LIMITS.logFlushMs),
    )
  } catch (error) {
    await owned.closeAll(log)
    await sink.flush(LIMITS.logFlushMs)
    throw error
  }
}

async function assemble(
  config: Config,
  options: GatewayOptions,
  owned: Owned,
  log: RootLogger,
  onSandboxLines: (hook: (line: SandboxLine) => void) => void,
  flush: () => Promise<void>,
): Promise<Gateway> {
  announce(config, options, log)
  const tls = config.tls && owned.add('tls', createTls(config.tls, log), it => it.close())
  const metrics = owned.add(
    'metrics',
    await createMetrics({ isEnabled: config.metricsPort !== 0, rpcNames: methods.map(method => method.name) }),
    it => it.close(),
  )

  const probes = createProbes(config)
  const prober = owned.add('readiness', createReadinessProber(probes.table), it => it.stop())
  await openSidePorts(config, options.version, prober.readiness, metrics, owned, log)

  const store = owned.add('store', await openStore(config.dbUrl, { clock, log }), it => it.close())
  probes.set('database', () => store.ping())
  const auth = owned.add('auth', openAuth(config, store, metrics, log), it => it.close())
  if (config.oidc) probes.set('oidc', async () => requireUsable(auth))
  const compute = openCompute(config, options, metrics, owned, log)
  probes.set('compute_driver', driverProbe(compute))
  const credentials =
    config.credentialsDriverSocket === null ? null : openCredentials(config, config.credentialsDriverSocket, owned, log)
  if (credentials) probes.set('credentials_driver', driverProbe(credentials))

  let recreate = (_id: string): Promise<void> => Promise.resolve()
  const live = owned.add('live', createLive({ store, driver: compute, clock, log, recreate: id => recreate(id) }), it =>
    it.close(),
  )
  onSandboxLines(live.logs.onLine)
  const services = createServices({
    ...{ version: options.version, store, live, compute, credentials, ssh: config.ssh, clock, log },
    listener: () => ({ address: config.bindAddress, port: listener.address()?.port ?? config.port, tls: tls !== null }),
    ...(config.sandboxSecret.issue && { deriveSandboxSecret: (id: string) => auth.secrets.issue(id).reveal() }),
  })
  recreate = services.recreate
  live.state.onRemoved(auth.secrets.forget)

  let draining = false
  const pipeline = createPipeline({
    authenticator: auth,
    clock,
    log,
    audit: createAudit(log),
    observe: metrics.observeGrpc,
    refusal: () => (draining ? drainingStatus() : null),
  })
  const observed = observeHttp(metrics, log)
  const routes = createRoutes(
    routesWith(config.ssh.connectPath),
    createAuthPages({
      oidc: config.oidc,
      edgeLogin: !config.disableEdgeLogin,
      trustedProxies: config.trustedProxies,
      bindAddress: () => printAddress(config.bindAddress, listener.address()?.port ?? config.port),
      version: options.version,
    }),
  )
  const rpc = owned.add(
    'rpc',
    createRpcServer({
      ...{
        methods,
        handlers: services.handlers,
        relay: services.relay,
        pipeline,
        maxStreams: LIMITS.concurrentStreams,
      },
      answerPlain: request => answerObserved(request, routes, observed),
      onBug(error, call) {
        metrics.countBug()
        log.error('bug', {
          call_id: call.id,
          method: call.row.name,
          error: errorText(error),
          stack: error instanceof Error ? error.stack : undefined,
        })
      },
    }),
    it => it.destroy(),
  )
  const onConnect = createSshConnect({ store, relays: live.relays, tunnels: live.tunnels, clock, log })
  const wsTunnel = createWsTunnel({ adopt: (socket, peer) => listener.adopt(socket, peer), clock, log })
  const http = createHttpFront({ routes, hooks: { onConnect, onWebSocket: wsTunnel.accept }, clock, observe: observed })
  const listener = owned.add(
    'listener',
    createListener(
      {
        ...{ host: config.bindAddress, port: config.port, what: 'to', tls, log },
        maxConnections: capByDescriptors(config.maxConnections),
        maxConnectionsPerAddress: config.maxConnectionsPerAddress,
      },
      {
        http,
        onHttp2: (socket, peer) => rpc.accept(socket, peer, () => socket.meter.authenticated()),
        onRefused: metrics.countRefusedConnection,
      },
    ),
    it => it.destroy(),
  )
  metrics.watch({
    sessions: () => live.supervisors.size,
    pendingRelays: () => live.relays.pending,
    tunnels: () => ({ ssh: live.tunnels.open, ws: wsTunnel.open }),
    connections: () => listener.connections(),
    keyAgeSeconds: () => secondsOf(auth.readiness().keysAgeMs),
    certificateEndMs: () => tls?.notAfterMs() ?? null,
  })

  const bound = await listener.listen()
  const address = printAddress(config.bindAddress, bound.port)
  log.info('Server listening', { address })
  tls?.startWatching()
  const finished = Promise.withResolvers<void>()
  const parts = [auth.start(), compute.start(), ...(credentials ? [credentials.start()] : [])]
  for (const part of parts) part.then(() => prober.probeNow(), finished.reject)
  live.start()
  prober.start()

  const release = async () => {
    await owned.closeAll(log)
    await flush()
    finished.resolve()
  }
  return {
    address,
    finished: finished.promise,
    reload() {
      log.info('reloading')
      tls?.reload()
      void auth.reload().catch(error => log.warn('keys not renewed', { cause: errorText(error) }))
    },
    async drain(reason) {
      log.info('Shutdown signal received; stopping gateway', { signal: reason })
      draining = true
      prober.drain()
      listener.stopAccepting()
      live.drain()
      listener.drain()
      const grace = Promise.withResolvers<void>()
      const timer = clock.after(config.shutdownGraceSecs * 1000, grace.resolve)
      await Promise.race([rpc.drain(), grace.promise])
      timer.cancel()
      await release()
    },
    stop: () => void release(),
  }
}

const methods = [...methodsOf('openshell.v1.OpenShell'), ...methodsOf('openshell.inference.v1.Inference')]

const secondsOf = (ms: number | null): number | null => (ms === null ? null : ms / 1000)

/** The first lines of a start, as operators match them; an open API is said loudly. */
function announce(config: Config, options: GatewayOptions, log: RootLogger): void {
  if (config.tls === null) log.info('TLS disabled — listening on plaintext HTTP')
  else if (config.tls.clientCertificateOptional)
    log.info('Gateway auth disabled — accepting connections without client certificates')
  log.info('Starting OpenShell server', {
    bind: printAddress(config.bindAddress, config.port),
    version: options.version,
  })
  for (const warning of options.warnings) log.warn('configuration', { warning })
}

async function openSidePorts(
  config: Config,
  version: string,
  readiness: Parameters<typeof healthRoutes>[1],
  metrics: Metrics,
  owned: Owned,
  log: RootLogger,
): Promise<void> {
  const open = async (
    what: 'health port' | 'metrics port',
    host: string,
    port: number,
    routes: ReturnType<typeof healthRoutes>,
  ) => {
    const name = what === 'health port' ? 'Health' : 'Metrics'
    if (port === 0) return log.info(`${name} server disabled`)
    const side = owned.add(what, createSidePort({ host, port, what, routes, log }), it => it.close())
    const bound = await side.listen()
    log.info(`${name} server listening`, { address: printAddress(host, bound.port) })
  }
  await open('health port', config.healthBindAddress, config.healthPort, healthRoutes(version, readiness))
  await open('metrics port', config.metricsBindAddress, config.metricsPort, metricsRoutes(metrics.render))
}

/** The parts that readiness asks, known by name from the start; one that does not exist yet is starting. */
function createProbes(config: Config): { table: Record<string, Probe>; set(name: string, probe: Probe): void } {
  const starting: Probe = () => Promise.reject(new NotReady('starting'))
  const names = [
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

function openAuth(config: Config, store: Store, metrics: Metrics, log: RootLogger): Authenticator {
  const certFile = process.env['SSL_CERT_FILE']
  return createAuthenticator(
    { oidc: config.oidc, sandboxSecret: config.sandboxSecret, clientCaConfigured: config.tls !== null },
    {
      ...{ clock, log, caFiles: certFile ? [certFile] : [] },
      async sandboxIds() {
        const ids: string[] = []
        for await (const row of store.scan('sandbox')) ids.push(row.id)
        return ids
      },
      onRefusal: metrics.countAuthFailure,
      onKeyFetch: outcome => outcome === 'failed' && metrics.countKeyRefreshFailure(),
      onAbuse: peer => destroyConnection(peer.connection),
    },
  )
}

/** Ends the connection of a peer that guesses secrets. */
function destroyConnection(connection: object): void {
  if ('destroy' in connection && typeof connection.destroy === 'function') connection.destroy()
}

async function requireUsable(auth: Authenticator): Promise<void> {
  if (auth.readiness().status === 'unavailable') throw new NotReady('no signing keys')
}

/** The driver behind `--compute-driver-socket`, or one that the gateway starts itself (decisions 5, 6). */
function openCompute(
  config: Config,
  options: GatewayOptions,
  metrics: Metrics,
  owned: Owned,
  log: RootLogger,
): ComputeDriver {
  const { driver, socket } = config.compute
  const spawned = socket === null ? spawnDriver(config, options, owned, log) : null
  log.info('Using compute driver', { driver })
  const compute = createComputeDriver({
    ...{ socketPath: socket ?? spawned!.socketPath, driver, connectTimeoutSecs: config.driverConnectTimeoutSecs, log },
    ...(spawned && { explain: () => spawned.explain() }),
  })
  metrics.setDriverUp('compute', false)
  return owned.add('compute driver', compute, it => it.close())
}

function spawnDriver(config: Config, options: GatewayOptions, owned: Owned, log: RootLogger): DriverProcess {
  const { driver: name, driverDir, settings } = config.compute
  const environment = options.environment ?? process.env
  const executable = findDriver(name, { driverDir, home: environment['HOME'] ?? null, executable: process.execPath })
  const directory = owned.add('driver directory', mkdtempSync(join(tmpdir(), 'openshell-driver-')), path =>
    rmSync(path, { recursive: true, force: true }),
  )
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

function openCredentials(config: Config, socketPath: string, owned: Owned, log: RootLogger): CredentialsDriver {
  const driver = createCredentialsDriver({ socketPath, connectTimeoutSecs: config.driverConnectTimeoutSecs, log })
  return owned.add('credentials driver', driver, it => it.close())
}

/** Readiness says which driver is missing and nothing of what it answered. */
const driverProbe =
  (driver: Pick<ComputeDriver, 'state'>): Probe =>
  async () => {
    if (driver.state.status !== 'ready') throw new NotReady('not connected')
  }

type ObserveHttp = (target: string, status: number, seconds: number) => void

/** One metric and one line for each answered request of the main port. */
const observeHttp =
  (metrics: Metrics, log: RootLogger): ObserveHttp =>
  (target, status, seconds) => {
    metrics.observeHttp(target, status, seconds)
    const path = target.split('?', 1)[0]!
    log.log(QUIET_PATHS.has(path) ? 'debug' : 'info', 'response', {
      path,
      status,
      latency_ms: Math.round(seconds * 1000),
    })
  }

const QUIET_PATHS = new Set(['/health', '/healthz', '/readyz'])

function answerObserved(request: PlainRequest, routes: Routes, observe: ObserveHttp): HttpAnswer {
  const begunMs = clock.monotonicMs()
  const answer = routes.answerRoute({ ...request, version: '2.0', peerAddress: request.peer.address })
  observe(request.path, answer.status, (clock.monotonicMs() - begunMs) / 1000)
  return answer
}
