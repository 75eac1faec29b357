import { write } from 'node:fs'
import { LIMITS } from '../limits.ts'
import type { LogSink } from './log.ts'

/** `write` of node:fs, as far as a sink uses it. */
export type WriteBytes = (
  fd: number,
  bytes: Uint8Array,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void

/** What says that nobody will ever read again; any other failure, a full disk above all, may pass. */
const GONE = new Set(['EPIPE', 'EBADF', 'ECONNRESET', 'ENOTCONN', 'EINVAL'])

interface Waiting {
  /** Empty = dropped; its place goes at the next clearing up. */
  line: string
  readonly keep: boolean
}

/**
 * Lines to a file descriptor. One write is under way at a time, off the event loop; what comes meanwhile waits in a
 * bounded queue. A reader that stops reading or a disk that is full costs lines, never a request (decision 26), and
 * writing goes on where it stopped; with a reader that is gone all lines are lost, and counted.
 */
export function createFdSink(
  fd: number,
  writeBytes: WriteBytes = (to, bytes, done) => write(to, bytes, 0, bytes.length, null, done),
): LogSink {
  let waiting: Waiting[] = []
  let waitingBytes = 0
  let holes = 0
  /** No line that may be dropped stands before this one. */
  let oldest = 0
  let writing = false
  let closed = false
  let failing = false
  /** Lines of the write that is under way. */
  let underWay = 0
  let dropped = 0
  let told = 0
  let idle: (() => void)[] = []

  const lose = () => {
    closed = true
    dropped += underWay + waiting.length - holes
    waiting = []
    waitingBytes = holes = oldest = 0
  }

  const put = (chunk: Uint8Array) =>
    writeBytes(fd, chunk, (error, written) => {
      if (error && !GONE.has(error.code ?? '')) {
        const isBehind = error.code === 'EAGAIN'
        failing ||= !isBehind
        return void setTimeout(put, isBehind ? LIMITS.logReaderRetryMs : LIMITS.logDiskRetryMs, chunk).unref()
      }
      failing = false
      if (error) lose()
      else if (written < chunk.length) return put(chunk.subarray(written))
      writing = false
      if (waiting.length > 0) return pump()
      for (const done of idle) done()
      idle = []
    })

  const pump = () => {
    if (writing || waiting.length === 0) return
    const chunk = Buffer.from(waiting.map(item => item.line).join(''))
    underWay = waiting.length - holes
    waiting = []
    waitingBytes = holes = oldest = 0
    writing = true
    put(chunk)
  }

  /** Drops the oldest line that need not be kept; false when there is none. */
  const dropOldest = (): boolean => {
    while (oldest < waiting.length && (waiting[oldest]!.keep || waiting[oldest]!.line === '')) oldest++
    const item = waiting[oldest]
    if (item === undefined) return false
    waitingBytes -= item.line.length
    item.line = ''
    dropped++
    holes++
    if (holes > waiting.length / 2) {
      waiting = waiting.filter(({ line }) => line !== '')
      holes = oldest = 0
    }
    return true
  }

  return {
    write(line, keep) {
      if (closed) {
        dropped++
        return
      }
      const limit = keep ? LIMITS.logAuditBytes : LIMITS.logQueueBytes
      while (waitingBytes + line.length > limit) {
        if (dropOldest()) continue
        dropped++
        return
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
    get fault() {
      if (closed) return 'gone'
      if (failing) return 'not writable'
      return waitingBytes > LIMITS.logBehindBytes ? 'not read' : null
    },
    takeDropped() {
      if (closed || writing || dropped === told) return 0
      const lost = dropped - told
      told = dropped
      return lost
    },
  }
}
