import { edenGC } from 'bun:jsc'

/**
 * Collects what died young, at every `times`-th call and once the turn is over. The collector moves nothing: what is
 * made to stay, scattered over the garbage of its making, would hold all of that open.
 */
export function collectEvery(times: number): () => void {
  let calls = 0
  return () => {
    calls += 1
    if (calls % times === 0) setImmediate(edenGC)
  }
}
