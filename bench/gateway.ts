import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, Metadata, Server, ServerCredentials } from '@grpc/grpc-js'
import { startDevIssuer } from '../src/dev/issuer.ts'
import { codec, methodsOf } from '../src/wire/codec.ts'
import { messageFromJson } from '../src/wire/json.ts'

/** One gateway executable under load, with its own issuer, driver and database file. */
export interface Bench {
  readonly port: number
  readonly token: string
  readonly startMs: number
  /** Milliseconds one call took; rejects when it fails. */
  call(rpc: string, request: unknown): Promise<number>
  /** Resident memory, MiB. */
  memoryMib(): number
  /** CPU seconds used so far. */
  cpuSecs(): number
  stop(): Promise<void>
}

const METHODS = new Map(methodsOf('openshell.v1.OpenShell').map(method => [method.name, method]))
const TICKS_PER_SEC = 100

export const freePort = (): Promise<number> =>
  new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

/** A compute driver that accepts everything and reports nothing: the bench measures the gateway. */
export async function startDriver(socket: string): Promise<Server> {
  const server = new Server()
  for (const method of methodsOf('openshell.compute.v1.ComputeDriver')) {
    const answer =
      method.name === 'GetCapabilities'
        ? codec(method.response).encode({ driver_name: 'bench', default_image: 'bench' } as never)
        : Buffer.alloc(0)
    const identity = (bytes: Buffer) => bytes
    const handler = method.responseStream
      ? () => {}
      : (_call: unknown, respond: (error: null, bytes: Buffer) => void) => respond(null, answer)
    server.register(method.path, handler as never, identity, identity, method.responseStream ? 'serverStream' : 'unary')
  }
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    ),
  )
  return server
}

async function adminToken(issuer: string): Promise<string> {
  const form = new URLSearchParams({
    grant_type: 'password',
    client_id: 'openshell-cli',
    username: 'admin@test',
    password: 'admin',
    scope: 'openid openshell:all',
  })
  const answer = (await (await fetch(`${issuer}/token`, { method: 'POST', body: form })).json()) as {
    access_token: string
  }
  return answer.access_token
}

/** Starts `executable` with flags that ours and the reference share, and waits for its first Health answer. */
export async function startBench(executable: string): Promise<Bench> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-'))
  const issuer = await startDevIssuer()
  const socket = join(dir, 'compute.sock')
  const driver = await startDriver(socket)
  const port = await freePort()
  const args = [
    '--port',
    String(port),
    '--disable-tls',
    '--db-url',
    `sqlite:${dir}/bench.db?mode=rwc`,
    '--drivers',
    'external',
    '--compute-driver-socket',
    socket,
  ]
  const started = performance.now()
  const child: ChildProcess = spawn(executable, [...args, '--oidc-issuer', issuer.url], {
    env: { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: 'bench-handshake-secret-0123456789abcdef' },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 100,
  })
  const metadata = new Metadata()
  const call = (rpc: string, request: unknown): Promise<number> => {
    const method = METHODS.get(rpc)!
    const bytes = messageFromJson(method.request, request)
    const begun = performance.now()
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        method.path,
        () => bytes,
        bytesBack => bytesBack,
        null,
        metadata,
        { deadline: Date.now() + 20_000 },
        error => (error ? reject(error) : resolve(performance.now() - begun)),
      ),
    )
  }
  await untilListening(port)
  await call('Health', {})
  const startMs = performance.now() - started
  const token = await adminToken(issuer.url)
  metadata.set('authorization', `Bearer ${token}`)
  const stat = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return {
    port,
    token,
    startMs,
    call,
    memoryMib: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1]) / 1024,
    cpuSecs: () => (Number(stat()[11]) + Number(stat()[12])) / TICKS_PER_SEC,
    async stop() {
      client.close()
      child.kill('SIGKILL')
      driver.forceShutdown()
      await issuer.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

export async function untilListening(port: number): Promise<void> {
  const end = performance.now() + 20_000
  while (performance.now() < end) {
    const open = await new Promise<boolean>(resolve => {
      void Bun.connect({
        hostname: '127.0.0.1',
        port,
        socket: {
          open(socket) {
            socket.end()
            resolve(true)
          },
          data() {},
          connectError: () => resolve(false),
          error: () => resolve(false),
        },
      }).catch(() => resolve(false))
    })
    if (open) return
    await Bun.sleep(1)
  }
  throw new Error('the gateway never listened')
}
