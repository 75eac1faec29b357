/** One source, many readers, each with a bounded queue. A reader that falls behind is ended, not waited for. */
export interface EventFan<T> {
  send(event: T): void
  /** Events from now on, until `signal` aborts, the fan ends or the reader falls behind. */
  subscribe(signal: AbortSignal): AsyncIterable<T>
  end(): void
}

export function createEventFan<T>(queueMost: number): EventFan<T> {
  const readers = new Set<{ queue: T[]; wake: () => void; isOver: boolean }>()

  const read = async function* (reader: { queue: T[]; wake: () => void; isOver: boolean }, stop: () => void) {
    try {
      for (;;) {
        const event = reader.queue.shift()
        if (event !== undefined) yield event
        else if (reader.isOver) return
        else await new Promise<void>(resolve => Object.assign(reader, { wake: resolve }))
      }
    } finally {
      stop()
    }
  }

  return {
    send(event) {
      for (const reader of readers) {
        if (reader.queue.length >= queueMost) reader.isOver = true
        else if (!reader.isOver) reader.queue.push(event)
        reader.wake()
      }
    },
    subscribe(signal) {
      const reader = { queue: [] as T[], wake: (): void => undefined, isOver: signal.aborted }
      readers.add(reader)
      const over = () => {
        reader.isOver = true
        reader.wake()
      }
      signal.addEventListener('abort', over, { once: true })
      return read(reader, () => {
        signal.removeEventListener('abort', over)
        readers.delete(reader)
      })
    },
    end() {
      for (const reader of readers) {
        reader.isOver = true
        reader.wake()
      }
    },
  }
}
