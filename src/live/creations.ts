/** A create whose driver call is under way. */
export interface Creation {
  /** Its sandbox was deleted meanwhile: what the driver makes must go again (W42). */
  readonly isCancelled: boolean
}

/** Creates that go on whether or not their client waits (W41). */
export interface Creations {
  /** Runs `work` to its end under the id. */
  run<T>(id: string, work: (creation: Creation) => Promise<T>): Promise<T>
  has(id: string): boolean
  /** Marks a running create as unwanted; whether there was one. */
  cancel(id: string): boolean
  /** Resolves once no create is under way. */
  idle(): Promise<void>
}

export function createCreations(): Creations {
  const running = new Map<string, { isCancelled: boolean; over: Promise<unknown> }>()
  return {
    async run(id, work) {
      const creation = { isCancelled: false, over: Promise.resolve() as Promise<unknown> }
      running.set(id, creation)
      const made = work(creation)
      creation.over = made.catch(() => {})
      try {
        return await made
      } finally {
        running.delete(id)
      }
    },
    has: id => running.has(id),
    cancel(id) {
      const creation = running.get(id)
      if (creation) creation.isCancelled = true
      return creation !== undefined
    },
    async idle() {
      while (running.size > 0) await Promise.all([...running.values()].map(creation => creation.over))
    },
  }
}
