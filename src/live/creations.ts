/** A create whose driver call is under way. */
export interface Creation {
  /**
   * Says that the driver's work is done. True = the sandbox was deleted meanwhile, and what the driver made must go
   * again (W42); from here on it can no longer be cancelled.
   */
  settle(): boolean
}

/** Creates that go on whether or not their client waits (W41). */
export interface Creations {
  /** Runs `work` to its end under the id. */
  run<T>(id: string, work: (creation: Creation) => Promise<T>): Promise<T>
  /** Marks a running create as unwanted; whether there was one that will clean up after itself. */
  cancel(id: string): boolean
  /** Resolves once no create is under way. */
  idle(): Promise<void>
}

export function createCreations(): Creations {
  const running = new Map<string, { isCancelled: boolean }>()
  const unfinished = new Set<Promise<unknown>>()
  return {
    async run(id, work) {
      const mine = { isCancelled: false }
      running.set(id, mine)
      const settle = () => {
        running.delete(id)
        return mine.isCancelled
      }
      const made = work({ settle })
      const over = made.catch(() => {})
      unfinished.add(over)
      try {
        return await made
      } finally {
        settle()
        unfinished.delete(over)
      }
    },
    cancel(id) {
      const creation = running.get(id)
      if (creation) creation.isCancelled = true
      return creation !== undefined
    },
    async idle() {
      while (unfinished.size > 0) await Promise.all(unfinished)
    },
  }
}
