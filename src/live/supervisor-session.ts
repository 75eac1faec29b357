import type { Clock, Timer } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import type { SupervisorCaller } from '../domain/supervisor-identity.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Init } from '../wire/codec.ts'
import type { GatewayMessage, SupervisorMessage } from '../wire/messages.generated.ts'

/** The two halves of a control stream. */
export interface ControlStream {
  /**
   * Hands over messages in order, those that waited first, and calls `over` once when no more come: with what was
   * wrong with them, or null when the supervisor or the call has ended.
   */
  listen(take: (message: SupervisorMessage) => void, over: (error: GatewayError | null) => void): void
  /** Further messages wait for the next `listen`, and the supervisor with them. */
  pause(): void
  /** Resolves when the stream may take another message; rejects when it is over. */
  send(message: Init<GatewayMessage>): Promise<void>
}

export interface SessionParts {
  readonly id: string
  readonly sandboxId: string
  readonly instanceId: string
  readonly caller: SupervisorCaller
  readonly clock: Clock
  readonly log: Logger
  /** The supervisor says that a relay will not come. */
  readonly onRelayRefused: (channelId: string, reason: string) => void
}

const HEARTBEAT: Init<GatewayMessage> = { heartbeat: {} }

/** One registered control stream: its outbound queue, its heartbeats, and what ends it (spec/relay.md §3). */
export class SupervisorSession {
  readonly id: string
  readonly sandboxId: string
  readonly instanceId: string
  readonly caller: SupervisorCaller
  readonly openedMs: number
  readonly #parts: SessionParts
  #queue: Init<GatewayMessage>[] = []
  #stream: ControlStream | null = null
  #isSending = false
  #beat: Timer | null = null
  #tokens: number = LIMITS.supervisorMessageBurst
  #refilledMs: number
  #heardMs: number
  #beats = false
  #over = false
  #finish!: () => void
  #fail!: (error: GatewayError) => void
  readonly #ended: Promise<void>

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.id = parts.id
    this.sandboxId = parts.sandboxId
    this.instanceId = parts.instanceId
    this.caller = parts.caller
    this.openedMs = this.#refilledMs = this.#heardMs = parts.clock.monotonicMs()
    this.#ended = new Promise((resolve, reject) => {
      this.#finish = resolve
      this.#fail = reject
    })
    this.#ended.catch(() => {})
    // The first message of every session (spec/relay.md §3.1, W5).
    this.#queue.push({ session_accepted: { session_id: this.id, heartbeat_interval_secs: LIMITS.heartbeatSecs } })
  }

  get isOver(): boolean {
    return this.#over
  }

  /** Queues a message; false when the session is over. A queue that is full ends the session. */
  send(message: Init<GatewayMessage>): boolean {
    if (this.#over) return false
    if (this.#queue.length >= LIMITS.supervisorQueue) {
      this.end(new GatewayError('UNAVAILABLE', RELAY_TEXTS.supervisorSlow))
      return false
    }
    this.#queue.push(message)
    this.#pump()
    return true
  }

  /** Ends the stream: OK after what is queued, or with a status. */
  end(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    this.#beat?.cancel()
    if (error) this.#fail(error)
    else this.#pump()
  }

  /** Runs the session until something ends it; rejects with the status if it was not a plain end. */
  run(stream: ControlStream): Promise<void> {
    this.#stream = stream
    this.#startBeat()
    this.#pump()
    stream.listen(
      message => this.#over || this.#take(message),
      error => this.end(error ?? undefined),
    )
    return this.#ended
  }

  /** Sends what is queued, one message at a time; after the last one a session that is over has ended. */
  #pump(): void {
    if (this.#isSending || !this.#stream) return
    const message = this.#queue.shift()
    if (!message) {
      if (this.#over) this.#finish()
      return
    }
    this.#isSending = true
    const late = this.#parts.clock.after(LIMITS.supervisorSendMs, () => this.#giveUp(RELAY_TEXTS.supervisorSlow))
    const next = () => {
      late.cancel()
      this.#isSending = false
      this.#pump()
    }
    this.#stream.send(message).then(next, () => {
      this.#queue = []
      this.end()
      next()
    })
  }

  #take(message: SupervisorMessage): void {
    const now = this.#parts.clock.monotonicMs()
    const refill = ((now - this.#refilledMs) / 1000) * LIMITS.supervisorMessagesPerSecond
    this.#tokens = Math.min(LIMITS.supervisorMessageBurst, this.#tokens + refill) - 1
    this.#refilledMs = this.#heardMs = now
    if (this.#tokens < 0) return this.end(new GatewayError('RESOURCE_EXHAUSTED', RELAY_TEXTS.supervisorFlood))
    const { log, onRelayRefused } = this.#parts
    switch (message.payload) {
      case 'heartbeat':
        this.#beats = true
        break
      case 'relay_open_result':
        if (message.relay_open_result!.success) break
        onRelayRefused(message.relay_open_result!.channel_id, message.relay_open_result!.error)
        break
      case 'relay_close':
        onRelayRefused(message.relay_close!.channel_id, message.relay_close!.reason)
        break
      default:
        log.warn('unexpected supervisor message', { payload: message.payload ?? 'none' })
    }
  }

  /** Sends a heartbeat every interval, and ends a session whose supervisor stopped sending them (W8). */
  #startBeat(): void {
    if (this.#over) return
    this.#beat = this.#parts.clock.after(LIMITS.heartbeatSecs * 1000, () => {
      if (this.#beats && this.#parts.clock.monotonicMs() - this.#heardMs > LIMITS.supervisorSilenceMs)
        return this.#giveUp(RELAY_TEXTS.supervisorSilent)
      this.send(HEARTBEAT)
      this.#startBeat()
    })
  }

  #giveUp(why: string): void {
    this.#parts.log.warn('supervisor session dropped', { reason: why })
    this.#queue = []
    const error = new GatewayError('UNAVAILABLE', why)
    this.end(error)
    // A session that was ending already may hang on its last message.
    this.#fail(error)
  }
}
