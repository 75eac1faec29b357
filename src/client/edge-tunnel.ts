import type { Duplex } from 'node:stream'
import WebSocket, { createWebSocketStream } from 'ws'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'
import { defaultRoots } from './trust.ts'

type Env = Readonly<Record<string, string | undefined>>

/**
 * Makes connections to a gateway behind an authenticating edge: a WebSocket to `/_ws_tunnel` whose binary messages are
 * the bytes of the connection (spec/client.md §11.3). They reject with a `ClientFailure`.
 */
export function edgeDialer(gateway: URL, token: string, env: Env): () => Promise<Duplex> {
  const url = new URL('/_ws_tunnel', gateway)
  url.protocol = gateway.protocol === 'https:' ? 'wss:' : 'ws:'
  const headers = {
    'cf-access-token': token,
    'cf-access-jwt-assertion': token,
    cookie: `CF_Authorization=${token}`,
  }
  const tls = url.protocol === 'wss:' ? { ca: defaultRoots(env) } : {}
  return () =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url, {
        headers,
        ...tls,
        handshakeTimeout: LIMITS.dialMs,
        perMessageDeflate: false,
        followRedirects: false,
        maxPayload: LIMITS.webSocketMessageBytes,
      })
      const fail = (why: string, cause?: unknown) => {
        socket.terminate()
        reject(new ClientFailure('unreachable', `cannot reach ${gateway.origin} through its edge: ${why}`, { cause }))
      }
      socket.once('error', error => fail(error.message, error))
      socket.once('unexpected-response', (_request, response) =>
        fail(`it answers with status ${response.statusCode}; your sign-in there may have ended`),
      )
      socket.once('open', () => resolve(createWebSocketStream(socket)))
    })
}
