import { SQLiteError } from 'bun:sqlite'
import { statSync } from 'node:fs'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../observe/log.ts'
import { toStoreError } from './sqlite-error.ts'
import { StoreFailure } from './store.ts'

/** Whether the files of a database are still those that were opened, and whole. */
export interface FileHealth {
  /** Why what is written now would not be there tomorrow; null while it would. */
  lost(): StoreFailure | null
  /** Why the database should be taken out of service: lost, or damaged at some place (S-06); null while all is well. */
  fault(): StoreFailure | null
  /** What a statement threw, in the store's own terms. */
  explain(error: unknown): unknown
}

/** A database in memory has no file that could go. */
export const MEMORY_HEALTH: FileHealth = { lost: () => null, fault: () => null, explain: toStoreError }

/** CORRUPT and NOTADB: what is in the file is not a database any more. */
const DAMAGE = new Set([11, 26])

/** Watches the database at `path`; `files` are those that were just opened and must stay what they are. */
export function watchDatabaseFile(path: string, files: readonly string[], log: Logger): FileHealth {
  const opened = files.map(file => [file, inodeOf(file)] as const)
  let damage: StoreFailure | null = null
  const lost = () => {
    const gone = opened.find(([file, inode]) => inodeOf(file) !== inode)
    return gone ? new StoreFailure('unavailable', `${gone[0]} was removed or replaced`) : null
  }
  return {
    lost,
    fault: () => damage ?? lost(),
    explain(error) {
      if (damage === null && error instanceof SQLiteError && DAMAGE.has(error.errno & 0xff)) {
        damage = new StoreFailure('damaged', `${path} is damaged`, { cause: error })
        log.error('Database file is damaged; restore it from a backup', { path, error: errorText(error) })
      }
      return toStoreError(error)
    },
  }
}

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino
