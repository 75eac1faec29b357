import { createBackoff } from '../base/backoff.ts'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Init } from '../wire/codec.ts'
import { type Connection, DialError, type DriverMethod, dial, TimedOut } from './connection.ts'
import { type CallOptions, DriverError, type DriverState } from './contract.ts'
import { inspectSocket } from './socket-path.ts'

export interface ChannelOptions {
  /** Absolute path, already accepted by `refuseSocketPath`. */
  readonly path: string
  /** Names the driver in errors, logs and readiness, e.g. `compute driver`. */
  readonly label: string
  /** The reference's words for this socket at start, e.g. `external compute driver socket` (spec/gateway.md §15). */
  readonly startLabel: string
  /** Users that may stand behind the socket; none = any (D-15). */
  readonly uids?: readonly number[]
  /** 0 = wait for ever (decision 15). */
  readonly connectTimeoutMs: number
  readonly log: Logger
  /**
   * Speaks the first words on a new connection. A `StartError` means a wrong peer, anything else that it is not there
   * yet; calls are let through only after it resolved.
   */
  readonly greet: (connection: Connection) => Promise<void>
  /** One more sentence about why the driver may be absent, for a driver that we started ourselves. */
  readonly explain?: () => string | null
  readonly clock?: Clock
  readonly timings?: Partial<ChannelTimings>
}

/** Figures of limits.ts that a test shortens. */
export interface ChannelTimings {
  readonly dialMs: number
  readonly backoffFirstMs: number
  readonly backoffMostMs: number
  readonly pathPollMs: number
  readonly logEveryMs: number
  readonly retryWaitMs: number
  readonly steadyMs: number
}

/** One unary call. */
export interface ChannelCall {
  readonly timeoutMs: number
  readonly options?: CallOptions | undefined
  /** Once more on the next connection when this one broke in the middle: only for calls that change nothing (D-03). */
  readonly canRepeat: boolean
}

/**
 * The way to one driver: dials its path for ever, lets calls through while it is connected, refuses them at once while
 * it is not (decision 15, D-02…D-07).
 */
export interface DriverChannel {
  readonly state: DriverState
  /** Calls in flight, without the channel's own. */
  readonly inFlight: number
  call<Q, A>(method: DriverMethod<Q, A>, request: Init<Q>, call: ChannelCall): Promise<A>
  /** The live connection; waits for one, or resolves null when `signal` aborts. */
  connected(signal: AbortSignal): Promise<Connection | null>
  /** Resolves when a driver was greeted; rejects with a `StartError` (decision 15). */
  start(): Promise<void>
  close(): Promise<void>
}

const DEFAULTS: ChannelTimings = {
  dialMs: LIMITS.driverDialMs,
  backoffFirstMs: LIMITS.driverBackoffFirstMs,
  backoffMostMs: LIMITS.driverBackoffMostMs,
  pathPollMs: LIMITS.driverPathPollMs,
  logEveryMs: LIMITS.driverLogEveryMs,
  retryWaitMs: LIMITS.driverRetryWaitMs,
  steadyMs: LIMITS.driverConnectionSteadyMs,
}

export function createDriverChannel(options: ChannelOptions): DriverChannel {
  return new Channel(options)
}

class Channel implements DriverChannel {
  readonly #options: ChannelOptions
  readonly #clock: Clock
  readonly #timings: ChannelTimings
  readonly #closing = new AbortController()
  readonly #waiting = new Set<(connection: Connection) => void>()
  #connection: Connection | null = null
  #missing = 'not connected yet'
  #inFlight = 0
  #timeouts = 0
  #wasReady = false
  #lastLoggedMs = Number.NEGATIVE_INFINITY
  #loop: Promise<void> | null = null
  /** The socket that was dialled last. */
  #tried: string | null = null

  constructor(options: ChannelOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#timings = { ...DEFAULTS, ...options.timings }
  }

  get state(): DriverState {
    if (this.#connection && !this.#connection.isOver) return { status: 'ready' }
    const told = this.#options.explain?.()
    const { label, path } = this.#options
    const hint = told ?? 'the driver may not be running yet, or may have failed to start'
    return { status: 'unavailable', reason: `${label} at '${path}' is not connected: ${this.#missing}; ${hint}` }
  }

  get inFlight(): number {
    return this.#inFlight
  }

  async call<Q, A>(method: DriverMethod<Q, A>, request: Init<Q>, call: ChannelCall): Promise<A> {
    const { label } = this.#options
    if (this.#inFlight >= LIMITS.driverCallsInFlight)
      throw new DriverError(
        'RESOURCE_EXHAUSTED',
        `${label} is busy: ${LIMITS.driverCallsInFlight} calls in flight`,
        false,
      )
    this.#inFlight++
    try {
      return await this.#callWithin(method, request, call)
    } finally {
      this.#inFlight--
    }
  }

  async #callWithin<Q, A>(method: DriverMethod<Q, A>, request: Init<Q>, call: ChannelCall): Promise<A> {
    const timeoutMs = Math.min(call.timeoutMs, call.options?.timeoutMs ?? call.timeoutMs)
    const endMs = this.#clock.monotonicMs() + timeoutMs
    const first = (await this.#newcomer(timeoutMs, call.options?.signal)) ?? this.#require()
    try {
      return await this.#once(first, method, request, call, timeoutMs)
    } catch (error) {
      if (!call.canRepeat || !first.isBroken || !isLost(error)) throw error
      const leftMs = endMs - this.#clock.monotonicMs()
      const second = await this.#next(Math.min(leftMs, this.#timings.retryWaitMs), call.options?.signal)
      if (!second) throw error
      return this.#once(second, method, request, call, Math.max(1, endMs - this.#clock.monotonicMs()))
    }
  }

  async #once<Q, A>(
    connection: Connection,
    method: DriverMethod<Q, A>,
    request: Init<Q>,
    call: ChannelCall,
    timeoutMs: number,
  ): Promise<A> {
    try {
      const answer = await connection.unary(method, request, { timeoutMs, signal: call.options?.signal })
      this.#timeouts = 0
      return answer
    } catch (error) {
      if (!(error instanceof TimedOut)) {
        if (!connection.isBroken && !call.options?.signal?.aborted) this.#timeouts = 0
      } else if (timeoutMs >= call.timeoutMs) this.#countTimeout(connection)
      throw error
    }
  }

  /** The breaker: a connection on which nothing is answered is given up, and the next one must answer a greeting first (D-04). */
  #countTimeout(connection: Connection): void {
    this.#timeouts++
    if (this.#timeouts >= LIMITS.driverTimeoutsToTrip)
      connection.retire(`${this.#timeouts} calls in a row were not answered`)
  }

  /** A driver that stands at the path since the last try is a moment away: the call waits for its greeting. */
  async #newcomer(timeoutMs: number, signal: AbortSignal | undefined): Promise<Connection | null> {
    if (this.#connection && !this.#connection.isOver) return this.#connection
    const identity = identityOf(this.#options.path)
    if (identity === null || identity === this.#tried) return null
    return await this.#next(Math.min(timeoutMs, this.#timings.retryWaitMs), signal)
  }

  #require(): Connection {
    if (this.#connection && !this.#connection.isOver) return this.#connection
    throw new DriverError('UNAVAILABLE', `${this.#options.label} unavailable: ${this.#missing}`, false)
  }

  async #next(withinMs: number, signal: AbortSignal | undefined): Promise<Connection | null> {
    if (withinMs <= 0) return null
    const giveUp = new AbortController()
    const timer = this.#clock.after(withinMs, () => giveUp.abort())
    try {
      return await this.connected(signal ? AbortSignal.any([giveUp.signal, signal]) : giveUp.signal)
    } finally {
      timer.cancel()
    }
  }

  async connected(signal: AbortSignal): Promise<Connection | null> {
    if (this.#connection && !this.#connection.isOver) return this.#connection
    if (signal.aborted || this.#closing.signal.aborted) return null
    const { promise, resolve } = Promise.withResolvers<Connection | null>()
    const giveUp = () => resolve(null)
    const either = AbortSignal.any([signal, this.#closing.signal])
    this.#waiting.add(resolve)
    either.addEventListener('abort', giveUp, { once: true })
    try {
      return await promise
    } finally {
      either.removeEventListener('abort', giveUp)
      this.#waiting.delete(resolve)
    }
  }

  start(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#loop ??= this.#run(resolve, reject)
    return promise
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#connection?.destroy()
    await this.#loop
  }

  /** Dial, greet, live, dial again. Ends when the channel closes or the start failed for good. */
  async #run(started: () => void, failed: (error: StartError) => void): Promise<void> {
    const closing = this.#closing.signal
    const backoff = createBackoff(this.#timings.backoffFirstMs, this.#timings.backoffMostMs)
    const beganMs = this.#clock.monotonicMs()
    while (!closing.aborted) {
      const triedMs = this.#clock.monotonicMs()
      const identity = identityOf(this.#options.path)
      this.#tried = identity
      try {
        const connection = await this.#connect()
        started()
        const bornMs = this.#clock.monotonicMs()
        await this.#live(connection)
        if (this.#clock.monotonicMs() - bornMs >= this.#timings.steadyMs) backoff.reset()
        else await sleep(this.#clock, backoff.nextMs(), closing)
      } catch (error) {
        if (closing.aborted) break
        if (!this.#wasReady && error instanceof StartError) return failed(error)
        this.#missing = errorText(error)
        this.#logMissing()
        const { connectTimeoutMs } = this.#options
        if (!this.#wasReady && connectTimeoutMs > 0 && this.#clock.monotonicMs() - beganMs >= connectTimeoutMs)
          return failed(this.#timedOut())
        const waitMs = Math.max(
          this.#timings.backoffFirstMs / 2,
          backoff.nextMs() - (this.#clock.monotonicMs() - triedMs),
        )
        if (await this.#waitForChange(waitMs, identity)) backoff.reset()
      }
    }
    failed(new StartError(`${this.#options.label}: closed`))
  }

  async #connect(): Promise<Connection> {
    const { path, label } = this.#options
    const finding = inspectSocket(path)
    if (finding.kind === 'wrong') throw new StartError(`${label} socket '${path}' is ${finding.what}, not a socket`)
    if (finding.kind === 'absent') throw new DialError('No such file or directory (os error 2)')
    const connection = await dial({
      path,
      label,
      uids: this.#options.uids ?? [],
      timeoutMs: this.#timings.dialMs,
      clock: this.#clock,
      signal: this.#closing.signal,
    })
    try {
      await this.#options.greet(connection)
      if (connection.isOver) throw new DialError(await connection.over)
      for (const warning of this.#wasReady ? [] : finding.warnings)
        this.#options.log.warn('driver socket has loose permissions', { driver: label, path, warning })
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    }
  }

  async #live(connection: Connection): Promise<void> {
    const { log, label, path } = this.#options
    this.#wasReady = true
    this.#timeouts = 0
    this.#connection = connection
    this.#lastLoggedMs = Number.NEGATIVE_INFINITY
    log.info('driver connected', { driver: label, path, uid: connection.peerUid ?? undefined })
    for (const resolve of [...this.#waiting]) resolve(connection)
    const reason = await connection.over
    this.#connection = null
    this.#missing = reason
    if (!this.#closing.signal.aborted) log.warn('driver connection ended', { driver: label, path, reason })
  }

  #logMissing(): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#lastLoggedMs < this.#timings.logEveryMs) return
    this.#lastLoggedMs = nowMs
    const { log, label, path, explain } = this.#options
    log.warn('driver not reachable', { driver: label, path, reason: this.#missing, hint: explain?.() ?? undefined })
  }

  #timedOut(): StartError {
    const { startLabel, path } = this.#options
    const last = `execution error: failed to connect to ${startLabel} '${path}': transport error (${this.#missing})`
    return new StartError(`execution error: timed out waiting for ${startLabel} '${path}': ${last}`)
  }

  /** Waits, but no longer than until another socket stands at the path; true when one does. */
  async #waitForChange(waitMs: number, identity: string | null): Promise<boolean> {
    const endMs = this.#clock.monotonicMs() + waitMs
    for (;;) {
      const leftMs = endMs - this.#clock.monotonicMs()
      if (leftMs <= 0 || this.#closing.signal.aborted) return false
      await sleep(this.#clock, Math.min(leftMs, this.#timings.pathPollMs), this.#closing.signal)
      const now = identityOf(this.#options.path)
      if (now !== null && now !== identity) return true
    }
  }
}

function identityOf(path: string): string | null {
  const finding = inspectSocket(path)
  return finding.kind === 'socket' ? finding.identity : null
}

/** A broken connection reads as one of these, depending on what broke first. */
const isLost = (error: unknown): boolean =>
  error instanceof DriverError && error.kind === 'UNAVAILABLE' && error.mayHaveHappened
