import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { type Clock, systemClock } from '../base/clock.ts'
import { StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Peer } from '../rpc/context.ts'
import { type Connection, type ConnectionTable, createConnectionTable } from './connection-table.ts'
import { FrameMeter } from './frame-meter.ts'
import type { HttpFront } from './http.ts'
import { MeteredSocket } from './metered-socket.ts'
import type { TlsTermination } from './tls.ts'

export interface ListenerOptions {
  readonly host: string
  /** 0 = chosen by the kernel. */
  readonly port: number
  /** A socket inherited from the service manager that listens already; used instead of host and port. */
  readonly fd?: number
  /** What is bound, as the error of a failed start names it: `to`, `health port`, `metrics port`. */
  readonly what: string
  /** Null = plaintext. */
  readonly tls: TlsTermination | null
  readonly maxConnections: number
  /** 0 = no limit. */
  readonly maxConnectionsPerAddress: number
  /** Nobody proves anything here: at the cap it is always the oldest connection that makes room. */
  readonly nobodyProves?: true
  readonly log: Logger
  readonly clock?: Clock
}

export interface ListenerHandlers {
  /** A connection that began with the HTTP/2 preface; `socket` yields it from there. The handler closes it. */
  onHttp2(socket: MeteredSocket, peer: Peer): void
  readonly http: HttpFront
  /** A connection the frame meter or a cap ended, by a closed set of reasons. */
  onRefused?(reason: string): void
}

export interface Listener {
  /** Binds. Fails with the sentence of spec/gateway.md §5. */
  listen(): Promise<AddressInfo>
  /** The bound address; null before `listen` and after `destroy`. */
  address(): AddressInfo | null
  /** Serves the connection nested in a tunnel like an accepted one: same protocols, no TLS identity (spec/gateway.md §11.1). */
  adopt(socket: Duplex, peer: Peer): void
  connections(): number
  /** New connections are refused by the kernel from now on; the open ones go on. */
  stopAccepting(): void
  /** Ends HTTP/1.1 connections behind their answers. HTTP/2 ones belong to the handler. */
  drain(): void
  /** Closes everything at once. */
  destroy(): void
}

type Place = Pick<ListenerOptions, 'host' | 'port' | 'fd' | 'what'>

function bind(server: Server, { host, port, fd, what }: Place): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const failed = (error: Error) =>
    reject(new StartError(`transport error: failed to bind ${what} ${printAddress(host, port)}: ${osErrorText(error)}`))
  server.once('error', failed)
  server.listen(fd === undefined ? { host, port } : { fd }, () => {
    server.off('error', failed)
    resolve()
  })
  return promise
}

/**
 * Throws now what `listen` would throw later when somebody has the port (C-10). It is tried only when somebody answers
 * there: whoever waits for a free port to open must not find it open for a moment.
 */
export async function refuseTaken(place: Place): Promise<void> {
  if (!(await isAnswered(place))) return
  const server = createServer(socket => socket.destroy())
  await bind(server, place)
  await new Promise(resolve => server.close(resolve))
}

/** Whether somebody takes connections there. */
function isAnswered({ host, port }: Place): Promise<boolean> {
  return new Promise(resolve => {
    // A connection to "any address" goes to this host.
    const socket = connect({ host, port, timeout: LIMITS.portTryMs })
    const settle = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => settle(true))
    socket.once('timeout', () => settle(false))
    socket.once('error', () => settle(false))
  })
}

/** The shared port: accepts within the caps, terminates TLS, tells HTTP/2 from HTTP/1.x by the first octets (spec/gateway.md §8). */
export function createListener(options: ListenerOptions, handlers: ListenerHandlers): Listener {
  return new SharedPort(options, handlers)
}

/** What every HTTP/2 client sends first, and the frame header of the SETTINGS behind it. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const PREFACE_AND_FRAME = PREFACE.length + 9

class SharedPort implements Listener {
  readonly #options: ListenerOptions
  readonly #handlers: ListenerHandlers
  readonly #clock: Clock
  readonly #table: ConnectionTable
  readonly #server: Server
  /** Connections whose protocol is not known yet. */
  readonly #undecided = new Set<Duplex>()
  #isStopped = false

  constructor(options: ListenerOptions, handlers: ListenerHandlers) {
    this.#options = options
    this.#handlers = handlers
    this.#clock = options.clock ?? systemClock
    this.#table = createConnectionTable(options.maxConnections, options.maxConnectionsPerAddress)
    this.#server = this.#createServer()
  }

  #createServer(): Server {
    const { tls } = this.#options
    const sockets = { allowHalfOpen: true, noDelay: true, keepAlive: true } as const
    if (tls === null) {
      return createServer(sockets, socket => {
        const connection = this.#admit(socket)
        if (connection) this.#sniff(socket, peerOf(socket, null), connection)
      })
    }
    const server = tls.createServer(sockets)
    const accepted = new WeakMap<Duplex, Connection>()
    server.on('connection', (socket: Socket) => {
      const connection = this.#admit(socket)
      if (connection) accepted.set(socket, connection)
    })
    server.on('secureConnection', (socket: TLSSocket) => {
      const connection = accepted.get(socket)
      const fingerprint = tls.identify(socket)
      if (connection === undefined || fingerprint === 'refused') socket.destroy()
      else this.#sniff(socket, peerOf(socket, fingerprint), connection)
    })
    // The library only reports a failed or late handshake; the socket stays open unless closed here (M11).
    server.on('tlsClientError', (error: Error & { code?: string }, socket: TLSSocket) => {
      this.#options.log.debug('TLS handshake failed', { client: socket.remoteAddress, reason: error.code })
      this.#handlers.onRefused?.('tls')
      socket.destroy()
    })
    return server
  }

  async listen(): Promise<AddressInfo> {
    await bind(this.#server, this.#options)
    this.#server.on('error', error =>
      this.#options.log.error('Failed to accept connection', { error: osErrorText(error) }),
    )
    return this.#server.address() as AddressInfo
  }

  address(): AddressInfo | null {
    return this.#server.address() as AddressInfo | null
  }

  connections(): number {
    return this.#table.size()
  }

  adopt(socket: Duplex, peer: Peer): void {
    const connection = this.#table.addNested(socket)
    socket.on('error', () => socket.destroy())
    this.#sniff(socket, peer, connection)
  }

  stopAccepting(): void {
    this.#isStopped = true
    this.#server.close()
  }

  drain(): void {
    this.stopAccepting()
    for (const socket of [...this.#undecided]) socket.destroy()
    this.#handlers.http.drain()
  }

  destroy(): void {
    this.stopAccepting()
    this.#table.closeAll()
  }

  /** Null when the connection was refused: over a cap, or the gateway is stopping. */
  #admit(socket: Socket): Connection | null {
    socket.on('error', error => {
      this.#options.log.debug('Connection error', { client: socket.remoteAddress, error: osErrorText(error) })
      socket.destroy()
    })
    const connection = this.#isStopped ? null : this.#table.add(socket, plainAddress(socket.remoteAddress))
    if (connection === null) {
      this.#handlers.onRefused?.('connection-cap')
      socket.destroy()
      return null
    }
    socket.setNoDelay(true)
    return connection
  }

  /** Reads until the protocol is certain and hands the connection over, those octets in front. */
  #sniff(socket: Duplex, peer: Peer, connection: Connection): void {
    const sinceMs = this.#clock.monotonicMs()
    let head: Buffer = Buffer.alloc(0)
    const timer = this.#clock.after(LIMITS.firstRequestMs, () => socket.destroy())
    this.#undecided.add(socket)
    const stop = () => {
      this.#undecided.delete(socket)
      timer.cancel()
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.off('close', stop)
    }
    const onEnd = () => socket.destroy()
    const onData = (chunk: Buffer) => {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
      const protocol = decideProtocol(head)
      if (protocol === null) return
      stop()
      socket.pause()
      if (protocol === 'http2') return this.#serveHttp2(socket, head, peer, connection)
      socket.unshift(head)
      const leftMs = LIMITS.firstRequestMs - (this.#clock.monotonicMs() - sinceMs)
      this.#handlers.http.accept(socket, peer, leftMs, () => this.#proven(connection))
      socket.resume()
    }
    socket.on('data', onData)
    socket.once('end', onEnd)
    socket.once('close', stop)
  }

  #proven(connection: Connection): void {
    if (!this.#options.nobodyProves) this.#table.proven(connection)
  }

  #serveHttp2(raw: Duplex, head: Buffer, peer: Peer, connection: Connection): void {
    const meter = new FrameMeter(this.#clock, () => this.#proven(connection))
    const socket = new MeteredSocket(raw, head, peer, meter, violation => {
      this.#options.log.warn('HTTP/2 connection closed', { client: peer.address, reason: violation })
      this.#handlers.onRefused?.(violation)
    })
    socket.on('error', () => socket.destroy())
    this.#handlers.onHttp2(socket, peer)
  }
}

/** Null = more octets are needed. HTTP/2 is certain only with its preface and the header of a first frame (M10). */
export function decideProtocol(head: Buffer): 'http1' | 'http2' | null {
  const known = Math.min(head.length, PREFACE.length)
  if (head.compare(PREFACE, 0, known, 0, known) !== 0) return 'http1'
  return head.length >= PREFACE_AND_FRAME ? 'http2' : null
}

function peerOf(socket: Socket, certificateFingerprint: string | null): Peer {
  return {
    address: plainAddress(socket.remoteAddress),
    port: socket.remotePort ?? 0,
    certificateFingerprint,
    connection: socket,
  }
}

/** IPv4 addresses without the IPv6 form a dual-stack socket gives them. */
const plainAddress = (address: string | undefined): string => address?.replace(/^::ffff:(?=\d+\.)/i, '') ?? ''

/** `address:port`, IPv6 in brackets. */
export const printAddress = (host: string, port: number): string => `${host.includes(':') ? `[${host}]` : host}:${port}`
