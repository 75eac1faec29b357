import { LIMITS } from '../limits.ts'
import { isSpent } from './ssh-session.ts'
import type { StoredObject, StoreReads } from './store.ts'

/**
 * Finds every spent SSH session (W7) and hands them over in batches of `storeScanRows`; `remove` says how many of a
 * batch went. Returns their sum.
 */
export async function reapSpentSessions(
  reads: StoreReads,
  nowMs: number,
  remove: (batch: readonly StoredObject[]) => Promise<number>,
): Promise<number> {
  let removed = 0
  let batch: StoredObject[] = []
  for await (const session of reads.scan('ssh_session')) {
    if (isSpent(session.payload, nowMs)) batch.push(session)
    if (batch.length < LIMITS.storeScanRows) continue
    removed += await remove(batch)
    batch = []
  }
  return batch.length === 0 ? removed : removed + (await remove(batch))
}
