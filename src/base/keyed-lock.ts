/** Runs work one after another for each key; work under different keys runs side by side. */
export interface KeyedLock {
  /** Resolves or rejects as `work` does. Work that is waiting runs whatever happened to the work before it. */
  run<T>(key: string, work: () => Promise<T>): Promise<T>
  /** Keys that have work under way. */
  readonly size: number
}

export function createKeyedLock(): KeyedLock {
  const tails = new Map<string, Promise<unknown>>()
  return {
    run(key, work) {
      const before = tails.get(key)
      const mine = before ? before.then(work, work) : work()
      const tail = mine.then(
        () => undefined,
        () => undefined,
      )
      tails.set(key, tail)
      void tail.then(() => {
        if (tails.get(key) === tail) tails.delete(key)
      })
      return mine
    },
    get size() {
      return tails.size
    },
  }
}
