import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Connection, Server, type Session, utils } from 'ssh2'
import { systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { joinStreams } from '../live/relay-pipe.ts'
import type { Logger } from '../observe/log.ts'
import {
  type SandboxProcess,
  type SandboxProcessOptions,
  startProcess,
  type TerminalRequest,
} from './sandbox-process.ts'
import { serveSftp } from './sandbox-sftp.ts'

/** The SSH daemon of a local sandbox: one per supervisor, with a host key of its own for each start. */
export interface SandboxSsh {
  /** Serves one connection; null when there are too many. */
  serve(bytes: Duplex): void
  /** Ends every connection and every process. */
  stop(): void
  readonly connections: number
}

/** Only loopback may be forwarded to, as the daemon of a real sandbox has it (spec/relay.md §7.2). */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\]|::ffff:127(\.\d{1,3}){3})$/i

const SIGNALS: readonly string[] = ['ABRT', 'ALRM', 'HUP', 'INT', 'KILL', 'PIPE', 'QUIT', 'TERM', 'USR1', 'USR2']

/**
 * A private key that the library can read back: what it generates lacks the leading zeros of the public half, and so
 * one key in 256 is unfit.
 */
function generateHostKey(): string {
  for (;;) {
    const { private: key } = utils.generateKeyPairSync('ed25519')
    if (!(utils.parseKey(key) instanceof Error)) return key
  }
}

export function createSandboxSsh(options: SandboxProcessOptions, log: Logger): SandboxSsh {
  const connections = new Set<Connection>()
  const processes = new Set<SandboxProcess>()

  const server = new Server(
    {
      hostKeys: [generateHostKey()],
      keepaliveInterval: LIMITS.execKeepaliveMs,
      keepaliveCountMax: LIMITS.execKeepalivesMissed,
    },
    client => {
      connections.add(client)
      // Whoever gets here came through the gateway: any name, and no proof (spec/relay.md §7.2).
      client.on('authentication', attempt => attempt.accept())
      client.on('error', error => log.debug('ssh connection failed', { cause: error.message }))
      client.on('close', () => connections.delete(client))
      client.on('session', accept => serveSession(accept(), options, processes))
      client.on('tcpip', (accept, reject, info) => forward(accept, reject, info.destIP, info.destPort))
      client.on('request', (_accept, reject) => reject?.())
    },
  )

  return {
    serve(bytes) {
      if (connections.size >= LIMITS.sandboxSshConnections) return void bytes.destroy()
      bytes.on('error', () => {})
      // The library expects a socket that closes when the other end has ended.
      bytes.once('end', () => bytes.end())
      server.injectSocket(bytes as never)
    },
    stop() {
      for (const running of processes) running.kill()
      for (const client of connections) client.end()
    },
    get connections() {
      return connections.size
    },
  }
}

function serveSession(session: Session, options: SandboxProcessOptions, processes: Set<SandboxProcess>): void {
  let terminal: TerminalRequest | null = null
  let running: SandboxProcess | null = null
  session.on('pty', (accept, _reject, info) => {
    terminal = { term: (info as { term?: string }).term ?? '', cols: info.cols, rows: info.rows }
    accept?.()
  })
  session.on('window-change', (accept, _reject, info) => {
    running?.resize(info.cols, info.rows)
    if (terminal) terminal = { ...terminal, cols: info.cols, rows: info.rows }
    accept?.()
  })
  session.on('env', (_accept, reject) => reject?.())
  session.on('signal', (accept, _reject, info) => {
    const name = String(info.name).replace(/^SIG/, '')
    if (SIGNALS.includes(name)) running?.signal(`SIG${name}` as NodeJS.Signals)
    accept?.()
  })
  const start = (command: string | null, accept: () => Parameters<typeof startProcess>[0], reject: () => void) => {
    if (running || command?.trim() === '') return reject?.()
    const channel = accept()
    const started = startProcess(channel, command, terminal, options)
    running = started
    processes.add(started)
    channel.once('close', () => processes.delete(started))
  }
  session.on('shell', (accept, reject) => start(null, accept, reject))
  session.on('exec', (accept, reject, info) => start(info.command, accept, reject))
  session.on('sftp', accept => serveSftp(accept(), options.dir))
}

function forward(accept: () => Duplex, reject: () => void, host: string, port: number): void {
  if (!LOOPBACK.test(host) || port < 1 || port > 65_535) return reject()
  const target = host.replace(/^\[|\]$/g, '')
  const socket = connect({ host: target, port, allowHalfOpen: true, noDelay: true })
  socket.once('error', reject)
  socket.once('connect', () => {
    socket.off('error', reject)
    socket.on('error', () => {})
    const channel = accept()
    if (!channel) return void socket.destroy()
    void joinStreams(channel, socket, systemClock)
  })
}
