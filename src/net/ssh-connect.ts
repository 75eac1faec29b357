import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { joinStreams } from '../live/relay-pipe.ts'
import type { Relays } from '../live/relays.ts'
import { type FoundSession, findSshSession, isCurrent, isExpired } from '../live/ssh-sessions.ts'
import type { Tunnels } from '../live/tunnels.ts'
import type { Logger } from '../observe/log.ts'
import type { Peer } from '../rpc/context.ts'
import { StoreFailure, type StoreReads } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import { SandboxPhase } from '../wire/messages.generated.ts'
import { emptyAnswer, type HttpAnswer } from './http-answer.ts'

export interface SshConnectDeps {
  readonly store: StoreReads
  readonly relays: Relays
  readonly tunnels: Tunnels
  readonly clock: Clock
  readonly log: Logger
}

type Refuse = (answer: HttpAnswer) => void

/** Serves `CONNECT /connect/ssh` (spec/gateway.md §10). */
export type SshConnect = (request: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer, refuse: Refuse) => void

/** A refusal, as the HTTP status it is answered with. */
class Refused extends Error {
  readonly status: number

  constructor(status: number) {
    super(`refused with ${status}`)
    this.status = status
  }
}

const sandboxes = codec('openshell.v1.Sandbox')
const VISIBLE = /^[\x20-\x7e]+$/
const ACCEPTED = 'HTTP/1.1 200 OK\r\n\r\n'

/** The first value of a header, without blanks around it (spec/relay.md §8, 2 and 3). */
function readHeader(request: IncomingMessage, name: string): string {
  const raw = request.rawHeaders
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.toLowerCase() !== name) continue
    const value = raw[i + 1]!.trim()
    if (value === '' || !VISIBLE.test(value)) throw new Refused(400)
    return value
  }
  throw new Refused(401)
}

/** Checks 2–8 in order; the session that may be used. */
async function admitSession(request: IncomingMessage, deps: SshConnectDeps): Promise<FoundSession> {
  const sandboxId = readHeader(request, 'x-sandbox-id')
  const token = readHeader(request, 'x-sandbox-token')
  const session = await findSshSession(deps.store, token)
  if (!session || session.revoked || session.sandboxId !== sandboxId) throw new Refused(401)
  if (isExpired(session, deps.clock.nowMs())) throw new Refused(401)
  const row = await deps.store.get('sandbox', sandboxId)
  if (!row) throw new Refused(404)
  const { phase } = sandboxes.decode(row.payload)
  // Clients try again for a minute after 412: there is nothing to wait for in a sandbox that is going.
  if (phase === SandboxPhase.SANDBOX_PHASE_DELETING) throw new Refused(401)
  if (phase !== SandboxPhase.SANDBOX_PHASE_READY) throw new Refused(412)
  return session
}

/** Keeps what a client says before its tunnel stands, and notices when it leaves. */
class EarlyBytes {
  readonly gone = new AbortController()
  readonly #socket: Duplex
  readonly #parts: Buffer[] = []
  #size = 0
  readonly #onData = (part: Buffer) => {
    this.#parts.push(part)
    this.#size += part.length
    if (this.#size >= LIMITS.relayBufferBytes) this.#socket.pause()
  }
  readonly #onGone = () => this.gone.abort()

  constructor(socket: Duplex) {
    this.#socket = socket
    socket.on('data', this.#onData)
    socket.on('end', this.#onGone)
    socket.on('close', this.#onGone)
    socket.resume()
  }

  /** What came so far; the socket is paused and listened to no more. */
  stop(): Buffer {
    this.#socket.pause()
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onGone)
    this.#socket.off('close', this.#onGone)
    return Buffer.concat(this.#parts)
  }
}

export function createSshConnect(deps: SshConnectDeps): SshConnect {
  /** Opens the relay for an admitted session: `200` follows the claim, so that a failure is still an answer (W15). */
  const openRelay = async (session: FoundSession, gone: AbortSignal, log: Logger): Promise<Duplex> => {
    try {
      const pending = await deps.relays.open(session.sandboxId, LIMITS.tunnelSupervisorWaitMs, gone)
      return await pending.claimed
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      if (!gone.aborted) log.warn('SSH tunnel: relay not available', { kind: error.kind, cause: error.publicText })
      throw new Refused(502)
    }
  }

  const tunnel = async (session: FoundSession, socket: Duplex, head: Buffer, log: Logger): Promise<void> => {
    const slot = deps.tunnels.admit(session)
    if (!slot) {
      log.warn('SSH tunnel: connection limit reached')
      throw new Refused(429)
    }
    const early = new EarlyBytes(socket)
    try {
      // A revocation since the first look found no tunnel to cut; from here on it finds this one.
      if (!(await isCurrent(deps.store, session))) throw new Refused(401)
      const relay = await openRelay(session, AbortSignal.any([early.gone.signal, slot.signal]), log)
      const bytes = early.stop()
      if (head.length + bytes.length > 0) relay.write(Buffer.concat([head, bytes]))
      socket.write(ACCEPTED)
      log.info('SSH tunnel: relay established, bridging client')
      const moved = await joinStreams(socket, relay, deps.clock, slot.signal)
      log.info('SSH tunnel: closed', {
        ...moved,
        ...(slot.signal.aborted ? { reason: String(slot.signal.reason) } : {}),
      })
    } catch (error) {
      const bytes = early.stop()
      if (early.gone.signal.aborted) return void socket.destroy()
      if (bytes.length > 0) socket.unshift(bytes)
      throw error
    } finally {
      slot.release()
    }
  }

  return (request, socket, head, peer, refuse) => {
    const log = deps.log.child({ peer: peer.address })
    socket.on('error', () => {})
    const run = async () => {
      const session = await admitSession(request, deps)
      await tunnel(session, socket, head, log.child({ sandbox_id: session.sandboxId }))
    }
    run().catch(error => {
      if (error instanceof Refused) return refuse(emptyAnswer(error.status))
      log.error('SSH tunnel failed', { cause: errorText(error), store: error instanceof StoreFailure })
      if (!socket.destroyed) refuse(emptyAnswer(500))
    })
  }
}
