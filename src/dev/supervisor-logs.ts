import type { GrpcStream } from '../client/grpc-stream.ts'
import { LIMITS } from '../limits.ts'
import type { LogFields, Logger, LogLevel } from '../observe/log.ts'
import type { Init } from '../wire/codec.ts'
import type { SandboxLogLine } from '../wire/messages.generated.ts'

type PushStream = GrpcStream<'openshell.v1.PushSandboxLogsRequest', 'openshell.v1.PushSandboxLogsResponse'>

/** A logger whose lines also reach the gateway, as the sandbox's own. */
export interface PushedLog {
  readonly log: Logger
  /** Sends what waits and what follows, until the stream ends. */
  pushTo(stream: PushStream): Promise<void>
}

/** Lines in one message; the gateway passes over the rest of a longer one. */
const BATCH_LINES = 100

/** Lines that no stream takes wait, the newest `supervisorLogQueue` of them. */
export function createPushedLog(sandboxId: string, below: Logger): PushedLog {
  const waiting: Init<SandboxLogLine>[] = []
  let wake: (() => void) | null = null

  const keep = (level: LogLevel, message: string, fields: LogFields) => {
    const texts = new Map(Object.entries(fields).map(([key, value]) => [key, String(value)]))
    waiting.push({
      sandbox_id: sandboxId,
      timestamp_ms: Date.now(),
      level: level.toUpperCase(),
      target: 'openshell_supervisor',
      message,
      source: 'sandbox',
      fields: texts,
    })
    if (waiting.length > LIMITS.supervisorLogQueue) waiting.shift()
    wake?.()
  }

  const make = (base: LogFields, under: Logger): Logger => {
    const log = (level: LogLevel, message: string, fields: LogFields = {}) => {
      under.log(level, message, fields)
      if (level !== 'debug' && level !== 'trace') keep(level, message, { ...base, ...fields })
    }
    return {
      log,
      debug: (message, fields) => log('debug', message, fields),
      info: (message, fields) => log('info', message, fields),
      warn: (message, fields) => log('warn', message, fields),
      error: (message, fields) => log('error', message, fields),
      child: fields => make({ ...base, ...fields }, under.child(fields)),
    }
  }

  return {
    log: make({}, below),
    async pushTo(stream) {
      let isOver = false
      void stream.ended.then(() => {
        isOver = true
        wake?.()
      })
      while (!isOver) {
        const logs = waiting.splice(0, BATCH_LINES)
        if (logs.length > 0) await stream.send({ sandbox_id: sandboxId, logs })
        else await new Promise<void>(resolve => (wake = resolve))
      }
    },
  }
}
