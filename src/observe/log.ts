import type { Clock } from '../base/clock.ts'
import { escapeUnprintable } from '../base/unprintable.ts'
import { LIMITS } from '../limits.ts'

/** What a line may carry beside its text. Values are printed as JSON; a `Secret` prints as a placeholder. */
export type LogFields = Readonly<Record<string, unknown>>

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/**
 * Writes one JSON object per line. `message` is a fixed text; everything variable goes into `fields`, where control
 * and bidirectional characters are escaped (I-01). A line with a `sandbox_id` field also reaches that sandbox's log
 * tail (spec/gateway.md §13.1). Logging never blocks and never throws (decision 26).
 */
export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger
}

export const LOG_LEVELS: Readonly<Record<LogLevel, number>> = { trace: 0, debug: 1, info: 2, warn: 3, error: 4 }

/** Where finished lines go. */
export interface LogSink {
  /** Queues one line; never blocks. `keep` lines (audit) are dropped last. */
  write(line: string, keep: boolean): void
  /** Waits until what was queued is written, at most `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>
  /** Lines that were lost so far. */
  readonly dropped: number
  /** Why lines are lost or soon will be, in words fit for `/readyz`; null while they are kept (O-03). */
  readonly fault: string | null
  /** Lines dropped since this was last asked; 0 while the reader is still behind. */
  takeDropped(): number
}

export type LogFormat = 'json' | 'text'

export interface LogOptions {
  readonly sink: LogSink
  readonly format: LogFormat
  /** Decides whether a level is shown; `off` shows nothing. */
  readonly level: LogLevel | 'off'
  readonly clock: Clock
  /** Sees every line that carries a `sandbox_id`, whatever the shown level (spec/gateway.md W-18). */
  readonly onSandboxLine?: (line: SandboxLine) => void
}

/** A gateway line about one sandbox, as its log tail keeps it. */
export interface SandboxLine {
  readonly sandboxId: string
  readonly timestampMs: number
  readonly level: string
  readonly target: string
  readonly message: string
}

/** The root logger, with a switch for the level (SIGHUP, decision 23). */
export interface RootLogger extends Logger {
  setLevel(level: LogLevel | 'off'): void
  /** One line that is dropped last when nobody reads the log; always shown. */
  audit(message: string, fields: LogFields): void
}

const clip = (value: unknown): unknown => {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'string' && value.length > LIMITS.logFieldChars)
    return `${value.slice(0, LIMITS.logFieldChars)}…`
  if (value instanceof Error) return `${value.name}: ${value.message}`.slice(0, LIMITS.logFieldChars)
  return value
}

/** One value as JSON that holds no raw control character; never throws. */
function printed(value: unknown): string {
  try {
    return escapeUnprintable(JSON.stringify(value, (_key, inner) => clip(inner)) ?? 'null')
  } catch {
    return '"[unprintable]"'
  }
}

/** RFC 3339 in UTC with microseconds, of which the last three are zero. */
const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000Z`

const BARE = /^[\w./:@+-]+$/

/** `key=value` as the reference prints it: bare when nothing in it needs quotes. */
const textField = (key: string, value: unknown): string => {
  const bare = typeof value === 'string' && BARE.test(value) ? value : printed(value)
  return ` ${key}=${bare}`
}

/** Creates the logger that writes JSON lines, or the reference's text lines (spec/gateway.md §13). */
export function createLogger(options: LogOptions): RootLogger {
  const { sink } = options
  const print = options.format === 'json' ? jsonLine : textLine
  let shown = options.level === 'off' ? Number.POSITIVE_INFINITY : LOG_LEVELS[options.level]
  const write: Write = (level, message, fields, keep) => {
    const sandboxId = fields['sandbox_id']
    const visible = keep || LOG_LEVELS[level] >= shown
    if (!visible && sandboxId === undefined) return
    const nowMs = options.clock.nowMs()
    if (typeof sandboxId === 'string' && options.onSandboxLine)
      options.onSandboxLine({ sandboxId, timestampMs: nowMs, level: level.toUpperCase(), target: TARGET, message })
    if (!visible) return
    const count = sink.takeDropped()
    if (count > 0) sink.write(print(nowMs, 'warn', 'log lines dropped', { count }), true)
    sink.write(print(nowMs, level, message, fields), keep)
  }
  return Object.assign(new BoundLogger(write, {}), {
    setLevel(level: LogLevel | 'off') {
      shown = level === 'off' ? Number.POSITIVE_INFINITY : LOG_LEVELS[level]
    },
    audit: (message: string, fields: LogFields) => write('info', message, fields, true),
  })
}

type Write = (level: LogLevel, message: string, fields: LogFields, keep: boolean) => void

/** A logger and the fields it adds. A class, not closures: every open stream has one. */
class BoundLogger implements Logger {
  readonly #write: Write
  readonly #bound: LogFields

  constructor(write: Write, bound: LogFields) {
    this.#write = write
    this.#bound = bound
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    this.#write(level, message, fields ? { ...this.#bound, ...fields } : this.#bound, false)
  }
  debug(message: string, fields?: LogFields): void {
    this.log('debug', message, fields)
  }
  info(message: string, fields?: LogFields): void {
    this.log('info', message, fields)
  }
  warn(message: string, fields?: LogFields): void {
    this.log('warn', message, fields)
  }
  error(message: string, fields?: LogFields): void {
    this.log('error', message, fields)
  }
  child(fields: LogFields): Logger {
    return new BoundLogger(this.#write, { ...this.#bound, ...fields })
  }
}

const TARGET = 'openshell_gateway'

function jsonLine(nowMs: number, level: LogLevel, message: string, fields: LogFields): string {
  let line = `{"time":"${timestamp(nowMs)}","level":"${level.toUpperCase()}","message":${printed(message)}`
  for (const key in fields) if (fields[key] !== undefined) line += `,${JSON.stringify(key)}:${printed(fields[key])}`
  return `${line}}\n`
}

function textLine(nowMs: number, level: LogLevel, message: string, fields: LogFields): string {
  const text = printed(message).slice(1, -1).replaceAll('\\"', '"')
  let line = `${timestamp(nowMs)} ${level.toUpperCase().padStart(5)} ${TARGET}: ${text}`
  for (const key in fields) if (fields[key] !== undefined) line += textField(key, fields[key])
  return `${line}\n`
}
