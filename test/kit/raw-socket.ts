import { connect, type Socket } from 'node:net'

/** A TCP client that sends exactly the octets it is told to. */
export interface RawSocket {
  readonly socket: Socket
  send(data: string | Uint8Array): void
  /** Sends FIN and goes on reading. */
  finish(): void
  /** Everything received so far. */
  received(): Buffer
  /** Resolves when `isEnough` holds, or the connection ends; rejects after `withinMs`. */
  until(isEnough: (received: Buffer) => boolean, withinMs?: number): Promise<Buffer>
  /** Resolves with what was received once the other side has closed; rejects after `withinMs`. */
  closed(withinMs?: number): Promise<Buffer>
  isOpen(): boolean
  destroy(): void
}

export async function openRaw(port: number): Promise<RawSocket> {
  const chunks: Buffer[] = []
  let isOpen = true
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const changed = new EventTarget()
  const note = () => changed.dispatchEvent(new Event('change'))
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    note()
  })
  const over = () => {
    isOpen = false
    note()
  }
  socket.on('end', over)
  socket.on('close', over)
  socket.on('error', over)
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  const received = () => Buffer.concat(chunks)
  const until = (isEnough: (received: Buffer) => boolean, withinMs = 5000): Promise<Buffer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const look = () => {
      if (isOpen && !isEnough(received())) return
      clearTimeout(timer)
      changed.removeEventListener('change', look)
      resolve(received())
    }
    const timer = setTimeout(() => {
      changed.removeEventListener('change', look)
      reject(
        new Error(
          `still waiting after ${withinMs} ms, received ${JSON.stringify(received().toString('latin1').slice(0, 200))}`,
        ),
      )
    }, withinMs)
    changed.addEventListener('change', look)
    look()
    return promise
  }
  return {
    socket,
    send: data => void socket.write(data),
    finish: () => void socket.end(),
    received,
    until,
    closed: (withinMs = 5000) => until(() => false, withinMs),
    isOpen: () => isOpen,
    destroy: () => void socket.destroy(),
  }
}

/** Sends one raw request and returns the complete answers to it, as text, and whether the connection was closed. */
export async function askRaw(port: number, data: string, answers = 1): Promise<{ text: string; isOpen: boolean }> {
  const raw = await openRaw(port)
  raw.send(Buffer.from(data, 'latin1'))
  const text = (await raw.until(received => countAnswers(received) >= answers)).toString('latin1')
  await settled(raw)
  const isOpen = raw.isOpen()
  raw.destroy()
  return { text, isOpen }
}

const countAnswers = (received: Buffer): number => received.toString('latin1').split('\r\n\r\n').length - 1

/** Gives the server the turn in which it would close: a FIN sent with the answer arrives with it on loopback. */
const settled = (raw: RawSocket): Promise<unknown> => raw.until(() => false, 30).catch(() => null)

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

/** One HTTP/2 frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(stream, 5)
  bytes.set(payload, 9)
  return bytes
}

/** Preface and empty SETTINGS. */
export const http2Start = (): Buffer => Buffer.concat([Buffer.from(PREFACE), frame(4, 0, 0)])

/** A complete frame as received. */
export interface ReceivedFrame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** The complete frames in `received`. */
export function framesOf(received: Buffer): ReceivedFrame[] {
  const frames: ReceivedFrame[] = []
  for (let at = 0; at + 9 <= received.length; ) {
    const length = received.readUIntBE(at, 3)
    if (at + 9 + length > received.length) break
    const payload = received.subarray(at + 9, at + 9 + length)
    const stream = received.readUInt32BE(at + 5) & 0x7fff_ffff
    frames.push({ type: received[at + 3] as number, flags: received[at + 4] as number, stream, payload })
    at += 9 + length
  }
  return frames
}

/** The debug text of the GOAWAY among the frames, or null. */
export function goAwayReason(received: Buffer): string | null {
  const last = framesOf(received).findLast(({ type }) => type === 7)
  return last === undefined ? null : last.payload.subarray(8).toString()
}
