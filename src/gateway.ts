import { routesWith } from './auth/routes.ts'
import { systemClock as clock, sleep } from './base/clock.ts'
import { errorText } from './base/errors.ts'
import type { Config } from './config/config.ts'
import { readProxySettings } from './domain/proxy-settings.ts'
import { Owned } from './gateway/owned.ts'
import {
  createProbes,
  driverProbe,
  type Environment,
  openAuth,
  openCompute,
  openCredentials,
  repeatCautions,
  requireUsable,
  requireWritable,
} from './gateway/peers.ts'
import { blaming, refuseHopeless } from './gateway/preflight.ts'
import { hideMemory } from './gateway/private-memory.ts'
import { processMemory, watchQuietMemory } from './gateway/quiet-memory.ts'
import { announce, answerObserved, applyLogLevel, observeHttp, openSidePorts } from './gateway/reporting.ts'
import { LIMITS } from './limits.ts'
import { createLive } from './live/live.ts'
import { createAuthPages } from './net/auth-pages.ts'
import { capByDescriptors } from './net/connection-table.ts'
import { createGrpcBridge } from './net/grpc-http1.ts'
import { createHttpFront } from './net/http.ts'
import { createListener, printAddress } from './net/listener.ts'
import { createRoutes } from './net/routes.ts'
import { createSshConnect } from './net/ssh-connect.ts'
import { createTls } from './net/tls.ts'
import { createWsTunnel } from './net/ws-tunnel.ts'
import { createAudit } from './observe/audit.ts'
import { createLogger, type LogSink, type RootLogger, type SandboxLine } from './observe/log.ts'
import { createFdSink } from './observe/log-sink.ts'
import { createMetrics } from './observe/metrics.ts'
import { createReadinessProber } from './observe/readiness.ts'
import { createFairShare } from './rpc/fair-share.ts'
import { createPipeline, drainingStatus } from './rpc/pipeline.ts'
import { createRpcServer } from './rpc/server.ts'
import { createServices } from './services/services.ts'
import { openStore } from './store/open.ts'
import { readStoreKeys } from './store/store-keys.ts'
import { methodsOf } from './wire/codec.ts'

const STDOUT = 1

/** What `serve` holds of a running gateway. */
export interface Gateway {
  /** Not ready → no new work → streams end → unary calls finish → everything closed. Never rejects. */
  drain(reason: string): Promise<void>
  /** Everything closed at once. */
  stop(): Promise<void>
  reload(): void
  readonly finished: Promise<void>
  /** Where the main port listens. */
  readonly address: string
}

export interface GatewayOptions {
  readonly version: string
  readonly warnings: readonly string[]
  /** What the process was started with; read for SSL_CERT_FILE and what spawned drivers inherit. */
  readonly environment?: Environment
  /** Aborts when the start is given up. */
  readonly signal?: AbortSignal
}

/** The whole gateway, wired in the order of its start (spec/gateway.md §4 [B]). Rejects with a `StartError` when the world is wrong. */
export async function startGateway(config: Config, options: GatewayOptions): Promise<Gateway> {
  hideMemory()
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
    return await assemble(config, options, owned, log, sink, hook => {
      onSandboxLine = hook
    })
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
  sink: LogSink,
  onSandboxLines: (hook: (line: SandboxLine) => void) => void,
): Promise<Gateway> {
  announce(config, options, log)
  applyLogLevel(config, log)
  const environment = options.environment ?? process.env
  await refuseHopeless(config, environment)
  const { storeKeyFile } = config
  const sealer = storeKeyFile === null ? null : await blaming('--store-key-file', () => readStoreKeys(storeKeyFile))
  const tlsConfig = config.tls
  const tls =
    tlsConfig &&
    owned.add('tls', await blaming('--tls-cert, --tls-key and --tls-client-ca', () => createTls(tlsConfig, log)), it =>
      it.close(),
    )
  const metrics = owned.add(
    'metrics',
    await createMetrics({ isEnabled: config.metricsPort !== 0, rpcNames: methods.map(method => method.name) }),
    it => it.close(),
  )

  const probes = createProbes(config)
  probes.set('log', () => requireWritable(sink))
  const prober = owned.add('readiness', createReadinessProber(probes.table), it => it.stop())
  await openSidePorts(config, options.version, prober.readiness, metrics, owned, log)
  // From here on, so that a start that waits for its database says what it waits for.
  prober.start()

  const store = owned.add(
    'store',
    await blaming('--db-url', () =>
      openStore(config.dbUrl, { clock, log, ...(options.signal && { signal: options.signal }) }),
    ),
    it => it.close(),
  )
  probes.set('database', () => store.ping())
  const auth = owned.add('auth', openAuth(config, environment, store, metrics, log), it => it.close())
  owned.add('cautions', repeatCautions(config, log), it => it.cancel())
  if (config.oidc) probes.set('oidc', async () => requireUsable(auth))
  const compute = openCompute(config, environment, owned, log)
  probes.set('compute_driver', driverProbe('compute', compute, metrics))
  const credentials =
    config.credentialsDriverSocket === null ? null : openCredentials(config, config.credentialsDriverSocket, owned, log)
  if (credentials) probes.set('credentials_driver', driverProbe('credentials', credentials, metrics))

  let recreate = (_id: string): Promise<void> => Promise.resolve()
  const live = owned.add('live', createLive({ store, driver: compute, clock, log, recreate: id => recreate(id) }), it =>
    it.close(),
  )
  onSandboxLines(live.logs.onLine)
  const services = createServices({
    ...{ version: options.version, store, live, compute, credentials, ssh: config.ssh, clock, log },
    sshGraceSecs: config.oidc?.streams.workGraceSecs ?? null,
    listener: () => ({ address: config.bindAddress, port: listener.address()?.port ?? config.port, tls: tls !== null }),
    ...(sealer && { sealer }),
    inference: {
      allowPrivate: config.inferenceAllowPrivateEndpoints,
      proxy: readProxySettings(environment),
      revisionKey: `inference bundle revision ${config.sandboxSecret.master.reveal()}`,
    },
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
    ...(config.auditRequired && { auditFault: () => sink.fault }),
    observe: metrics.observeGrpc,
    ...(config.oidc && { streams: config.oidc.streams }),
    share: createFairShare(config.userCallsPerSecond, clock),
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
        control: services.control,
        pipeline,
        maxStreams: LIMITS.concurrentStreams,
        silentStreamsPerAddress: config.maxConnectionsPerAddress === 0 ? 0 : LIMITS.silentStreamsPerAddress,
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
  const onGrpc = createGrpcBridge((socket, peer) => listener.adopt(socket, peer))
  const http = createHttpFront({
    routes,
    hooks: { onConnect, onWebSocket: wsTunnel.accept, onGrpc },
    clock,
    observe: observed,
  })
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
    droppedLogLines: () => sink.dropped,
    keyAgeSeconds: () => secondsOf(auth.readiness().keysAgeMs),
    certificateEndMs: () => tls?.notAfterMs() ?? null,
  })

  const finished = Promise.withResolvers<void>()
  const release = async () => {
    await owned.closeAll(log)
    await sink.flush(LIMITS.logFlushMs)
  }
  if (config.oidc) log.info('Discovering OIDC configuration')
  const ready = (part: Promise<void>, message: string | null, fields?: Record<string, unknown>) =>
    part.then(() => {
      if (message) log.info(message, fields)
      void prober.probeNow()
    })
  const peers = Promise.all([
    ready(auth.start(), config.oidc && `OIDC JWT validation enabled (issuer: ${config.oidc.issuer})`),
    ready(compute.start(), null),
    credentials &&
      ready(credentials.start(), 'Connected to credentials driver', { socket: config.credentialsDriverSocket }),
  ])
  // A peer that turns out to be wrong later ends the gateway, which leaves nothing behind: no driver, no directory.
  peers.catch(error => release().finally(() => finished.reject(error)))
  // Also when nobody holds it: a start that fails says why by itself.
  finished.promise.catch(() => {})
  // Sidecars that start at the same moment are waited for briefly, so that first calls find them; a peer that is
  // wrong ends the start here, before anybody was served.
  await Promise.race([peers, sleep(clock, LIMITS.peersAtStartMs)])
  const bound = await listener.listen()
  const address = printAddress(config.bindAddress, bound.port)
  log.info('Server listening', { address })
  if (tls === null) log.info('TLS disabled — accepting plaintext connections')
  tls?.startWatching()
  live.start()
  owned.add('memory', watchQuietMemory(clock, processMemory), it => it.cancel())
  void prober.probeNow()

  return {
    address,
    finished: finished.promise,
    reload() {
      log.info('reloading')
      applyLogLevel(config, log)
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
      finished.resolve()
    },
    async stop() {
      await release()
      finished.resolve()
    },
  }
}

const methods = [...methodsOf('openshell.v1.OpenShell'), ...methodsOf('openshell.inference.v1.Inference')]

const secondsOf = (ms: number | null): number | null => (ms === null ? null : ms / 1000)
