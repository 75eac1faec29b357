/** Waiting times between tries: doubling from `firstMs` to `mostMs`, each shortened by up to half at random. */
export interface Backoff {
  nextMs(): number
  reset(): void
}

export function createBackoff(firstMs: number, mostMs: number, random: () => number = Math.random): Backoff {
  let ceiling = firstMs
  return {
    nextMs() {
      const wait = ceiling * (1 - random() / 2)
      ceiling = Math.min(ceiling * 2, mostMs)
      return wait
    },
    reset() {
      ceiling = firstMs
    },
  }
}
