import { Database } from 'bun:sqlite'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { basename, dirname, join, parse, resolve } from 'node:path'
import { errorText, StartError } from '../base/errors.ts'
import type { Logger } from '../observe/log.ts'
import type { SqliteFileTarget } from './url.ts'

/** The one place of a database file, after links are resolved. */
export interface DatabaseFile {
  readonly path: string
  readonly isNew: boolean
}

const cannotOpen = (path: string, reason: string, cause?: unknown) =>
  new StartError(
    `execution error: database error: error returned from database: (code: 14) unable to open database file: ${path}: ${reason}`,
    1,
    { cause },
  )

/**
 * Makes the place of a database fit for secrets: creates the directory (0700, W16) and the file (0600, W11),
 * resolves links once and refuses those that another user could have put there (S-16), takes access by others away
 * from files that exist (S-15). Never touches the content. Throws `StartError`.
 */
export function prepareDatabaseFile(target: SqliteFileTarget, log: Logger): DatabaseFile {
  const asked = resolve(target.path)
  try {
    refusePlantedLinks(asked)
    if (!target.readOnly) createDirectory(dirname(asked))
    const path = locate(asked)
    if (path !== asked) log.info('Database path resolved', { path })
    const isNew = !existsSync(path)
    if (isNew && target.readOnly) throw cannotOpen(path, 'no such file')
    if (isNew) createFile(path)
    if (!statSync(path).isFile()) throw cannotOpen(path, 'not a regular file')
    if (!target.readOnly) for (const end of ['', '-wal', '-shm', '-journal']) closeToOthers(path + end, log)
    refuseLostContent(path)
    return { path, isNew }
  } catch (error) {
    throw error instanceof StartError ? error : cannotOpen(asked, errorText(error), error)
  }
}

/** A link in a directory that everybody can write to may be somebody else's (S-16). */
function refusePlantedLinks(path: string): void {
  const { root } = parse(path)
  let place = root
  for (const part of path.slice(root.length).split('/').filter(Boolean)) {
    const directory = place
    place = join(place, part)
    const found = lstatSync(place, { throwIfNoEntry: false })
    if (found === undefined) return
    if (found.isSymbolicLink() && (statSync(directory).mode & 0o002) !== 0)
      throw cannotOpen(path, `${place} is a symbolic link in a directory that everybody can write to`)
  }
}

function createDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw cannotOpen(directory, `cannot create the directory: ${errorText(cause)}`, cause)
  }
}

function locate(asked: string): string {
  if (lstatSync(asked, { throwIfNoEntry: false }) !== undefined) return realpathSync(asked)
  return join(realpathSync(dirname(asked)), basename(asked))
}

function createFile(path: string): void {
  closeSync(openSync(path, 'wx', 0o600))
  const directory = openSync(dirname(path), 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

function closeToOthers(path: string, log: Logger): void {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0
  if ((mode & 0o077) === 0) return
  try {
    chmodSync(path, mode & 0o700)
    log.warn('Database file was open to other users; access taken away', { path, mode: (mode & 0o777).toString(8) })
  } catch (cause) {
    log.warn('Database file is open to other users', {
      path,
      mode: (mode & 0o777).toString(8),
      error: errorText(cause),
    })
  }
}

/** SQLite would throw away the log of an empty file: what was acknowledged is in it (S-05). */
function refuseLostContent(path: string): void {
  if (statSync(path).size > 0) return
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0)
    throw new StartError(
      `execution error: database error: ${path} is empty but its write-ahead log ${basename(path)}-wal is not: restore the file or move the log away`,
    )
}

/** Ownership of a database file. */
export interface FileLock {
  release(): void
}

/**
 * Makes this process the only gateway on the file (W22, S-04); throws `StartError` when another one is. The lock is
 * SQLite's own (an exclusive transaction on an empty database `.<name>.lock` beside the file): the kernel takes it
 * back when the process dies, however it dies, and other programs may go on reading and writing the file itself.
 */
export function lockDatabaseFile(path: string): FileLock {
  const lockPath = join(dirname(path), `.${basename(path)}.lock`)
  // Whoever stops removes its lock file; between our opening and locking it that file may have been another one.
  for (let attempt = 0; attempt < 10; attempt++) {
    const lock = tryLock(lockPath)
    if (lock) return lock
  }
  throw cannotOpen(lockPath, 'the lock file keeps changing')
}

function tryLock(lockPath: string): FileLock | null {
  // Never open and close an existing lock file by other means: that would drop a lock this very process holds.
  if (!existsSync(lockPath)) createLockFile(lockPath)
  const before = statSync(lockPath, { throwIfNoEntry: false })?.ino
  let database: Database
  try {
    database = new Database(lockPath, { readwrite: true, create: false })
  } catch (cause) {
    if (!existsSync(lockPath)) return null
    throw cannotOpen(lockPath, errorText(cause), cause)
  }
  try {
    database.run('PRAGMA busy_timeout = 0')
    database.run('PRAGMA journal_mode = MEMORY')
    database.run('BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    if ((cause as { errno?: number }).errno === 5)
      throw new StartError(
        `execution error: database error: another gateway is running on this database (it holds ${lockPath})`,
        1,
        { cause },
      )
    throw cannotOpen(lockPath, errorText(cause), cause)
  }
  if (statSync(lockPath, { throwIfNoEntry: false })?.ino !== before) {
    database.close()
    return null
  }
  return {
    release() {
      try {
        unlinkSync(lockPath)
      } catch {
        // Gone already; what counts is the lock itself, given back by closing.
      }
      database.close()
    },
  }
}

function createLockFile(lockPath: string): void {
  try {
    closeSync(openSync(lockPath, 'wx', 0o600))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotOpen(lockPath, errorText(cause), cause)
  }
}
