import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { codec, methodsOf, type RpcMethod } from '../../src/wire/codec.ts'
import { messageFromJson, messageToJson } from '../../src/wire/json.ts'

/** The compiled executable under test; `bun run test` builds it first. */
export const EXECUTABLE = process.env['GATEWAY_BIN'] ?? join(import.meta.dir, '../../dist/openshell-gateway')
export const SECRET = 'handshake-secret-of-the-test-kit-0123456789'

const START_MS = 20_000
const METHODS = new Map<string, RpcMethod>(
  [...methodsOf('openshell.v1.OpenShell'), ...methodsOf('openshell.inference.v1.Inference')].map(method => [
    method.name,
    method,
  ]),
)

export interface LogEntry {
  readonly level: string
  readonly message: string
  readonly [field: string]: unknown
}

export interface Answer {
  readonly code: string
  readonly details: string
  /** The message in JSON; absent on failure. */
  readonly response?: Record<string, unknown>
}

/** A running gateway process. */
export interface GatewayProcess {
  readonly child: ChildProcess
  readonly dir: string
  readonly port: number
  readonly address: string
  readonly log: readonly LogEntry[]
  /** Everything written to stdout and stderr. */
  output(): string
  /** One unary call, JSON in and out; never rejects on a gRPC status. */
  call(rpc: string, request?: unknown, options?: CallOptions): Promise<Answer>
  /** Waits until a log line matches. */
  logged(match: (entry: LogEntry) => boolean, timeoutMs?: number): Promise<LogEntry>
  /** Sends a signal and waits for the end; the exit code, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | string>
}

export interface CallOptions {
  readonly token?: string
  readonly secret?: string
  readonly metadata?: Record<string, string>
  readonly timeoutMs?: number
}

export interface GatewayOptions {
  readonly args?: readonly string[]
  readonly env?: Record<string, string>
  /** Directory for the database; a new one is made, and removed at the end, when absent. */
  readonly dir?: string
  /** Replaces the database in the directory. */
  readonly dbUrl?: string
  readonly credentials?: ChannelCredentials
  /** Replaces `--disable-tls`. */
  readonly tls?: readonly string[]
}

/** Waits for a condition, asking every few milliseconds; rejects with what it waited for. */
export async function until<T>(what: string, ask: () => T | Promise<T>, timeoutMs = 10_000): Promise<NonNullable<T>> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const value = await ask()
    if (value) return value as NonNullable<T>
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

/** Starts the compiled gateway on a port of its own and waits until it listens. */
export async function startGateway(options: GatewayOptions = {}): Promise<GatewayProcess> {
  if (!existsSync(EXECUTABLE)) throw new Error(`${EXECUTABLE} is missing: run bun build.ts`)
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'gateway-'))
  const listen = options.tls ?? ['--disable-tls']
  const args = [
    '--port',
    '0',
    '--bind-address',
    '127.0.0.1',
    ...listen,
    '--db-url',
    options.dbUrl ?? `sqlite:${dir}/gateway.db`,
    '--log-format',
    'json',
  ]
  const child = spawn(EXECUTABLE, [...args, ...(options.args ?? [])], {
    cwd: dir,
    env: { PATH: process.env['PATH']!, OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const log: LogEntry[] = []
  child.stderr.on('data', chunk => (text += chunk))
  createInterface({ input: child.stdout }).on('line', line => {
    text += `${line}\n`
    log.push(JSON.parse(line) as LogEntry)
  })
  const ended = new Promise<number | string>(resolve =>
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')),
  )
  const listening = await until(
    'the gateway to listen',
    () => {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}: ${text}`)
      return log.find(entry => entry.message === 'Server listening')
    },
    START_MS,
  )
  const address = String(listening['address'])
  const client = new Client(
    address.replace('127.0.0.1', options.credentials ? 'localhost' : '127.0.0.1'),
    options.credentials ?? credentials.createInsecure(),
    {
      'grpc.enable_retries': 0,
      'grpc.max_receive_message_length': 16 * 1024 * 1024,
    },
  )
  return {
    child,
    dir,
    port: Number(address.split(':').at(-1)),
    address,
    log,
    output: () => text,
    call: (rpc, request = {}, callOptions = {}) => callUnary(client, rpc, request, callOptions),
    logged: (match, timeoutMs) => until('a log line', () => log.find(match), timeoutMs),
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      const code = await ended
      client.close()
      if (!options.dir) rmSync(dir, { recursive: true, force: true })
      return code
    },
  }
}

function metadataOf(options: CallOptions): Metadata {
  const metadata = new Metadata()
  if (options.token) metadata.set('authorization', `Bearer ${options.token}`)
  if (options.secret) metadata.set('x-sandbox-secret', options.secret)
  for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value)
  return metadata
}

/** One unary call on a grpc-js client; the status is data, not an exception. */
export function callUnary(client: Client, rpc: string, request: unknown, options: CallOptions = {}): Promise<Answer> {
  const method = METHODS.get(rpc)!
  const bytes = messageFromJson(method.request, request)
  return new Promise(resolve => {
    client.makeUnaryRequest(
      method.path,
      () => bytes,
      answer => messageToJson(method.response, codec(method.response).decode(answer)),
      null,
      metadataOf(options),
      { deadline: Date.now() + (options.timeoutMs ?? 10_000) },
      (error: ServiceError | null, response?: Record<string, unknown>) =>
        resolve(
          error
            ? { code: status[error.code]!, details: error.details }
            : { code: 'OK', details: '', response: response! },
        ),
    )
  })
}
