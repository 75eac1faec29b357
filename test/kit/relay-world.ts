import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { ClientHttp2Session } from 'node:http2'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { openSession, readEndpoint } from '../../src/client/channel.ts'
import { ANONYMOUS, fixedBearer } from '../../src/client/credential.ts'
import { type CallEnd, GrpcStream, openCall } from '../../src/client/grpc-stream.ts'
import { connectGateway, type GatewayClient } from '../../src/client/session.ts'
import { openTunnel, type TunnelTicket } from '../../src/client/tunnel.ts'
import { type DriverStream, refuse, serveDriver } from '../../src/dev/driver-server.ts'
import { runSupervisor } from '../../src/dev/supervisor.ts'
import { encodeInit } from '../../src/live/relay-frame.ts'
import { RelayWire } from '../../src/live/relay-wire.ts'
import { createCapturedLog } from './captured-log.ts'
import { type GatewayOptions, type GatewayProcess, SECRET, startGateway, until } from './gateway.ts'

const SERVICE = '/openshell.v1.OpenShell'

/** A supervisor in this process whose relays end in a function. */
export interface PlainSupervisor {
  readonly session: ClientHttp2Session
  /** How its control stream ended. */
  readonly ended: Promise<CallEnd>
  stop(): void
}

/** What the kernel says about the gateway now. */
export interface Footprint {
  /** Memory that is not a mapped file: pages of the executable come and go. */
  readonly ownKib: number
  readonly descriptors: number
}

/** The executable with a driver that agrees to everything; clients and supervisors are this process. */
export interface RelayWorld {
  readonly gateway: GatewayProcess
  readonly url: string
  /** A connection as the bearer of `token`, or as nobody. */
  client(token?: string): Promise<GatewayClient>
  /** A sandbox; its id. READY once a supervisor is there. */
  create(name: string): Promise<string>
  remove(name: string): Promise<void>
  ready(name: string): Promise<void>
  supervise(sandboxId: string, serve: (relay: Duplex) => void): Promise<PlainSupervisor>
  /** The embedded supervisor, with processes of this machine; resolves when it is connected. */
  embed(sandboxId: string, name: string): Promise<{ readonly dir: string; stop(): Promise<void> }>
  /** A token for the sandbox's tunnels. */
  ticket(sandboxId: string): Promise<TunnelTicket>
  /** An open tunnel; errors of its socket are heard. */
  tunnel(ticket: TunnelTicket): Promise<Duplex>
  footprint(): Footprint
  stop(): Promise<void>
}

export interface RelayWorldOptions extends GatewayOptions {
  /** Bearer for the calls of the world itself. */
  readonly token?: string
}

/** Sends every byte back. */
export const echo = (relay: Duplex): void => {
  relay.on('error', () => {})
  relay.pipe(relay)
}

export async function startRelayWorld(options: RelayWorldOptions): Promise<RelayWorld> {
  const { dir } = options
  if (!dir) throw new Error('a relay world needs a directory')
  const socket = join(dir, 'compute.sock')
  const driver = await serveDriver(socket, 'openshell.compute.v1.ComputeDriver', agreeable())
  const gateway = await startGateway({
    ...options,
    args: ['--compute-driver-socket', socket, ...(options.args ?? [])],
    env: { OPENSHELL_MAX_CONNECTIONS_PER_ADDRESS: '0', ...options.env },
  })
  await gateway.logged(line => line.message === 'driver connected')
  const url = `http://127.0.0.1:${gateway.port}`
  const endpoint = readEndpoint(url, {})
  const auth = options.token === undefined ? {} : { token: options.token }
  const secret = { 'x-sandbox-secret': SECRET }
  const stops: (() => unknown)[] = []

  const call = async (rpc: string, request: unknown): Promise<Record<string, unknown>> => {
    const answer = await gateway.call(rpc, request, auth)
    if (answer.code !== 'OK') throw new Error(`${rpc}: ${answer.code} ${answer.details}`)
    return answer.response!
  }
  const phaseOf = async (name: string) => ((await call('GetSandbox', { name }))['sandbox'] as { phase: string }).phase

  return {
    gateway,
    url,
    async client(token) {
      const credential = token === undefined ? ANONYMOUS : fixedBearer(token)
      const client = await connectGateway({ gateway: null, endpoint, credential })
      stops.push(() => client.close())
      return client
    },
    async create(name) {
      const { sandbox } = await call('CreateSandbox', { name, spec: {} })
      return (sandbox as { metadata: { id: string } }).metadata.id
    },
    remove: async name => void (await call('DeleteSandbox', { name })),
    ready: name =>
      until('the sandbox to be ready', async () => (await phaseOf(name)) === 'SANDBOX_PHASE_READY').then(() => {}),
    async supervise(sandboxId, serve) {
      const session = await openSession(endpoint)
      stops.push(() => session.destroy())
      const control = new GrpcStream(
        openCall(session, `${SERVICE}/ConnectSupervisor`, secret),
        'openshell.v1.SupervisorMessage',
        'openshell.v1.GatewayMessage',
      )
      await control.send({ hello: { sandbox_id: sandboxId, instance_id: 'kit' } })
      const accepted = Promise.withResolvers<void>()
      const follow = async () => {
        for await (const message of control.messages()) {
          if (message.session_accepted) accepted.resolve()
          if (!message.relay_open) continue
          const stream = openCall(session, `${SERVICE}/RelayStream`, secret)
          stream.on('error', () => {})
          stream.write(encodeInit(message.relay_open.channel_id))
          serve(new RelayWire(stream, { awaitsInit: false }))
        }
      }
      void follow()
      void control.ended.then(end => accepted.reject(new Error(`supervisor refused: ${end.code} ${end.details}`)))
      await accepted.promise
      return { session, ended: control.ended, stop: () => session.destroy() }
    },
    async embed(sandboxId, name) {
      const home = join(dir, `home-${name}`)
      await Bun.$`mkdir -p ${home}`.quiet()
      const abort = new AbortController()
      const environment = { PATH: process.env['PATH'] ?? '', HOME: home }
      const log = createCapturedLog()
      const running = runSupervisor({ endpoint, sandboxId, dir: home, secret: SECRET, environment, log }, abort.signal)
      const stop = async () => {
        abort.abort()
        await running
      }
      stops.push(stop)
      await until('the sandbox to be ready', async () => (await phaseOf(name)) === 'SANDBOX_PHASE_READY')
      return { dir: home, stop }
    },
    async ticket(sandboxId) {
      const { token } = await call('CreateSshSession', { sandbox_id: sandboxId })
      return { sandboxId, token: String(token), connectPath: '/connect/ssh' }
    },
    async tunnel(ticket) {
      const { socket, early } = await openTunnel(endpoint, ticket)
      socket.on('error', () => {})
      if (early.length > 0) socket.unshift(early)
      stops.push(() => socket.destroy())
      return socket
    },
    footprint() {
      const facts = `/proc/${gateway.child.pid}`
      return {
        ownKib: Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`${facts}/status`, 'utf8'))![1]),
        // The list is for root alone (P-08), its length for all, from Linux 6.2 on.
        descriptors: statSync(`${facts}/fd`).size || readdirSync(`${facts}/fd`).length,
      }
    },
    async stop() {
      for (const stop of stops.reverse()) await stop()
      await gateway.stop()
      await driver.close()
    },
  }
}

function agreeable() {
  const gone = new Set<string>()
  const watches = new Set<DriverStream>()
  return {
    GetCapabilities: async () => ({ driver_name: 'agreeable', default_image: 'none' }),
    ValidateSandboxCreate: async () => ({}),
    CreateSandbox: async () => ({}),
    async DeleteSandbox({ sandbox_id }: { sandbox_id: string }) {
      gone.add(sandbox_id)
      for (const watch of watches) void watch.write({ deleted: { sandbox_id } })
      return { deleted: true }
    },
    async GetSandbox({ sandbox_id }: { sandbox_id: string }) {
      if (gone.has(sandbox_id)) throw refuse('NOT_FOUND', 'sandbox not found')
      return { sandbox: { id: sandbox_id, status: {} } }
    },
    ListSandboxes: async () => ({ sandboxes: [] }),
    async WatchSandboxes(_request: object, stream: DriverStream) {
      watches.add(stream)
      await new Promise<void>(resolve => stream.signal.addEventListener('abort', () => resolve(), { once: true }))
      return undefined
    },
  } as never
}
