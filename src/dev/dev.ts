import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StartError } from '../base/errors.ts'
import { type DevIssuer, startDevIssuer } from './issuer.ts'

/** The parts around the gateway that `dev` brings along (decision 7): all on loopback, none isolates. */
export interface DevWorld {
  /** Command line of the gateway that fits them. */
  readonly argv: readonly string[]
  /** Its environment: the handshake secret, nothing else. */
  readonly env: Readonly<Record<string, string>>
  readonly issuer: string
  readonly stateDir: string
  close(): Promise<void>
}

export interface DevOptions {
  /** Command line that runs this program. */
  readonly self: readonly [string, ...string[]]
  readonly port: number
  /** Where database, secret and sandboxes are kept; null = a directory that goes at the end, and a database in memory. */
  readonly stateDir: string | null
}

const SECRET_BYTES = 32
const STOP_MS = 5000
const START_MS = 5000
const POLL_MS = 20

/** Starts issuer and local driver, and says how to start the gateway between them. */
export async function startDevWorld(options: DevOptions): Promise<DevWorld> {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'openshell-dev-'))
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  const socket = join(stateDir, 'compute.sock')
  if (await isServed(socket))
    throw new StartError(
      `another dev runs on ${stateDir}; end it, or name another --state-dir, or keep nothing by --ephemeral`,
    )
  const secret = keptSecret(join(stateDir, 'handshake-secret'))
  const issuer = await startDevIssuer()
  const driver = startDriver(options, stateDir, socket, secret)
  await untilThere(socket, driver)
  const db = options.stateDir === null ? 'sqlite::memory:' : `sqlite:${join(stateDir, 'gateway.db')}`
  return {
    argv: gatewayArgv({ port: options.port, db, issuer, socket }),
    env: { OPENSHELL_SSH_HANDSHAKE_SECRET: secret },
    issuer: issuer.url,
    stateDir,
    async close() {
      await Promise.all([stopDriver(driver), issuer.close()])
      if (options.stateDir === null) rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

/** Whether somebody listens on a Unix socket. */
function isServed(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const probe = connect(path)
    const end = (answer: boolean) => {
      probe.destroy()
      resolve(answer)
    }
    probe.once('connect', () => end(true)).once('error', () => end(false))
  })
}

/** The secret of this state directory, so that sandboxes of an earlier run are still ours. */
function keptSecret(file: string): string {
  if (!existsSync(file)) writeFileSync(file, randomBytes(SECRET_BYTES).toString('base64url'), { mode: 0o600 })
  return readFileSync(file, 'utf8')
}

function gatewayArgv({
  port,
  db,
  issuer,
  socket,
}: {
  port: number
  db: string
  issuer: DevIssuer
  socket: string
}): string[] {
  return [
    ...['--bind-address', '127.0.0.1', '--port', String(port), '--disable-tls'],
    ...['--db-url', db, '--compute-driver-socket', socket],
    ...['--oidc-issuer', issuer.url, '--oidc-scopes-claim', 'scope'],
    ...['--issue-sandbox-secrets', '--inference-allow-private-endpoints'],
  ]
}

function startDriver(options: DevOptions, stateDir: string, socket: string, secret: string): ChildProcess {
  const [command, ...self] = options.self
  const endpoint = `http://127.0.0.1:${options.port}`
  const args = [
    'local-driver',
    '--socket',
    socket,
    '--state-dir',
    join(stateDir, 'sandboxes'),
    '--grpc-endpoint',
    endpoint,
    '--stop-sandboxes',
    ...['--log-level', 'warn'],
  ]
  return spawn(command, [...self, ...args], {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], OPENSHELL_SSH_HANDSHAKE_SECRET: secret },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** The gateway need not find its driver missing first; a driver that does not come is the gateway's to report. */
async function untilThere(socket: string, driver: ChildProcess): Promise<void> {
  const endMs = performance.now() + START_MS
  while (!existsSync(socket) && driver.exitCode === null && performance.now() < endMs)
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
}

/** SIGTERM, and SIGKILL when that is not enough. */
function stopDriver(driver: ChildProcess): Promise<void> {
  if (driver.exitCode !== null || driver.signalCode !== null) return Promise.resolve()
  return new Promise(resolve => {
    const timer = setTimeout(() => driver.kill('SIGKILL'), STOP_MS)
    driver.once('exit', () => {
      clearTimeout(timer)
      resolve()
    })
    driver.kill('SIGTERM')
  })
}
