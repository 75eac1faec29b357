import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { osErrorText } from '../base/os-error.ts'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

/** A listener on this machine that waits for a browser. */
export interface CallbackListener {
  readonly port: number
  /** Lets answers under way leave, for a moment, and closes every connection. */
  close(): Promise<void>
}

/** Handles `/callback` and nothing else. */
export type CallbackHandler = (url: URL, request: IncomingMessage, response: ServerResponse) => void

const PATH = '/callback'

/**
 * Listens on 127.0.0.1 only; `port` 0 = any. Other paths are 404. Requests made under another name than this machine's
 * are refused: a page elsewhere could have had its name point here. Rejects with a `ClientFailure` when the port is
 * taken.
 */
export async function listenForCallback(port: number, handle: CallbackHandler): Promise<CallbackListener> {
  const server = createServer({ requestTimeout: LIMITS.helloWaitMs, headersTimeout: LIMITS.helloWaitMs })
  server.maxConnections = LIMITS.callbackConnections
  const busy = new Set<ServerResponse>()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    busy.add(response)
    response.once('close', () => busy.delete(response))
    const bound = (server.address() as AddressInfo | null)?.port
    const isOurs = request.headers.host === `127.0.0.1:${bound}` || request.headers.host === `localhost:${bound}`
    const url = URL.canParse(request.url ?? '', 'http://127.0.0.1')
      ? new URL(request.url ?? '', 'http://127.0.0.1')
      : null
    if (!isOurs || url === null || (request.url ?? '').split('?')[0] !== PATH)
      response.writeHead(404, { connection: 'close', 'content-length': 0 }).end()
    else handle(url, request, response)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => {
      const text = `127.0.0.1:${port} cannot be listened on for the answer of the browser: ${osErrorText(error)}`
      reject(new ClientFailure('failed', text, { cause: error }))
    })
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const until = performance.now() + LIMITS.callbackFarewellMs
      server.close()
      while (busy.size > 0 && performance.now() < until) await new Promise(resolve => setTimeout(resolve, 10))
      server.closeAllConnections()
    },
  }
}
