import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import type { Credentials } from '../../src/auth/credentials.ts'
import { ANONYMOUS, type Principal } from '../../src/auth/principal.ts'
import { routesWith } from '../../src/auth/routes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { readEndpoint } from '../../src/client/channel.ts'
import { runSupervisor } from '../../src/dev/supervisor.ts'
import { createRelays, type Relays } from '../../src/live/relays.ts'
import { createSupervisors, type Supervisors } from '../../src/live/supervisors.ts'
import { createTunnels, type Tunnels } from '../../src/live/tunnels.ts'
import { createHttpFront } from '../../src/net/http.ts'
import { createListener } from '../../src/net/listener.ts'
import { createRoutes } from '../../src/net/routes.ts'
import { createSshConnect } from '../../src/net/ssh-connect.ts'
import { createWsTunnel } from '../../src/net/ws-tunnel.ts'
import { createPipeline } from '../../src/rpc/pipeline.ts'
import { createRpcServer } from '../../src/rpc/server.ts'
import { createExecService } from '../../src/services/exec.ts'
import { createSshSessionService } from '../../src/services/ssh-sessions.ts'
import { createRelayService, createSupervisorService } from '../../src/services/supervisor.ts'
import { openStore } from '../../src/store/open.ts'
import type { Store } from '../../src/store/store.ts'
import { codec, methodsOf } from '../../src/wire/codec.ts'
import type { Rpcs } from '../../src/wire/messages.generated.ts'
import { createCapturedLog } from './captured-log.ts'

type Name = keyof Rpcs
const METHODS = new Map(methodsOf('openshell.v1.OpenShell').map(method => [method.name, method]))

/** The data plane in this process on a real port: everything between a client and a sandbox, without auth and drivers. */
export interface DataPlane {
  readonly port: number
  readonly url: string
  readonly store: Store
  readonly supervisors: Supervisors
  readonly relays: Relays
  readonly tunnels: Tunnels
  readonly log: ReturnType<typeof createCapturedLog>
  /** Errors that no handler should throw. */
  readonly bugs: unknown[]
  /** Stores a sandbox in phase READY. */
  addSandbox(id: string): Promise<void>
  call<N extends Name>(
    rpc: N,
    request: unknown,
  ): Promise<{ code: number; details: string; messages: Rpcs[N]['response'][] }>
  /** An embedded supervisor for a sandbox; `stop` ends it. */
  supervise(sandboxId: string, secret?: string): Promise<{ readonly dir: string; stop(): Promise<void> }>
  stop(): Promise<void>
}

export interface DataPlaneOptions {
  /** Proves who calls; absent = nobody proves anything. */
  readonly authenticate?: (credentials: Credentials) => Principal
}

export async function startDataPlane(options: DataPlaneOptions = {}): Promise<DataPlane> {
  const log = createCapturedLog()
  const clock = systemClock
  const bugs: unknown[] = []
  const store = await openStore('sqlite::memory:', { clock, log })
  const supervisors = createSupervisors({
    clock,
    log,
    phase: { supervisorConnected() {}, supervisorDisconnected() {} },
  })
  const relays = createRelays({ clock, log, supervisors })
  const tunnels = createTunnels(clock)
  const ssh = {
    gatewayHost: '127.0.0.1',
    gatewayPort: 0,
    gatewayScheme: null,
    connectPath: '/connect/ssh',
    sessionTtlSecs: 86_400,
    tokenAtRest: 'hashed' as const,
    handshakeSkewSecs: 300,
  }
  const pipeline = createPipeline({
    authenticator: { authenticate: (_row, given) => options.authenticate?.(given) ?? ANONYMOUS },
    clock,
    log,
    audit: () => {},
    observe: () => {},
    share: { take: () => true },
    refusal: () => null,
  })
  const rpc = createRpcServer({
    methods: methodsOf('openshell.v1.OpenShell'),
    handlers: {
      async GetSandbox({ name }) {
        const row = await store.getByName('sandbox', name)
        return { sandbox: codec('openshell.v1.Sandbox').decode(row!.payload) }
      },
      ...createExecService({ relays, store, clock }),
      ...createSshSessionService({
        store,
        tunnels,
        clock,
        ssh,
        listener: () => ({ address: '127.0.0.1', port: port(), tls: false }),
      }),
    },
    relay: createRelayService({ relays, clock }),
    control: createSupervisorService({ supervisors, relays, store, clock }),
    pipeline,
    answerPlain: () => ({ status: 404, headers: {}, body: '' }),
    onBug: error => void bugs.push(error),
    maxStreams: 200,
    silentStreamsPerAddress: 0,
  })
  const none = () => ({ status: 404, headers: {}, body: '' })
  const listener = createListener(
    { host: '127.0.0.1', port: 0, what: 'test', tls: null, maxConnections: 1000, maxConnectionsPerAddress: 0, log },
    {
      onHttp2: (socket, peer) => rpc.accept(socket, peer, () => socket.meter.authenticated()),
      http: createHttpFront({
        routes: createRoutes(routesWith('/connect/ssh'), { connect: none, oidcConfig: none } as never),
        hooks: {
          onConnect: createSshConnect({ store, relays, tunnels, clock, log }),
          onWebSocket: createWsTunnel({ adopt: (socket, peer) => listener.adopt(socket, peer), clock, log }).accept,
        },
        clock,
        observe: () => {},
      }),
    },
  )
  const address = await listener.listen()
  const port = () => address.port
  const url = `http://127.0.0.1:${address.port}`
  const client = new Client(`127.0.0.1:${address.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  })
  const stops: (() => Promise<void>)[] = []

  return {
    port: address.port,
    url,
    store,
    supervisors,
    relays,
    tunnels,
    log,
    bugs,
    async addSandbox(id) {
      const payload = codec('openshell.v1.Sandbox').encode({ metadata: { id, name: id }, phase: 2 })
      await store.transaction(tx => tx.insert({ type: 'sandbox', id, name: id, payload }))
    },
    call(rpcName, request) {
      const method = METHODS.get(rpcName)!
      const bytes = codec(method.request).encode(request as never)
      const messages: never[] = []
      return new Promise(resolve => {
        const stream = client.makeServerStreamRequest(
          method.path,
          () => bytes,
          bytesBack => codec(method.response).decode(bytesBack),
          null,
        )
        stream.on('data', message => messages.push(message as never))
        stream.on('error', () => {})
        stream.on('status', status => resolve({ code: status.code, details: status.details, messages }))
      })
    },
    async supervise(sandboxId, secret = '') {
      const dir = mkdtempSync(join(tmpdir(), 'sandbox-'))
      const abort = new AbortController()
      const environment = { PATH: process.env['PATH'] ?? '', HOME: dir, OPENSHELL_SANDBOX: '1' }
      const running = runSupervisor(
        { endpoint: readEndpoint(url, {}), sandboxId, dir, secret, environment, log },
        abort.signal,
      )
      await until(() => supervisors.current(sandboxId) !== null)
      const stop = async () => {
        abort.abort()
        await running
        rmSync(dir, { recursive: true, force: true })
      }
      stops.push(stop)
      return { dir, stop }
    },
    async stop() {
      for (const stop of stops) await stop()
      supervisors.drain()
      relays.stop()
      client.close()
      rpc.destroy()
      listener.destroy()
      await store.close()
    },
  }
}

/** Waits for a condition, at most 5 s. */
export async function until(condition: () => boolean, mostMs = 5000): Promise<void> {
  const end = performance.now() + mostMs
  while (!condition()) {
    if (performance.now() > end) throw new Error('condition not reached')
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
