/** How a watched sandbox went away (spec/sandbox.md §5.2). */
export interface Closing {
  /** `deleted`: through DeleteSandbox; `removed`: the driver or a sweep said so; `draining`: the gateway stops. */
  readonly how: 'deleted' | 'removed' | 'draining'
  /** The record as it was last stored, when that is known. */
  readonly lastPayload: Uint8Array | null
}

/** One watcher's place. It holds flags, never data: a watcher that sleeps costs nothing. */
export interface Subscription {
  /** Counts the changes of the record that were announced; never falls. */
  readonly changes: number
  /** Counts the announcements that ask for a snapshot even of an unchanged record. */
  readonly nudges: number
  readonly closing: Closing | null
  /** Resolves at once when anything was announced since it last resolved, else with the next announcement or `signal`. */
  wait(signal: AbortSignal): Promise<void>
  close(): void
}

/** Tells watchers that something about a sandbox may be new. They read what it is themselves, so that bursts fold. */
export interface WatchBus {
  subscribe(id: string): Subscription
  /** The record changed. */
  changed(id: string): void
  /** Watchers of the status get a snapshot although the record may be the same (spec/sandbox.md §5.2, policy calls). */
  notify(id: string): void
  /** There are new log lines or events. */
  arrived(id: string): void
  /** The last announcement for an id. Later ones reach only those who subscribe anew. */
  end(id: string, closing: Closing): void
  /** Ends every watch. */
  drain(): void
  readonly watchers: number
}

class Watcher implements Subscription {
  changes = 0
  nudges = 0
  closing: Closing | null = null
  #isFresh = false
  #wake: (() => void) | null = null
  readonly #leave: (watcher: Watcher) => void

  constructor(leave: (watcher: Watcher) => void) {
    this.#leave = leave
  }

  announce(): void {
    this.#isFresh = true
    this.#wake?.()
  }

  wait(signal: AbortSignal): Promise<void> {
    if (this.#isFresh || signal.aborted) {
      this.#isFresh = false
      return Promise.resolve()
    }
    return new Promise(resolve => {
      const done = () => {
        this.#wake = null
        this.#isFresh = false
        signal.removeEventListener('abort', done)
        resolve()
      }
      this.#wake = done
      signal.addEventListener('abort', done, { once: true })
    })
  }

  close(): void {
    this.#leave(this)
  }
}

export function createWatchBus(): WatchBus {
  const byId = new Map<string, Set<Watcher>>()
  let watchers = 0
  const each = (id: string, act: (watcher: Watcher) => void) => {
    for (const watcher of byId.get(id) ?? []) {
      act(watcher)
      watcher.announce()
    }
  }
  const end = (id: string, closing: Closing) => {
    each(id, watcher => {
      watcher.closing ??= closing
    })
    watchers -= byId.get(id)?.size ?? 0
    byId.delete(id)
  }
  return {
    subscribe(id) {
      const watcher = new Watcher(mine => {
        const set = byId.get(id)
        if (!set?.delete(mine)) return
        watchers--
        if (set.size === 0) byId.delete(id)
      })
      const set = byId.get(id) ?? new Set()
      set.add(watcher)
      byId.set(id, set)
      watchers++
      return watcher
    },
    changed: id => each(id, watcher => void watcher.changes++),
    notify: id => each(id, watcher => void watcher.nudges++),
    arrived: id => each(id, () => {}),
    end,
    drain() {
      for (const id of [...byId.keys()]) end(id, { how: 'draining', lastPayload: null })
    },
    get watchers() {
      return watchers
    },
  }
}
