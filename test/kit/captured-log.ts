import type { LogFields, Logger, LogLevel } from '../../src/observe/log.ts'

/** One captured line. */
export interface CapturedLine {
  readonly level: LogLevel
  readonly message: string
  readonly fields: LogFields
}

/** A logger that keeps its lines for a test to look at. */
export function createCapturedLog(): Logger & { readonly lines: CapturedLine[] } {
  const lines: CapturedLine[] = []
  const make = (base: LogFields): Logger => ({
    log: (level, message, fields) => void lines.push({ level, message, fields: { ...base, ...fields } }),
    debug: (message, fields) => void lines.push({ level: 'debug', message, fields: { ...base, ...fields } }),
    info: (message, fields) => void lines.push({ level: 'info', message, fields: { ...base, ...fields } }),
    warn: (message, fields) => void lines.push({ level: 'warn', message, fields: { ...base, ...fields } }),
    error: (message, fields) => void lines.push({ level: 'error', message, fields: { ...base, ...fields } }),
    child: fields => make({ ...base, ...fields }),
  })
  return Object.assign(make({}), { lines })
}
