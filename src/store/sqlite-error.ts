import { SQLiteError } from 'bun:sqlite'
import { type Clock, sleep } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { StoreConflict, StoreFailure } from './store.ts'

/** Primary result codes after which the same call may succeed later: the database is busy, full, away or out of memory. */
const PASSING = new Set([
  4, // ABORT
  5, // BUSY
  6, // LOCKED
  7, // NOMEM
  8, // READONLY: also what a file system remounted after a fault answers
  9, // INTERRUPT
  10, // IOERR
  13, // FULL
  14, // CANTOPEN
  15, // PROTOCOL
])

/**
 * Runs `work` at once, and again while another process holds the lock it needs, for at most `storeWaitMs`: SQLite's own
 * waiting would block the loop (S-04). Throws what `work` threw last.
 */
export async function whileBusy<T>(clock: Clock, work: () => T): Promise<T> {
  const deadline = clock.monotonicMs() + LIMITS.storeWaitMs
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isBusy(error) || clock.monotonicMs() >= deadline) throw error
    }
    await sleep(clock, LIMITS.storeBusyRetryMs)
  }
}

/** Whether SQLite said so, or is the cause of what another layer said. */
const isBusy = (error: unknown): boolean =>
  error instanceof SQLiteError ? (error.errno & 0xff) === 5 : error instanceof Error && isBusy(error.cause)

/** What a statement threw, in the store's own terms. Errors that are not the database's stay as they are. */
export function toStoreError(error: unknown): unknown {
  if (error instanceof StoreFailure || error instanceof StoreConflict) return error
  if (!(error instanceof SQLiteError)) return error
  const kind = PASSING.has(error.errno & 0xff) ? 'unavailable' : 'damaged'
  return new StoreFailure(kind, `(code: ${error.errno}) ${errorText(error)}`, { cause: error })
}
