import { write } from 'node:fs'
import { LIMITS } from '../limits.ts'
import type { LogSink } from './log.ts'

/** How long to wait before a pipe that is full is tried again. */
const RETRY_MS = 20

/**
 * Lines to a file descriptor. One write is under way at a time, off the event loop; what comes meanwhile waits in a
 * bounded queue. A reader that stops reading costs lines, never a request (decision 26); a closed reader costs nothing.
 */
export function createFdSink(fd: number): LogSink {
  let waiting: { line: string; keep: boolean }[] = []
  let waitingBytes = 0
  let writing = false
  let closed = false
  let dropped = 0
  let idle: (() => void)[] = []

  const settle = () => {
    writing = false
    if (waiting.length > 0) return pump()
    for (const done of idle) done()
    idle = []
  }

  const put = (chunk: Buffer) =>
    write(fd, chunk, 0, chunk.length, null, (error, written) => {
      if (error?.code === 'EAGAIN') return void setTimeout(put, RETRY_MS, chunk).unref()
      if (error) closed = true
      if (!error && written < chunk.length) return put(chunk.subarray(written))
      settle()
    })

  const pump = () => {
    if (writing || waiting.length === 0) return
    const chunk = Buffer.from(waiting.map(item => item.line).join(''))
    waiting = []
    waitingBytes = 0
    writing = true
    put(chunk)
  }

  return {
    write(line, keep) {
      if (closed) return
      const limit = keep ? LIMITS.logAuditBytes : LIMITS.logQueueBytes
      if (waitingBytes + line.length > limit) {
        const oldest = waiting.findIndex(item => !item.keep)
        if (oldest < 0) {
          dropped++
          return
        }
        waitingBytes -= waiting[oldest]!.line.length
        waiting.splice(oldest, 1)
        dropped++
      }
      waiting.push({ line, keep })
      waitingBytes += line.length
      // Lines of one turn of the event loop leave in one write.
      if (!writing && waiting.length === 1) setImmediate(pump)
    },
    flush(timeoutMs) {
      pump()
      if (!writing || closed) return Promise.resolve()
      return new Promise(resolve => {
        const timer = setTimeout(resolve, timeoutMs)
        idle.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    },
    get dropped() {
      return dropped
    },
  }
}
