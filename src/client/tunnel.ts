import type { Duplex } from 'node:stream'
import { LIMITS } from '../limits.ts'
import { dial, type Endpoint } from './channel.ts'
import { ClientFailure } from './failure.ts'

/** What `CreateSshSession` handed out. */
export interface TunnelTicket {
  readonly sandboxId: string
  readonly token: string
  readonly connectPath: string
}

/** A tunnel that stands: its socket, paused, and what already came through it. */
export interface OpenTunnel {
  readonly socket: Duplex
  readonly early: Buffer
}

/** The gateway refused the tunnel; 412 = the sandbox is not ready yet. */
export class TunnelRefused extends ClientFailure {
  readonly status: number

  constructor(status: number) {
    super('failed', `gateway CONNECT failed with status ${status}`)
    this.status = status
  }
}

/** What a line of the request may carry (spec/client.md §10.3). */
const LINE_SAFE = /^[\x21-\x7e]+$/

/** Opens a tunnel by `CONNECT` (spec/client.md §10.3). Rejects with `TunnelRefused` or a sentence, the latest after `waitMs`. */
export async function openTunnel(
  endpoint: Endpoint,
  ticket: TunnelTicket,
  waitMs: number = LIMITS.clientCallMs,
): Promise<OpenTunnel> {
  const isSafe = [ticket.connectPath, ticket.sandboxId, ticket.token].every(text => LINE_SAFE.test(text))
  if (!isSafe || !ticket.connectPath.startsWith('/'))
    throw new ClientFailure('failed', 'the gateway handed out an SSH session that no tunnel can be opened with')
  const socket = await dial(endpoint)
  const lines = [
    `CONNECT ${ticket.connectPath} HTTP/1.1`,
    `Host: ${endpoint.url.hostname}`,
    `X-Sandbox-Id: ${ticket.sandboxId}`,
    `X-Sandbox-Token: ${ticket.token}`,
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  try {
    const { head, rest } = await readHead(socket, waitMs)
    const status = Number(head.split(' ', 2)[1])
    if (status !== 200) throw new TunnelRefused(status)
    return { socket, early: rest }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

const BLANK_LINE = '\r\n\r\n'

function readHead(socket: Duplex, waitMs: number): Promise<{ head: string; rest: Buffer }> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0)
    const fail = (error: Error) => {
      clearTimeout(late)
      reject(error)
    }
    const onLate = () => fail(new ClientFailure('unreachable', `no answer to CONNECT within ${waitMs / 1000} s`))
    const late = setTimeout(onLate, waitMs)
    const leave = () => {
      clearTimeout(late)
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.off('error', fail)
    }
    const onEnd = () => fail(new ClientFailure('unreachable', 'gateway closed the connection'))
    const onData = (piece: Buffer) => {
      held = Buffer.concat([held, piece])
      const end = held.indexOf(BLANK_LINE)
      if (end < 0 && held.length > LIMITS.connectHeadBytes)
        return fail(new ClientFailure('failed', 'gateway answered with too long a head'))
      if (end < 0) return
      socket.pause()
      leave()
      resolve({ head: held.toString('latin1', 0, end), rest: held.subarray(end + BLANK_LINE.length) })
    }
    socket.on('data', onData)
    socket.once('end', onEnd)
    socket.once('error', fail)
  })
}
