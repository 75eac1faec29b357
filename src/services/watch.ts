import { type Clock, sleep } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { createLogFilter, type FilteredLine } from '../domain/log-filter.ts'
import { isTerminalPhase } from '../domain/phase.ts'
import { LIMITS } from '../limits.ts'
import type { PlatformEvents, StoredEvent } from '../live/platform-events.ts'
import type { Ring } from '../live/ring.ts'
import type { SandboxLogs, StoredLine } from '../live/sandbox-logs.ts'
import type { Closing, Subscription, WatchBus } from '../live/watch-bus.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handlers, Outbound } from '../rpc/handlers.ts'
import type { Store } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { SandboxStreamEvent, WatchSandboxRequest } from '../wire/messages.generated.ts'
import { emittedSandbox, outlineSandbox } from '../wire/sandbox-bytes.ts'
import { spliceField } from '../wire/splice.ts'
import { SANDBOX_TEXTS } from './sandbox-texts.ts'
import { storing } from './store-errors.ts'

/** Field numbers of `SandboxStreamEvent`. */
const SNAPSHOT = 1
const LOG = 2
const EVENT = 3
const WARNING = 4

/** How long a watcher that finds no record waits to be told why. */
const CLOSING_WAIT_MS = 1000

export interface WatchDeps {
  readonly store: Store
  readonly bus: WatchBus
  readonly logs: SandboxLogs
  readonly events: PlatformEvents
  readonly clock: Clock
}

/** WatchSandbox (spec/sandbox.md §5, W16 to W19). */
export function createWatchService(deps: WatchDeps): Handlers {
  const places = createPlaces()
  return {
    async WatchSandbox(request, out, context) {
      if (request.id === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.idRequired)
      const leave = places.take(context)
      out.open()
      const subscription = deps.bus.subscribe(request.id)
      try {
        await new Watch(deps, request, out, subscription, context.signal).run()
      } finally {
        subscription.close()
        leave()
      }
    },
  }
}

/** Counts open watches, of all callers and of each user. */
function createPlaces(): { take(context: CallContext): () => void } {
  const byUser = new Map<string, number>()
  let all = 0
  return {
    take({ principal }) {
      const user = principal.kind === 'user' ? `${principal.issuer} ${principal.subject}` : null
      const mine = user === null ? 0 : (byUser.get(user) ?? 0)
      if (all >= LIMITS.watchStreams || mine >= LIMITS.watchStreamsPerUser)
        throw new GatewayError('RESOURCE_EXHAUSTED', SANDBOX_TEXTS.tooManyWatches)
      all++
      if (user !== null) byUser.set(user, mine + 1)
      return () => {
        all--
        if (user === null) return
        const left = (byUser.get(user) ?? 1) - 1
        if (left > 0) byUser.set(user, left)
        else byUser.delete(user)
      }
    },
  }
}

/** A reader's place in a ring. What was dropped before it was read is counted, never skipped in silence (W18). */
class Cursor<T extends { readonly encoded: Uint8Array; readonly bytes: number }> {
  readonly #find: () => Ring<T> | null
  #ring: Ring<T> | null
  #next: number

  constructor(find: () => Ring<T> | null, tail: number) {
    this.#find = find
    this.#ring = find()
    this.#next = this.#ring ? Math.max(this.#ring.first, this.#ring.next - tail) : 0
  }

  /** Items lost since the last call. */
  lost(): number {
    this.#ring ??= this.#find()
    const lost = Math.max(0, (this.#ring?.first ?? 0) - this.#next)
    this.#next += lost
    return lost
  }

  /** The next item, or null when the reader has them all. */
  take(): T | null {
    this.#ring ??= this.#find()
    const item = this.#ring?.at(this.#next)
    if (!item) return null
    this.#next++
    return item
  }

  get next(): number {
    return this.#next
  }

  /** Number of the item that comes after all that are there. */
  get end(): number {
    return this.#ring?.next ?? 0
  }

  get hasMore(): boolean {
    this.#ring ??= this.#find()
    return this.#ring !== null && this.#next < this.#ring.next
  }
}

/** One open watch. It keeps flags and places, so a reader that stops costs one message and no more. */
class Watch {
  readonly #deps: WatchDeps
  readonly #request: WatchSandboxRequest
  readonly #out: Outbound<SandboxStreamEvent>
  readonly #subscription: Subscription
  readonly #signal: AbortSignal
  readonly #passes: (line: FilteredLine) => boolean
  #logs: Cursor<StoredLine> | null = null
  #events: Cursor<StoredEvent> | null = null
  #changes = 0
  #nudges = 0
  #sent: Uint8Array | null = null

  constructor(
    deps: WatchDeps,
    request: WatchSandboxRequest,
    out: Outbound<SandboxStreamEvent>,
    subscription: Subscription,
    signal: AbortSignal,
  ) {
    this.#deps = deps
    this.#request = request
    this.#out = out
    this.#subscription = subscription
    this.#signal = signal
    const { log_since_ms, log_sources, log_min_level } = request
    this.#passes = createLogFilter({ sinceMs: Number(log_since_ms), sources: log_sources, minLevel: log_min_level })
  }

  /** Resolves for an end with OK, throws for any other. */
  async run(): Promise<void> {
    const payload = await this.#read()
    if (!payload) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.sandboxNotFound)
    if (await this.#send(payload)) return
    this.#openTails()
    await this.#replay()
    while (!this.#signal.aborted) {
      const over = await this.#pass()
      if (over) return
      if (this.#hasWork) continue
      if (this.#subscription.closing) return await this.#close(this.#subscription.closing)
      await this.#subscription.wait(this.#signal)
    }
    throw new GatewayError('CANCELLED', SANDBOX_TEXTS.clientGone)
  }

  /** The tails and what follows them are one sequence, so nothing comes twice (W17). */
  #openTails(): void {
    const { id, follow_logs, follow_events, log_tail_lines, event_tail } = this.#request
    const lines = log_tail_lines === 0 ? LIMITS.logTailDefault : log_tail_lines
    const events = Math.min(event_tail === 0 ? LIMITS.platformEventTail : event_tail, LIMITS.platformEventTail)
    if (follow_logs) this.#logs = new Cursor(() => this.#deps.logs.ring(id), lines)
    if (follow_events) this.#events = new Cursor(() => this.#deps.events.ring(id), events)
  }

  /** The whole log tail comes before the first event, as clients that draw a picture from it expect. */
  async #replay(): Promise<void> {
    const logs = this.#logs
    if (!logs) return
    for (const end = logs.end; logs.next < end && !this.#signal.aborted; ) await this.#sendLogs(logs)
  }

  async #read(): Promise<Uint8Array | null> {
    this.#changes = this.#subscription.changes
    this.#nudges = this.#subscription.nudges
    const row = await storing('fetch sandbox', () => this.#deps.store.get('sandbox', this.#request.id))
    return row?.payload ?? null
  }

  /** Sends what is there now, a bounded number of log lines at a time; true = the watch is over. */
  async #pass(): Promise<boolean> {
    if (this.#logs) await this.#sendLogs(this.#logs)
    if (this.#events) await this.#sendEvents(this.#events)
    return this.#request.follow_status && (await this.#sendStatus())
  }

  get #hasWork(): boolean {
    if (this.#logs?.hasMore || this.#events?.hasMore) return true
    return this.#request.follow_status && !this.#subscription.closing && this.#isStatusStale
  }

  get #isStatusStale(): boolean {
    return this.#subscription.changes !== this.#changes || this.#subscription.nudges !== this.#nudges
  }

  async #sendLogs(logs: Cursor<StoredLine>): Promise<void> {
    await this.#warn(logs.lost(), 'log lines')
    for (let looked = 0; looked < LIMITS.watchBatch; looked++) {
      const line = logs.take()
      if (!line) return
      if (this.#passes(line)) await this.#out.write(spliceField(LOG, [[line.encoded]]))
    }
  }

  async #sendEvents(events: Cursor<StoredEvent>): Promise<void> {
    await this.#warn(events.lost(), 'events')
    for (let event = events.take(); event; event = events.take())
      await this.#out.write(spliceField(EVENT, [[event.encoded]]))
  }

  async #warn(lost: number, what: string): Promise<void> {
    if (lost === 0) return
    const message = `${lost} ${what} were dropped because this stream was read too slowly`
    await this.#out.write(spliceField(WARNING, [[codec('openshell.v1.SandboxStreamWarning').encode({ message })]]))
  }

  async #sendStatus(): Promise<boolean> {
    if (!this.#isStatusStale) return false
    const nudged = this.#subscription.nudges !== this.#nudges
    const payload = await this.#read()
    if (payload) return (nudged || !this.#isSent(payload)) && (await this.#send(payload))
    // The record is gone; the reason follows at once unless another process removed it.
    if (!this.#subscription.closing)
      await Promise.race([
        this.#subscription.wait(this.#signal),
        sleep(this.#deps.clock, CLOSING_WAIT_MS, this.#signal),
      ])
    return this.#subscription.closing === null
  }

  #isSent(payload: Uint8Array): boolean {
    return this.#sent !== null && Buffer.compare(this.#sent, payload) === 0
  }

  /** Sends a snapshot; true = the watch was to stop at such a phase. */
  async #send(payload: Uint8Array): Promise<boolean> {
    const message = await storing('fetch sandbox', async () => spliceField(SNAPSHOT, [emittedSandbox(payload)]))
    await this.#out.write(message)
    this.#sent = payload
    return this.#request.stop_on_terminal && isTerminalPhase(outlineSandbox(payload).phase)
  }

  /** The last state first, then the end that fits how the sandbox went (spec/sandbox.md §5.2). */
  async #close({ how, lastPayload }: Closing): Promise<void> {
    if (this.#request.follow_status && lastPayload && !this.#isSent(lastPayload) && (await this.#send(lastPayload)))
      return
    if (how === 'draining') throw new GatewayError('UNAVAILABLE', SANDBOX_TEXTS.draining)
    if (how === 'removed' && this.#request.follow_status) return
    throw new GatewayError('CANCELLED', SANDBOX_TEXTS.streamClosed)
  }
}
