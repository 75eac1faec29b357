import http2 from 'node:http2'
import { frame, http2Start, openRaw } from './raw-socket.ts'

/** What a gRPC call over a bare HTTP/2 connection came to. */
export interface BareAnswer {
  /** HTTP status; null when the stream or the connection was cut before any. */
  readonly http: number | null
  /** gRPC status code; null when there was none. */
  readonly code: number | null
  readonly details: string
}

/** A gRPC client without a gRPC library: any header, any body. */
export interface BareClient {
  readonly isOpen: boolean
  ask(
    path: string,
    headers?: Record<string, string>,
    body?: Uint8Array,
    trailers?: Record<string, string>,
  ): Promise<BareAnswer>
  close(): void
}

/** No message can be made of these octets: whoever decodes them says so. */
export const UNDECODABLE = Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff])

/** Opens a plaintext HTTP/2 connection that takes any header the HTTP/2 library lets through. */
export function openBare(address: string): BareClient {
  const session = http2.connect(`http://${address}`)
  session.on('error', () => undefined)
  return {
    get isOpen() {
      return !session.closed && !session.destroyed
    },
    ask(path, headers = {}, body = UNDECODABLE, trailers) {
      const { promise, resolve } = Promise.withResolvers<BareAnswer>()
      let seen: Record<string, unknown> = {}
      const stream = session.request(
        { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers },
        { waitForTrailers: trailers !== undefined },
      )
      if (trailers) stream.once('wantTrailers', () => stream.sendTrailers(trailers))
      stream.on('response', received => (seen = { ...received }))
      stream.on('trailers', received => (seen = { ...seen, ...received }))
      stream.on('error', () => undefined)
      stream.on('close', () => {
        const status = seen['grpc-status']
        resolve({
          http: typeof seen[':status'] === 'number' ? seen[':status'] : null,
          code: typeof status === 'string' ? Number(status) : null,
          details: decodeURIComponent(String(seen['grpc-message'] ?? '')),
        })
      })
      stream.resume()
      stream.end(body)
      return promise
    },
    close: () => session.destroy(),
  }
}

/** Header fields as HPACK literals, never indexed, never squeezed: names and values go out as they are. */
export function literal([name, value]: readonly [string, string]): Buffer {
  const text = (part: string) => {
    const bytes = Buffer.from(part, 'latin1')
    if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
    const length: number[] = [127]
    let rest = bytes.length - 127
    for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128)
    return Buffer.concat([Buffer.from([...length, rest]), bytes])
  }
  return Buffer.concat([Buffer.from([0x10]), text(name), text(value)])
}

/** The header block of a call to `path`, its fields exactly as given. */
export function callHead(path: string, fields: readonly (readonly [string, string])[] = []): Buffer {
  const head: [string, string][] = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ]
  return Buffer.concat([...head, ...fields].map(literal))
}

/**
 * One call whose header fields go out exactly as given, twice the same if need be. Resolves when the server has
 * answered on the stream or closed the connection; what it decided stands in its audit line.
 */
export async function callLiterally(
  port: number,
  path: string,
  fields: readonly (readonly [string, string])[],
): Promise<void> {
  const raw = await openRaw(port)
  raw.send(Buffer.concat([http2Start(), frame(1, 4, 1, callHead(path, fields)), frame(0, 1, 1, UNDECODABLE)]))
  const answered = (received: Buffer) => {
    for (let at = 0; at + 9 <= received.length; at += 9 + received.readUIntBE(at, 3))
      if (received.readUInt32BE(at + 5) === 1 && (received[at + 3] === 1 || received[at + 3] === 3)) return true
    return false
  }
  await raw.until(answered)
  raw.destroy()
}
