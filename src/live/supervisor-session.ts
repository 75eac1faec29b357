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
  readonly requests: AsyncIterable<SupervisorMessage>
  /** Resolves when the stream may take another message. */
  send(message: Init<GatewayMessage>): Promise<void>
  /** Aborts when the call is over. */
  readonly signal: AbortSignal
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
  #wake: (() => void) | null = null
  #timers: Timer[] = []
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
    this.#wake?.()
    return true
  }

  /** Ends the stream: OK after what is queued, or with a status. */
  end(error?: GatewayError): void {
    if (this.#over) return
    this.#over = true
    for (const timer of this.#timers) timer.cancel()
    this.#wake?.()
    if (error) this.#fail(error)
  }

  /** Runs the session until something ends it; throws the status if it was not a plain end. */
  async run(stream: ControlStream): Promise<void> {
    const onAbort = () => this.end()
    stream.signal.addEventListener('abort', onAbort, { once: true })
    this.#beat()
    const writing = this.#write(stream)
    void this.#read(stream)
    try {
      await this.#ended
      await writing
    } finally {
      stream.signal.removeEventListener('abort', onAbort)
      this.end()
    }
  }

  async #write(stream: ControlStream): Promise<void> {
    for (;;) {
      const message = this.#queue.shift()
      if (message === undefined) {
        if (this.#over) break
        await new Promise<void>(resolve => (this.#wake = resolve))
        this.#wake = null
        continue
      }
      const late = this.#parts.clock.after(LIMITS.supervisorSendMs, () => this.#giveUp(RELAY_TEXTS.supervisorSlow))
      try {
        await stream.send(message)
      } catch {
        this.end()
        this.#queue = []
      } finally {
        late.cancel()
      }
    }
    this.#finish()
  }

  async #read(stream: ControlStream): Promise<void> {
    try {
      for await (const message of stream.requests) {
        if (this.#over) return
        this.#take(message)
      }
    } catch (error) {
      this.end(error instanceof GatewayError ? error : undefined)
    }
    this.end()
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
  #beat(): void {
    if (this.#over) return
    this.#timers = [
      this.#parts.clock.after(LIMITS.heartbeatSecs * 1000, () => {
        if (this.#beats && this.#parts.clock.monotonicMs() - this.#heardMs > LIMITS.supervisorSilenceMs)
          return this.#giveUp(RELAY_TEXTS.supervisorSilent)
        this.send(HEARTBEAT)
        this.#beat()
      }),
    ]
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
