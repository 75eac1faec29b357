import type { Clock } from '../base/clock.ts'
import { StoreFailure } from './store.ts'

/** Lets one transaction run at a time, in order of arrival (W4). */
export interface WriterQueue {
  /** Resolves when it is the caller's turn, with the function that ends it. Throws `StoreFailure` when too many wait, or too long. */
  enter(): Promise<() => void>
  /** Refuses all who wait and all who come; resolves when the running one is done. */
  close(): Promise<void>
}

interface Waiting {
  start(): void
  refuse(failure: StoreFailure): void
}

export function createWriterQueue(clock: Clock, most: number, waitMs: number): WriterQueue {
  const waiting = new Set<Waiting>()
  let busy = false
  let closed = false
  let idle: (() => void) | null = null

  const leave = () => {
    const next = waiting.values().next().value
    if (next === undefined) {
      busy = false
      idle?.()
      return
    }
    waiting.delete(next)
    next.start()
  }
  const once = () => {
    let left = false
    return () => {
      if (!left) {
        left = true
        leave()
      }
    }
  }
  const wait = () =>
    new Promise<() => void>((resolve, reject) => {
      const entry: Waiting = {
        start() {
          timer.cancel()
          resolve(once())
        },
        refuse(failure) {
          timer.cancel()
          waiting.delete(entry)
          reject(failure)
        },
      }
      const timer = clock.after(waitMs, () =>
        entry.refuse(new StoreFailure('unavailable', `no turn to write within ${waitMs} ms`)),
      )
      waiting.add(entry)
    })

  return {
    async enter() {
      if (closed) throw new StoreFailure('unavailable', 'the store is closed')
      if (!busy) {
        busy = true
        return once()
      }
      if (waiting.size >= most) throw new StoreFailure('unavailable', `${most} transactions are waiting already`)
      return await wait()
    },
    async close() {
      closed = true
      for (const entry of [...waiting]) entry.refuse(new StoreFailure('unavailable', 'the store is closed'))
      if (busy) await new Promise<void>(resolve => (idle = resolve))
    },
  }
}
