import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { LogFields, Logger } from '../observe/log.ts'

/** Cuts text that arrives in pieces into lines of at most `mostBytes`; a longer line comes in parts. */
export function createLineCutter(
  mostBytes: number,
  onLine: (line: string) => void,
): { push(text: string): void; end(): void } {
  let rest = ''
  const give = (line: string) => {
    const clean = line.endsWith('\r') ? line.slice(0, -1) : line
    if (clean !== '') onLine(clean)
  }
  return {
    push(text) {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines)
        for (let at = 0; at === 0 || at < line.length; at += mostBytes) give(line.slice(at, at + mostBytes))
      while (rest.length > mostBytes) {
        give(rest.slice(0, mostBytes))
        rest = rest.slice(mostBytes)
      }
    },
    end() {
      give(rest)
      rest = ''
    },
  }
}

/** Reads a driver's output to its end and logs it line by line; lines over the rate of limits.ts are counted, not logged. */
export async function logLines(
  output: ReadableStream<Uint8Array>,
  log: Logger,
  fields: LogFields,
  clock: Clock,
): Promise<void> {
  const decoder = new TextDecoder()
  let windowMs = clock.monotonicMs()
  let inWindow = 0
  let dropped = 0
  const cutter = createLineCutter(LIMITS.driverLineBytes, line => {
    const nowMs = clock.monotonicMs()
    if (nowMs - windowMs >= 1000) {
      if (dropped > 0) log.warn('driver output dropped', { ...fields, lines: dropped })
      windowMs = nowMs
      inWindow = 0
      dropped = 0
    }
    if (++inWindow > LIMITS.driverLinesPerSecond) dropped++
    else log.info('driver output', { ...fields, line })
  })
  for await (const chunk of output) cutter.push(decoder.decode(chunk, { stream: true }))
  cutter.end()
  if (dropped > 0) log.warn('driver output dropped', { ...fields, lines: dropped })
}
