import type { Clock } from './clock.ts'

/**
 * For long synchronous work in pieces: resolves at once until `turnMs` have passed since the last time that others had
 * their turn of the event loop, then gives them one.
 */
export function createBreather(clock: Pick<Clock, 'monotonicMs'>, turnMs: number): () => Promise<void> {
  let sinceMs = clock.monotonicMs()
  return async () => {
    if (clock.monotonicMs() - sinceMs < turnMs) return
    await new Promise<void>(resolve => setImmediate(resolve))
    sinceMs = clock.monotonicMs()
  }
}
