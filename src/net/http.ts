import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Peer } from '../rpc/context.ts'

/**
 * What takes a connection away from the HTTP/1.1 server. The hook owns `socket` from then on: it writes the whole
 * answer, status line included, closes it on every path, and listens to its `error`. `head` holds bytes that came
 * behind the request head; they belong in front of whatever `socket` yields next.
 */
export interface HttpHooks {
  /** `CONNECT /connect/ssh` or the configured path (spec/gateway.md §10). Other targets never get here. */
  onConnect(request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): void
  /** A WebSocket upgrade of `/_ws_tunnel` that passed every check of spec/gateway.md §11.1; the hook sends the 101. */
  onWebSocket(request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): void
}
