import { Database } from 'bun:sqlite'
import { chmodSync } from 'node:fs'
import { systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

/**
 * Runs `work` while no other process runs work under the same file. The lock is one of the kernel, taken through
 * SQLite: it goes with its process, however that ends, so there are no stale locks to judge. Rejects with a
 * `ClientFailure` after `tokenLockWaitMs`.
 */
export async function withFileLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  let database: Database
  try {
    database = new Database(path, { create: true })
  } catch (error) {
    throw new ClientFailure('failed', `${path} cannot be opened`, { cause: error })
  }
  try {
    await acquire(database, path)
    chmodSync(path, 0o600)
    return await work()
  } finally {
    database.close()
  }
}

async function acquire(database: Database, path: string): Promise<void> {
  const until = systemClock.monotonicMs() + LIMITS.tokenLockWaitMs
  for (;;) {
    try {
      database.run('BEGIN EXCLUSIVE')
      return
    } catch (error) {
      const code = String((error as { code?: unknown }).code ?? '')
      if (!code.startsWith('SQLITE_BUSY') && !code.startsWith('SQLITE_LOCKED'))
        throw new ClientFailure('failed', `${path} cannot be locked: ${code}`, { cause: error })
      if (systemClock.monotonicMs() > until)
        throw new ClientFailure('failed', 'another process has been renewing the token for too long', { cause: error })
      // A timer that keeps the process alive: nothing else may be going on.
      await new Promise(resolve => setTimeout(resolve, LIMITS.tokenLockPollMs))
    }
  }
}
