import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import type { WebSocket, WebSocketServer } from 'ws'
import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { Tally } from '../live/relays.ts'
import type { Logger } from '../observe/log.ts'
import type { Peer } from '../rpc/context.ts'
import { closeWith } from './close-with.ts'

export interface WsTunnelDeps {
  /** Serves the nested connection like an accepted one. */
  readonly adopt: (connection: Duplex, peer: Peer) => void
  readonly clock: Clock
  readonly log: Logger
}

/** Serves an upgrade of `/_ws_tunnel` that passed the checks (spec/gateway.md §11.1). */
export type WsTunnel = (request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer) => void

export interface WsTunnels {
  readonly accept: WsTunnel
  /** Tunnels open now. */
  readonly open: number
}

const BUSY = 'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'
const NESTED = 'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'
const NORMAL = 1000

/**
 * Carries a connection in WebSocket messages. The tunnel is nobody's identity: what speaks inside proves itself like
 * any other connection, and has no client certificate.
 */
export function createWsTunnel(deps: WsTunnelDeps): WsTunnels {
  let server: Promise<WebSocketServer> | null = null
  const nested = new WeakSet<Peer>()
  const perAddress = new Tally()
  let open = 0

  const accept: WsTunnel = (request, socket, head, peer) => {
    socket.on('error', () => {})
    if (nested.has(peer)) return closeWith(socket, NESTED, deps.clock)
    if (open >= LIMITS.webSocketTunnels || perAddress.of(peer.address) >= LIMITS.webSocketTunnelsPerAddress) {
      deps.log.warn('WebSocket tunnel refused: too many', { peer: peer.address })
      return closeWith(socket, BUSY, deps.clock)
    }
    server ??= loadServer()
    open += 1
    perAddress.add(peer.address, 1)
    const leave = () => {
      open -= 1
      perAddress.add(peer.address, -1)
    }
    socket.once('close', leave)
    // At most one turn of loading lies between the checks and the upgrade; a socket that died meanwhile is left alone.
    void server.then(loaded =>
      loaded.handleUpgrade(request, socket, head, webSocket => {
        const bytes = new WebSocketBytes(webSocket)
        const pings = startPings(webSocket, deps.clock)
        bytes.once('close', () => pings.cancel())
        const inner: Peer = { address: peer.address, port: peer.port, certificateFingerprint: null, connection: bytes }
        nested.add(inner)
        deps.adopt(bytes, inner)
      }),
    )
  }
  return {
    accept,
    get open() {
      return open
    },
  }
}

/** The library is loaded by the first tunnel, not by every start. */
async function loadServer(): Promise<WebSocketServer> {
  const { WebSocketServer } = await import('ws')
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: LIMITS.webSocketMessageBytes,
    handleProtocols: () => false,
    // A client that said it closes gets no time to think about it.
    ...{ closeTimeout: LIMITS.webSocketCloseMs },
  })
}

/** Finds a tunnel whose other end is gone: two pings without an answer end it, unless it is us who do not read. */
function startPings(webSocket: WebSocket, clock: Clock): Timer {
  let missed = 0
  let timer: Timer
  webSocket.on('pong', () => (missed = 0))
  const tick = () => {
    if (webSocket.isPaused) missed = 0
    if (missed >= LIMITS.webSocketPingsMissed) return webSocket.terminate()
    missed += 1
    webSocket.ping(() => {})
    timer = clock.after(LIMITS.webSocketPingMs, tick)
  }
  timer = clock.after(LIMITS.webSocketPingMs, tick)
  return { cancel: () => timer.cancel() }
}

/**
 * The messages of a WebSocket as bytes: binary and text alike in, binary of at most 32 KiB out. There is no half-close
 * in a WebSocket: ending this side says what is left to say and closes it.
 */
class WebSocketBytes extends Duplex {
  readonly #webSocket: WebSocket

  constructor(webSocket: WebSocket) {
    super({ readableHighWaterMark: LIMITS.relayBufferBytes, writableHighWaterMark: LIMITS.relayBufferBytes })
    this.#webSocket = webSocket
    webSocket.on('message', (message: Buffer) => {
      if (message.length > 0 && !this.push(message)) webSocket.pause()
    })
    webSocket.on('error', () => this.destroy())
    webSocket.on('close', () => {
      this.push(null)
      this.once('end', () => this.destroy())
    })
  }

  override _read(): void {
    if (this.#webSocket.isPaused) this.#webSocket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    let at = 0
    for (; at + LIMITS.webSocketFrameBytes < chunk.length; at += LIMITS.webSocketFrameBytes)
      this.#webSocket.send(chunk.subarray(at, at + LIMITS.webSocketFrameBytes), { binary: true }, () => {})
    this.#webSocket.send(chunk.subarray(at), { binary: true }, error => done(error ?? null))
  }

  override _final(done: () => void): void {
    this.#webSocket.close(NORMAL)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.writableFinished) this.#webSocket.close(NORMAL)
    else this.#webSocket.terminate()
    done(error)
  }
}
