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
