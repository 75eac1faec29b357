import { randomUUID } from 'node:crypto'
import type { ClientHttp2Session } from 'node:http2'
import { createBackoff } from '../base/backoff.ts'
import { type Clock, sleep, systemClock, type Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { type Endpoint, openSession } from '../client/channel.ts'
import { type CallEnd, GrpcStream, openCall } from '../client/grpc-stream.ts'
import { LIMITS } from '../limits.ts'
import { encodeInit } from '../live/relay-frame.ts'
import { RelayWire } from '../live/relay-wire.ts'
import type { Logger } from '../observe/log.ts'
import type { GatewayMessage } from '../wire/messages.generated.ts'
import { createSandboxSsh, type SandboxSsh } from './sandbox-ssh.ts'
import { createPushedLog, type PushedLog } from './supervisor-logs.ts'

export interface SupervisorOptions {
  readonly endpoint: Endpoint
  readonly sandboxId: string
  /** Where the sandbox's processes start; it exists. */
  readonly dir: string
  /** The secret of this sandbox, or the fleet's. */
  readonly secret: string
  /** The whole environment of the sandbox's processes. */
  readonly environment: Readonly<Record<string, string>>
  readonly log: Logger
  readonly clock?: Clock
}

/** Why a supervisor stopped for good: its sandbox is gone, or it was told to. */
export type SupervisorEnd = 'sandbox gone' | 'stopped'

const CONNECT_PATH = '/openshell.v1.OpenShell/ConnectSupervisor'
const LOGS_PATH = '/openshell.v1.OpenShell/PushSandboxLogs'
const RELAY_PATH = '/openshell.v1.OpenShell/RelayStream'
const NOT_FOUND = 5

type Control = GrpcStream<'openshell.v1.SupervisorMessage', 'openshell.v1.GatewayMessage'>

/**
 * The supervisor of one local sandbox: dials the gateway, keeps a session, and joins each relay it is asked for to
 * an SSH daemon of its own (spec/relay.md §11). Reconnects for ever, 1 s doubling to 30 s, from the start again after
 * every accepted session; ends when its sandbox is gone or `signal` aborts.
 */
export async function runSupervisor(given: SupervisorOptions, signal: AbortSignal): Promise<SupervisorEnd> {
  const clock = given.clock ?? systemClock
  const logs = createPushedLog(given.sandboxId, given.log)
  const options = { ...given, log: logs.log }
  const daemon = createSandboxSsh({ dir: options.dir, environment: options.environment }, options.log)
  const backoff = createBackoff(LIMITS.supervisorRetryFirstMs, LIMITS.supervisorRetryMostMs)
  try {
    while (!signal.aborted) {
      const end = await holdSession(options, daemon, logs, clock, signal, () => backoff.reset())
      if (end?.code === NOT_FOUND) return 'sandbox gone'
      if (signal.aborted) break
      options.log.warn('supervisor session over', { code: end?.code ?? null, cause: end?.details ?? 'not connected' })
      await sleep(clock, backoff.nextMs(), signal)
    }
    return 'stopped'
  } finally {
    daemon.stop()
  }
}

/** One connection and its session, to its end; null when the gateway could not be reached. */
async function holdSession(
  options: SupervisorOptions,
  daemon: SandboxSsh,
  logs: PushedLog,
  clock: Clock,
  signal: AbortSignal,
  onAccepted: () => void,
): Promise<CallEnd | null> {
  let session: ClientHttp2Session
  try {
    session = await openSession(options.endpoint)
  } catch (error) {
    options.log.warn('gateway not reached', { cause: errorText(error) })
    return null
  }
  const headers = { 'x-sandbox-secret': options.secret, 'x-sandbox-id': options.sandboxId }
  const stop = () => session.destroy()
  if (signal.aborted) {
    stop()
    return null
  }
  signal.addEventListener('abort', stop, { once: true })
  const pings = startPings(session, clock)
  try {
    const control: Control = new GrpcStream(
      openCall(session, CONNECT_PATH, headers),
      'openshell.v1.SupervisorMessage',
      'openshell.v1.GatewayMessage',
    )
    await control.send({ hello: { sandbox_id: options.sandboxId, instance_id: randomUUID() } })
    await followControl(control, clock, message => {
      if (message.session_accepted) {
        onAccepted()
        options.log.info('supervisor session accepted', { session_id: message.session_accepted.session_id })
        pushLogs(session, headers, logs)
      }
      if (message.relay_open) openRelay(session, headers, message.relay_open.channel_id, daemon)
    })
    // Whoever ended the answer without a status sends none later either.
    control.end()
    return await control.ended
  } finally {
    pings.cancel()
    signal.removeEventListener('abort', stop)
    session.close()
    // Relays that still run outlive the control stream, as long as their connection does.
    if (signal.aborted) session.destroy()
  }
}

/** Reads the control stream to its end, with a heartbeat at the interval the gateway announced. */
async function followControl(control: Control, clock: Clock, take: (message: GatewayMessage) => void): Promise<void> {
  let timer: Timer | null = null
  const beat = (everyMs: number) => {
    timer = clock.after(everyMs, () => {
      void control.send({ heartbeat: {} })
      beat(everyMs)
    })
  }
  try {
    for await (const message of control.messages()) {
      if (message.session_accepted) beat(Math.max(message.session_accepted.heartbeat_interval_secs, 5) * 1000)
      take(message)
    }
  } finally {
    ;(timer as Timer | null)?.cancel()
  }
}

/** Sends the supervisor's log lines for as long as the connection is there. */
function pushLogs(session: ClientHttp2Session, headers: Record<string, string>, logs: PushedLog): void {
  const stream = openCall(session, LOGS_PATH, headers)
  void logs.pushTo(
    new GrpcStream(stream, 'openshell.v1.PushSandboxLogsRequest', 'openshell.v1.PushSandboxLogsResponse'),
  )
  stream.resume()
}

/** Claims a relay and serves SSH on it, once the gateway has accepted the claim. */
function openRelay(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  channelId: string,
  daemon: SandboxSsh,
): void {
  const stream = openCall(session, RELAY_PATH, headers)
  stream.on('error', () => {})
  stream.write(encodeInit(channelId))
  stream.once('response', head => {
    if (head['grpc-status'] !== undefined) return void stream.close()
    daemon.serve(new RelayWire(stream, { awaitsInit: false }))
  })
}

/** Finds a dead connection: a ping every 10 s, 20 s without an answer ends the session (spec/relay.md §2). */
function startPings(session: ClientHttp2Session, clock: Clock): Timer {
  let answeredMs = clock.monotonicMs()
  let timer: Timer
  const tick = () => {
    if (session.destroyed || session.closed) return
    if (clock.monotonicMs() - answeredMs > LIMITS.supervisorPingTimeoutMs) return session.destroy()
    session.ping(Buffer.alloc(8), error => {
      if (!error) answeredMs = clock.monotonicMs()
    })
    timer = clock.after(LIMITS.supervisorPingMs, tick)
  }
  timer = clock.after(LIMITS.supervisorPingMs, tick)
  return { cancel: () => timer.cancel() }
}
