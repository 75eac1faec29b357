import type { Duplex, Readable } from 'node:stream'
import type { Client, ClientChannel, ConnectConfig } from 'ssh2'
import type { Clock, Timer } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { exitCodeOf, exitCodeOfSignal } from '../domain/exec-command.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { LIMITS } from '../limits.ts'
import type { Init } from '../wire/codec.ts'
import type { ExecSandboxEvent } from '../wire/messages.generated.ts'

/** One command, ready to be run by the sandbox's shell. */
export interface ExecJob {
  readonly line: string
  readonly stdin: Uint8Array
  readonly tty: boolean
  /** Covers handshake and command; 0 = no limit. At its end the answer is exit code 124. */
  readonly timeoutMs: number
}

export interface ExecSurroundings {
  readonly clock: Clock
  /** The caller went away: the remote command is told to end. */
  readonly signal: AbortSignal
  /** Resolves when the caller takes more. */
  write(event: Init<ExecSandboxEvent>): Promise<void>
}

const TIMEOUT_EXIT_CODE = 124
/** What an event weighs beside its bytes: a daemon may send any number of packets with next to nothing in them. */
const EVENT_BYTES = 256
const TERMINAL = { term: 'xterm-256color', cols: 80, rows: 24, width: 0, height: 0 }

/** Private to ssh2, whose own way to send a signal does nothing once standard input has ended. */
interface Inside {
  readonly _client: { readonly _protocol: { signal(channel: number, name: string): void } }
  readonly outgoing: { readonly id: number }
}

type Outcome = { readonly exitCode: number } | { readonly error: GatewayError }

const lost = (): Outcome => ({ error: new GatewayError('UNAVAILABLE', RELAY_TEXTS.relayDropped) })

/**
 * Runs a command over a claimed relay by SSH (spec/relay.md §6.3): output in the order it arrives, then the exit
 * code as the last event. Owns the relay. Throws the status when there is no exit code to tell: a relay that dies is
 * UNAVAILABLE, never a number.
 */
export async function runExec(relay: Duplex, job: ExecJob, around: ExecSurroundings): Promise<void> {
  // The largest library of the gateway: loaded by the first exec, not by every start.
  const ssh = await import('ssh2')
  const run = new ExecRun(new ssh.Client(), relay, job, around)
  try {
    const outcome = await run.outcome
    await run.flushed()
    if ('error' in outcome) throw outcome.error
    await around.write({ exit: { exit_code: outcome.exitCode } })
  } finally {
    run.close()
  }
}

class ExecRun {
  readonly outcome: Promise<Outcome>
  readonly #relay: Duplex
  readonly #job: ExecJob
  readonly #around: ExecSurroundings
  readonly #client: Client
  readonly #timers: Timer[] = []
  #channel: ClientChannel | null = null
  #reply: Timer | null = null
  #silence: Timer | null = null
  #closing: Timer | null = null
  #settle!: (outcome: Outcome) => void
  #isSettled = false
  #ready = false
  #exitCode: number | null = null
  #heardMs: number
  #queue: Init<ExecSandboxEvent>[] = []
  #queuedBytes = 0
  #received = 0
  #writing: Promise<void> = Promise.resolve()
  #isWriting = false
  readonly #onAbort = () => this.#finish({ error: new GatewayError('CANCELLED', 'call ended') })

  constructor(client: Client, relay: Duplex, job: ExecJob, around: ExecSurroundings) {
    this.#client = client
    this.#relay = relay
    this.#job = job
    this.#around = around
    this.#heardMs = around.clock.monotonicMs()
    this.outcome = new Promise(resolve => (this.#settle = resolve))
    around.signal.addEventListener('abort', this.#onAbort, { once: true })
    if (job.timeoutMs > 0)
      this.#timers.push(around.clock.after(job.timeoutMs, () => this.#finish({ exitCode: TIMEOUT_EXIT_CODE })))
    this.#connect()
    if (around.signal.aborted) this.#onAbort()
  }

  #finish(outcome: Outcome): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#endCommand()
    this.#settle(outcome)
  }

  #fail(what: string, error: unknown): void {
    this.#finish({ error: new GatewayError('INTERNAL', `failed to ${what}: ${errorText(error)}`, { cause: error }) })
  }

  #connect(): void {
    const client = this.#client
    client.on('error', error => this.#onError(error))
    client.on('close', () => this.#onClose())
    client.on('ready', () => this.#start())
    // Not an end as the other side makes one: nobody knows what became of the command (W22).
    const onLost = () => void (this.#relay.readableEnded || this.#finish(this.#exitOr(lost)))
    this.#relay.on('error', onLost)
    this.#relay.once('close', onLost)
    // The library expects a socket that closes when the other end has ended.
    this.#relay.once('end', () => this.#relay.end())
    this.#relay.on('data', () => (this.#heardMs = this.#around.clock.monotonicMs()))
    try {
      client.connect({
        sock: this.#relay,
        username: 'sandbox',
        authHandler: ['none'],
        // The daemon makes a key at each start: there is nothing to compare it with (spec/relay.md §7).
        hostVerifier: () => true,
        readyTimeout: LIMITS.execHandshakeMs,
        keepaliveInterval: LIMITS.execKeepaliveMs,
        // Silence is judged by #watch: a held-back relay delivers no answers either.
        keepaliveCountMax: Number.MAX_SAFE_INTEGER,
      } as unknown as ConnectConfig)
    } catch (error) {
      this.#fail('establish ssh transport', error)
    }
  }

  /** The exit code when there is one, whatever happened since. */
  #exitOr(otherwise: () => Outcome): Outcome {
    return this.#exitCode === null ? otherwise() : { exitCode: this.#exitCode }
  }

  #onError(error: Error & { level?: string }): void {
    if (this.#ready) return this.#finish(this.#exitOr(lost))
    if (error.level !== 'client-authentication') return this.#fail('establish ssh transport', error)
    this.#finish({ error: new GatewayError('PERMISSION_DENIED', RELAY_TEXTS.sshRejected, { cause: error }) })
  }

  #onClose(): void {
    if (this.#ready) this.#finish(this.#exitOr(lost))
    else this.#fail('establish ssh transport', 'disconnected')
  }

  #start(): void {
    this.#ready = true
    this.#watch()
    this.#reply = this.#around.clock.after(LIMITS.execReplyMs, () =>
      this.#fail('execute command over ssh', 'no answer'),
    )
    this.#timers.push(this.#reply)
    this.#client.exec(this.#job.line, this.#job.tty ? { pty: TERMINAL } : {}, (error, channel) => {
      this.#reply?.cancel()
      if (!error) return this.#follow(channel)
      if (this.#relay.destroyed) return this.#finish(lost())
      const what =
        'reason' in error ? 'open ssh channel' : /pseudo-terminal/.test(error.message) ? 'allocate PTY' : null
      this.#fail(what ?? 'execute command over ssh', error)
    })
  }

  /** Ends an exec whose relay carries nothing, not even answers to keep-alives, while the gateway is ready to read (W21). */
  #watch(): void {
    this.#silence = this.#around.clock.after(LIMITS.execKeepaliveMs, () => {
      if (this.#isSettled) return
      const now = this.#around.clock.monotonicMs()
      if (this.#relay.isPaused()) this.#heardMs = now
      if (now - this.#heardMs > LIMITS.execKeepaliveMs * LIMITS.execKeepalivesMissed) this.#finish(lost())
      else this.#watch()
    })
  }

  #follow(channel: ClientChannel): void {
    this.#channel = channel
    channel.on('error', () => {})
    this.#tap(channel, data => ({ stdout: { data } }))
    this.#tap(channel.stderr, data => ({ stderr: { data } }))
    channel.on('exit', (code: number | null, signal?: string) => {
      this.#exitCode = code === null ? exitCodeOfSignal(signal ?? '') : exitCodeOf(code)
      this.#awaitClose()
    })
    channel.on('close', () => this.#finish(this.#exitOr(lost)))
    channel.end(this.#job.stdin.length > 0 ? Buffer.from(this.#job.stdin) : undefined)
    if (this.#isSettled) this.#endCommand()
  }

  /**
   * A daemon that told the exit status need not close the channel (W23). But OpenSSH's tells it before the last of the
   * output, or the output of what the command left running: what still comes, or waits for its reader, comes first.
   */
  #awaitClose(): void {
    const seen = this.#received
    this.#closing = this.#around.clock.after(LIMITS.execCloseMs, () => {
      if (this.#received !== seen || this.#relay.isPaused()) this.#awaitClose()
      else this.#finish(this.#exitOr(lost))
    })
  }

  /**
   * Takes output as the library parses it. Two streams with a queue each would lose the order between stdout and
   * stderr whenever several packets come at once.
   */
  #tap(stream: Readable, toEvent: (data: Buffer) => Init<ExecSandboxEvent>): void {
    const push = stream.push
    stream.push = (data: Buffer | null) => {
      if (data === null) return push.call(stream, null)
      this.#emit(toEvent(data), data.length)
      return true
    }
    stream.on('error', () => {})
    stream.resume()
  }

  #emit(event: Init<ExecSandboxEvent>, bytes: number): void {
    if (this.#isSettled) return
    this.#queue.push(event)
    this.#queuedBytes += bytes + EVENT_BYTES
    this.#received += bytes
    // The relay is held back, not the channels: so output keeps the order in which it came.
    if (this.#queuedBytes > LIMITS.execBufferBytes) this.#relay.pause()
    if (this.#isWriting) return
    this.#isWriting = true
    this.#writing = this.#drain()
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        const event = this.#queue.shift()
        if (!event) return
        await this.#around.write(event)
        this.#queuedBytes -= (event.stdout ?? event.stderr)!.data!.length + EVENT_BYTES
        if (this.#relay.isPaused() && this.#queuedBytes < LIMITS.execBufferBytes / 2) this.#relay.resume()
      }
    } catch (error) {
      this.#queue = []
      this.#finish({
        error: error instanceof GatewayError ? error : new GatewayError('CANCELLED', 'call ended', { cause: error }),
      })
    } finally {
      this.#isWriting = false
    }
  }

  /** Resolves when what was received before the outcome has been written. */
  async flushed(): Promise<void> {
    while (this.#isWriting) await this.#writing
  }

  /** Nobody waits for the command any more, be it that the caller is gone or the time over: it is asked, then made, to end (W20). */
  #endCommand(): void {
    if (this.#exitCode !== null) return
    try {
      const { _client: connection, outgoing } = (this.#channel ?? {}) as Partial<Inside>
      connection?._protocol.signal(outgoing!.id, 'TERM')
      this.#channel?.close()
    } catch {
      // The connection is already gone, which ends the command as well as it can be.
    }
  }

  /** Drops the connection; what remains is over within `relayLingerMs`. */
  close(): void {
    this.#around.signal.removeEventListener('abort', this.#onAbort)
    for (const timer of this.#timers) timer.cancel()
    this.#silence?.cancel()
    this.#closing?.cancel()
    this.#queue = []
    this.#relay.resume()
    try {
      this.#channel?.close()
      this.#client.end()
    } catch {
      // Already disconnected.
    }
    this.#around.clock.after(LIMITS.relayLingerMs, () => this.#relay.destroy())
  }
}
