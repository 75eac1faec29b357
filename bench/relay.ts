/**
 * What a relay costs: `bun bench/relay.ts [OTHER_EXECUTABLE …]` measures dist/openshell-gateway and any other gateway
 * executable in one run and prints a table. Clients and supervisors are this process, on the same machine: it uses
 * about as much of the processor as the gateway does, so compare columns of one run, not runs.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { ClientHttp2Session } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { Client as SshClient } from 'ssh2'
import { systemClock } from '../src/base/clock.ts'
import { openSession, readEndpoint } from '../src/client/channel.ts'
import { ANONYMOUS } from '../src/client/credential.ts'
import { callOnce, GrpcStream, openCall } from '../src/client/grpc-stream.ts'
import { connectGateway, type GatewayClient } from '../src/client/session.ts'
import { openTunnel, type TunnelTicket } from '../src/client/tunnel.ts'
import { createSandboxSsh } from '../src/dev/sandbox-ssh.ts'
import { SETTLE_MS } from '../src/gateway/quiet-memory.ts'
import { encodeInit } from '../src/live/relay-frame.ts'
import { RelayWire } from '../src/live/relay-wire.ts'
import { createLogger } from '../src/observe/log.ts'
import { createFdSink } from '../src/observe/log-sink.ts'
import {
  canStartDropbear,
  canStartOpenSsh,
  dropbearCommand,
  OPENSSH_NEEDS,
  openSshCommand,
} from '../test/kit/ssh-daemons.ts'
import { freePort, startDriver, untilListening } from './gateway.ts'

const MIB = 1 << 20
const BULK_MIB = 256
const PINGS = 2000
const OPENS = 200
const PING_RELAYS = 50
const EXECS = 200
/** They pay for what a gateway decodes and keeps once, whoever comes first. */
const FIRST_SUPERVISORS = 20
const IDLE_SUPERVISORS = [200, 1000]
const IDLE_RELAYS = 200
const TICKS_PER_SEC = 100
const SERVICE = '/openshell.v1.OpenShell'

type Figures = Map<string, string>

const percentile = (values: readonly number[], part: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))]!
const pair = (values: readonly number[]): string =>
  `${percentile(values, 0.5).toFixed(2)} / ${percentile(values, 0.99).toFixed(2)} ms`

/** A gateway with sandboxes, and this process as their supervisors. */
interface World {
  readonly client: GatewayClient
  /** Resident memory, and the part of it that is no mapped file: pages of the executable come and go. */
  memoryKib(): { readonly all: number; readonly own: number }
  cpuMs(): number
  /** A sandbox whose supervisor is connected. */
  sandbox(): Promise<TunnelTicket>
  /** A sandbox with an SSH daemon; its id. */
  shell(): Promise<string>
  /** A sandbox with an SSH daemon on a port of this machine; its id. */
  foreignShell(port: number): Promise<string>
  stop(): Promise<void>
}

/** The sandbox's end of a relay; the first byte says what it does. */
function serve(relay: Duplex): void {
  relay.on('error', () => {})
  relay.once('end', () => relay.end())
  relay.once('data', (first: Buffer) => {
    const [what] = first
    if (what === 0x45) {
      relay.write(first.subarray(1))
      relay.pipe(relay)
    } else if (what === 0x53) sink(relay, first.length - 1)
    else flood(relay, BULK_MIB * MIB)
  })
}

/** Takes everything, then says so. */
function sink(relay: Duplex, taken: number): void {
  let bytes = taken
  relay.on('data', (part: Buffer) => {
    bytes += part.length
    if (bytes >= BULK_MIB * MIB) relay.write('!')
  })
}

function flood(to: Duplex, bytes: number): void {
  const block = Buffer.alloc(65_536, 'x')
  let left = bytes
  const go = () => {
    while (left > 0) {
      left -= block.length
      if (!to.write(block)) return void to.once('drain', go)
    }
  }
  go()
}

async function supervise(url: string, sandboxId: string, serving = serve): Promise<ClientHttp2Session> {
  const session = await openSession(readEndpoint(url, {}))
  const control = new GrpcStream(
    openCall(session, `${SERVICE}/ConnectSupervisor`, {}),
    'openshell.v1.SupervisorMessage',
    'openshell.v1.GatewayMessage',
  )
  await control.send({ hello: { sandbox_id: sandboxId, instance_id: 'bench' } })
  const accepted = Promise.withResolvers<void>()
  const follow = async () => {
    for await (const message of control.messages()) {
      if (message.session_accepted) accepted.resolve()
      if (!message.relay_open) continue
      const stream = openCall(session, `${SERVICE}/RelayStream`, {})
      stream.write(encodeInit(message.relay_open.channel_id))
      serving(new RelayWire(stream, { awaitsInit: false }))
    }
  }
  void follow()
  await accepted.promise
  return session
}

async function startWorld(executable: string): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-relay-'))
  const driver = await startDriver(join(dir, 'compute.sock'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const args = ['--port', String(port), '--disable-tls', '--db-url', `sqlite:${dir}/bench.db?mode=rwc`]
  const child: ChildProcess = spawn(
    executable,
    [...args, '--drivers', 'external', '--compute-driver-socket', join(dir, 'compute.sock'), '--log-level', 'warn'],
    {
      env: {
        PATH: process.env['PATH'],
        OPENSHELL_SSH_HANDSHAKE_SECRET: 'bench-handshake-secret-0123456789abcdef',
        // Everything comes from this one machine.
        OPENSHELL_MAX_CONNECTIONS_PER_ADDRESS: '0',
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  await untilListening(port)
  const client = await connectGateway({ gateway: null, endpoint: readEndpoint(url, {}), credential: ANONYMOUS })
  const sessions: ClientHttp2Session[] = []
  const stat = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  let made = 0
  const ticketFor = async (sandboxId: string): Promise<TunnelTicket> => {
    const { token } = await eventually(() => callOnce(client.open('CreateSshSession'), { sandbox_id: sandboxId }))
    return { sandboxId, token, connectPath: '/connect/ssh' }
  }
  const create = async (): Promise<string> => {
    const name = `bench-${made++}`
    const { sandbox } = await eventually(() => callOnce(client.open('CreateSandbox'), { name, spec: {} }))
    return sandbox!.metadata!.id
  }
  return {
    client,
    memoryKib() {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
      const kib = (line: RegExp) => Number(line.exec(status)![1])
      return { all: kib(/VmRSS:\s+(\d+)/), own: kib(/RssAnon:\s+(\d+)/) }
    },
    cpuMs: () => ((Number(stat()[11]) + Number(stat()[12])) / TICKS_PER_SEC) * 1000,
    async sandbox() {
      const id = await create()
      sessions.push(await supervise(url, id))
      return ticketFor(id)
    },
    async shell() {
      const id = await create()
      const environment = { PATH: process.env['PATH'] ?? '', HOME: dir }
      const log = createLogger({ level: 'error', format: 'text', clock: systemClock, sink: createFdSink(2) })
      const daemon = createSandboxSsh({ dir, environment }, log)
      sessions.push(await supervise(url, id, relay => daemon.serve(relay)))
      await ticketFor(id)
      return id
    },
    async foreignShell(daemonPort) {
      const id = await create()
      sessions.push(await supervise(url, id, relay => joinDaemon(relay, daemonPort)))
      await ticketFor(id)
      return id
    },
    async stop() {
      for (const session of sessions) session.destroy()
      client.close()
      child.kill('SIGKILL')
      driver.forceShutdown()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** The driver connects and phases change a moment later: tries again for 10 s. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  const end = performance.now() + 10_000
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (performance.now() > end) throw error
      await Bun.sleep(5)
    }
  }
}

async function connect(world: World, ticket: TunnelTicket): Promise<Duplex> {
  const { socket } = await openTunnel(world.client.endpoint, ticket)
  socket.on('error', () => {})
  return socket
}

/** Everything a socket gives until `bytes` have come. */
function receive(socket: Duplex, bytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let got = 0
    socket.once('close', () => reject(new Error(`closed after ${got} of ${bytes} bytes`)))
    socket.on('data', (part: Buffer) => {
      got += part.length
      if (got >= bytes) resolve()
    })
    socket.resume()
  })
}

/** Moves `BULK_MIB` through each tunnel at once; MiB/s in all and the gateway's CPU per MiB. */
async function bulk(world: World, tickets: readonly TunnelTicket[], direction: 'up' | 'down'): Promise<string> {
  const sockets = await Promise.all(tickets.map(ticket => connect(world, ticket)))
  const cpu = world.cpuMs()
  const begun = performance.now()
  await Promise.all(
    sockets.map(socket => {
      const done = receive(socket, direction === 'down' ? BULK_MIB * MIB : 1)
      socket.write(direction === 'down' ? 'Z' : 'S')
      if (direction === 'up') flood(socket, BULK_MIB * MIB)
      return done
    }),
  )
  const secs = (performance.now() - begun) / 1000
  const mib = BULK_MIB * tickets.length
  for (const socket of sockets) socket.destroy()
  return `${(mib / secs).toFixed(0)} MiB/s, ${((world.cpuMs() - cpu) / mib).toFixed(2)} ms CPU/MiB`
}

async function pingPong(world: World, tickets: readonly TunnelTicket[]): Promise<string> {
  const message = Buffer.alloc(64, 'p')
  const times: number[] = []
  const one = async (ticket: TunnelTicket, rounds: number) => {
    const socket = await connect(world, ticket)
    socket.write('E')
    for (let i = 0; i < rounds; i++) {
      const begun = performance.now()
      socket.write(message)
      let got = 0
      while (got < message.length) {
        const [part] = await once(socket)
        got += part.length
      }
      times.push(performance.now() - begun)
    }
    socket.destroy()
  }
  await Promise.all(tickets.map(ticket => one(ticket, Math.max(100, PINGS / tickets.length))))
  return pair(times)
}

const once = (socket: Duplex): Promise<[Buffer]> =>
  new Promise(resolve => {
    socket.once('data', (part: Buffer) => {
      socket.pause()
      resolve([part])
    })
    socket.resume()
  })

async function opening(world: World, ticket: TunnelTicket): Promise<{ open: string; first: string }> {
  const opens: number[] = []
  const firsts: number[] = []
  for (let i = 0; i < OPENS; i++) {
    const begun = performance.now()
    const socket = await connect(world, ticket)
    opens.push(performance.now() - begun)
    socket.write('E!')
    await once(socket)
    firsts.push(performance.now() - begun)
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.end()
    socket.resume()
    await closed
  }
  return { open: pair(opens), first: pair(firsts) }
}

async function measure(executable: string): Promise<Figures> {
  const figures: Figures = new Map()
  const world = await startWorld(executable)
  try {
    const tickets = await Promise.all(Array.from({ length: 8 }, () => world.sandbox()))
    const eightOfOne = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { token } = await callOnce(world.client.open('CreateSshSession'), { sandbox_id: tickets[0]!.sandboxId })
        return { ...tickets[0]!, token }
      }),
    )
    await bulk(world, tickets.slice(0, 1), 'down')
    for (const direction of ['down', 'up'] as const) {
      figures.set(`${direction}, 1 relay`, await bulk(world, tickets.slice(0, 1), direction))
      figures.set(`${direction}, 8 supervisors`, await bulk(world, tickets, direction))
      figures.set(`${direction}, 8 relays of one`, await bulk(world, eightOfOne, direction))
    }
    const opened = await opening(world, tickets[0]!)
    figures.set('CONNECT to 200, p50 / p99', opened.open)
    figures.set('open to first byte, p50 / p99', opened.first)
    figures.set('ping-pong 64 B, 1 relay, p50 / p99', await pingPong(world, tickets.slice(0, 1)))
    const many = await Promise.all(
      Array.from({ length: PING_RELAYS }, (_, i) => anotherTicket(world, tickets[i % tickets.length]!)),
    )
    figures.set(`ping-pong 64 B, ${PING_RELAYS} relays, p50 / p99`, await pingPong(world, many))
    figures.set('exec true, p50 / p99', await execs(world, await world.shell()))
    for (const { name, port } of daemons) {
      figures.set(`exec true by ${name}, p50 / p99`, await execs(world, await world.foreignShell(port)))
      figures.set(`the same straight to ${name}`, await straightExecs(port))
    }
  } finally {
    await world.stop()
  }
  await measureIdle(executable, figures)
  return figures
}

/** What supervisors and relays that do nothing cost a gateway that was just started. */
async function measureIdle(executable: string, figures: Figures): Promise<void> {
  const world = await startWorld(executable)
  const settled = async () => {
    await Bun.sleep(SETTLE_MS)
    return world.memoryKib()
  }
  try {
    figures.set('memory idle', mib((await settled()).all))
    const tickets: TunnelTicket[] = []
    while (tickets.length < FIRST_SUPERVISORS) tickets.push(await world.sandbox())
    let before = await settled()
    let counted = FIRST_SUPERVISORS
    for (const count of IDLE_SUPERVISORS) {
      while (tickets.length < count) tickets.push(await world.sandbox())
      const now = await settled()
      const name = `memory with ${count} idle supervisors, and for each more`
      figures.set(name, `${mib(now.all)}, ${((now.own - before.own) / (count - counted)).toFixed(0)} KiB`)
      before = now
      counted = count
    }
    for (let n = 0; n < IDLE_RELAYS; n++) await connect(world, tickets[n]!)
    figures.set('memory per idle relay', `${(((await settled()).own - before.own) / IDLE_RELAYS).toFixed(0)} KiB`)
  } finally {
    await world.stop()
  }
}

const mib = (kib: number): string => `${(kib / 1024).toFixed(0)} MiB`

/** Commands that only end, one after another. */
async function execs(world: World, id: string): Promise<string> {
  const times: number[] = []
  for (let i = 0; i < EXECS; i++) {
    const begun = performance.now()
    const stream = world.client.open('ExecSandbox')
    await stream.send({ sandbox_id: id, command: ['true'] })
    stream.end()
    for await (const event of stream.messages()) if (event.exit) times.push(performance.now() - begun)
    const end = await stream.ended
    if (end.code !== 0) throw new Error(end.details)
  }
  return pair(times)
}

/** What the daemon and the SSH library alone take for the same. */
async function straightExecs(port: number): Promise<string> {
  const times: number[] = []
  for (let i = 0; i < EXECS; i++) {
    const begun = performance.now()
    const client = new SshClient()
    await new Promise((resolve, reject) => {
      client.on('error', reject)
      client.on('ready', () =>
        client.exec('true', (error, channel) => (error ? reject(error) : channel.resume().once('exit', resolve))),
      )
      client.connect({ host: '127.0.0.1', port, username: 'sandbox', authHandler: ['none'] })
    })
    times.push(performance.now() - begun)
    client.end()
  }
  return pair(times)
}

function joinDaemon(relay: Duplex, port: number): void {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true })
  for (const end of [relay, socket]) end.on('error', () => {})
  relay.pipe(socket)
  socket.pipe(relay)
}

interface SshDaemon {
  readonly name: string
  readonly port: number
  stop(): void
}

/** An SSH daemon on a port of this machine, with a user that needs no password. */
async function startDaemon(name: string, command: (dir: string, port: number) => string[]): Promise<SshDaemon> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-ssh-'))
  const port = await freePort()
  const [file, ...args] = command(dir, port)
  const daemon = spawn(file!, args, { stdio: 'ignore' })
  await untilListening(port)
  return {
    name,
    port,
    stop() {
      daemon.kill()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

const openSsh = (dir: string, port: number): string[] =>
  openSshCommand(dir, ['-D', '-o', `ListenAddress=127.0.0.1:${port}`], ['MaxStartups 1000'])

/** Those that can be started here. */
async function startDaemons(): Promise<SshDaemon[]> {
  if (!canStartOpenSsh()) console.log(`without exec by OpenSSH's daemon, which needs ${OPENSSH_NEEDS}`)
  return [
    ...(canStartOpenSsh() ? [await startDaemon("OpenSSH's daemon", openSsh)] : []),
    ...(canStartDropbear() ? [await startDaemon('dropbear', dropbearCommand)] : []),
  ]
}

async function anotherTicket(world: World, ticket: TunnelTicket): Promise<TunnelTicket> {
  const { token } = await callOnce(world.client.open('CreateSshSession'), { sandbox_id: ticket.sandboxId })
  return { ...ticket, token }
}

const executables = [
  process.env['BENCH_GATEWAY'] ?? join(import.meta.dir, '../dist/openshell-gateway'),
  ...process.argv.slice(2),
]
const daemons = await startDaemons()
const columns: Figures[] = []
for (const executable of executables) columns.push(await measure(executable))
console.log(`| Figure | ${executables.join(' | ')} |`)
console.log(`|---|${executables.map(() => '---').join('|')}|`)
for (const name of columns[0]!.keys())
  console.log(`| ${name} | ${columns.map(column => column.get(name) ?? '–').join(' | ')} |`)
for (const daemon of daemons) daemon.stop()
process.exit(0)
