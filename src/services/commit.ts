import { GatewayError } from '../base/errors.ts'
import { createKeyedLock } from '../base/keyed-lock.ts'
import { LIMITS } from '../limits.ts'
import { type Store, StoreConflict, type StoreTransaction } from '../store/store.ts'
import { storeError } from './store-errors.ts'

/**
 * One RPC's writes in one transaction (spec/storage.md W3). Writers of one `key` queue up here; `what` names the
 * work in the text of a failure, such as `persist settings`.
 */
export type Commit = <T>(key: string, what: string, work: (tx: StoreTransaction) => Promise<T>) => Promise<T>

export function createCommit(store: Pick<Store, 'transaction'>): Commit {
  const lock = createKeyedLock()
  return (key, what, work) => lock.run(key, () => retrying(what, () => store.transaction(work)))
}

/**
 * Runs store work again from a fresh read when it lost against another gateway on the same database: a bounded number
 * of times, then ABORTED (spec/policy.md §6.2, W17).
 */
export async function retrying<T>(what: string, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreConflict)) throw storeError(what, error)
      if (attempt >= LIMITS.policyWriteAttempts) throw exhausted(attempt, error)
    }
  }
}

const exhausted = (attempts: number, cause: StoreConflict): GatewayError =>
  new GatewayError('ABORTED', `apply_merge_operations_with_retry: gave up after ${attempts} version conflict retries`, {
    cause,
  })
