import { constants, Database, SQLiteError } from 'bun:sqlite'
import { statSync, unlinkSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { whileBusy } from './sqlite-error.ts'
import { lockDatabaseFile, prepareDatabaseFile } from './sqlite-file.ts'
import { type FileHealth, MEMORY_HEALTH, watchDatabaseFile } from './sqlite-health.ts'
import { sweepOrphans } from './sqlite-orphans.ts'
import { isMigrated, MigrationFailure, migrate, refuseForeignSchema } from './sqlite-schema.ts'
import type { SqliteFileTarget } from './url.ts'

/** The open connections of one SQLite database. */
export interface SqliteConnection {
  readonly writer: Database
  /** Sees committed state while the writer is inside a transaction; the writer itself when the database is in memory. */
  readonly reader: Database
  readonly readOnly: boolean
  readonly health: FileHealth
  /** Moves the log into the file and gives the file back. Statements must be finalized. */
  close(): void
}

export interface StoreDeps {
  readonly clock: Clock
  readonly log: Logger
  /** Aborts when nobody waits for the database any more. */
  readonly signal?: AbortSignal
}

const READ_ONLY = constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI
const READ_WRITE = constants.SQLITE_OPEN_READWRITE | constants.SQLITE_OPEN_URI

/**
 * Opens, checks and migrates a database file and makes of it what `use` makes; throws `StartError`, lets go of everything
 * and leaves the bytes of a refused file as they are (S-05, S-07).
 */
export async function openSqliteFile<T>(
  target: SqliteFileTarget,
  deps: StoreDeps,
  use: (connection: SqliteConnection) => T,
): Promise<T> {
  const { path, isNew } = prepareDatabaseFile(target, deps.log)
  if (target.readOnly) return openReadOnly(path, target, deps.log, use)
  const lock = lockDatabaseFile(path)
  const uri = fileUri(path, target)
  const opened: Database[] = []
  const open = (flags: number) => {
    const database = new Database(uri, flags)
    opened.push(database)
    return database
  }
  try {
    if (!isNew) await whileBusy(deps.clock, () => check(uri, path))
    const writer = open(READ_WRITE)
    await whileBusy(deps.clock, () => setUpWriter(writer))
    if (!isMigrated(writer)) await whileBusy(deps.clock, () => migrate(writer, deps.clock.nowMs()))
    const swept = await whileBusy(deps.clock, () => sweepOrphans(writer))
    if (swept > 0) deps.log.warn('Removed rows of sandboxes that no longer exist', { rows: swept })
    const reader = open(READ_ONLY)
    reader.run('PRAGMA busy_timeout = 0')
    reader.run('PRAGMA query_only = ON')
    return use({
      writer,
      reader,
      readOnly: false,
      health: watchDatabaseFile(path, [path, `${path}-wal`], deps.log),
      close() {
        reader.close(true)
        checkpoint(writer, deps.log)
        writer.close(true)
        lock.release()
      },
    })
  } catch (error) {
    for (const database of opened.reverse()) database.close()
    // A start that failed leaves no empty file behind that was not there before.
    if (isNew && statSync(path, { throwIfNoEntry: false })?.size === 0) unlinkSync(path)
    lock.release()
    throw toStartError(error, path)
  }
}

/** A private database that dies with the process. */
export function openSqliteMemory(deps: StoreDeps): SqliteConnection {
  const database = new Database(':memory:')
  database.run('PRAGMA trusted_schema = OFF')
  migrate(database, deps.clock.nowMs())
  return {
    writer: database,
    reader: database,
    readOnly: false,
    health: MEMORY_HEALTH,
    close: () => database.close(true),
  }
}

/** Needs all migrations to be there; takes no lock, as it never writes. */
function openReadOnly<T>(
  path: string,
  target: SqliteFileTarget,
  log: Logger,
  use: (connection: SqliteConnection) => T,
): T {
  let database: Database | null = null
  try {
    const opened = new Database(fileUri(path, target), READ_ONLY)
    database = opened
    refuseForeignSchema(opened)
    if (!hasTables(opened)) throw new StartError(`${WHILE}: (code: 8) attempt to write a readonly database: ${path}`)
    return use({
      writer: opened,
      reader: opened,
      readOnly: true,
      health: watchDatabaseFile(path, [], log),
      close: () => opened.close(true),
    })
  } catch (error) {
    database?.close()
    throw toStartError(error, path)
  }
}

const hasTables = (db: Database): boolean =>
  db.query<{ n: number }, []>("SELECT count(*) AS n FROM sqlite_master WHERE name = '_sqlx_migrations'").get()?.n ===
    1 && db.query<{ n: number }, []>('SELECT count(*) AS n FROM _sqlx_migrations').get()?.n === 4

const WHILE = 'execution error: migration error: while executing migrations: error returned from database'

function fileUri(path: string, target: SqliteFileTarget): string {
  const query = new URLSearchParams()
  if (target.immutable) query.set('immutable', '1')
  if (target.vfs !== null) query.set('vfs', target.vfs)
  const encoded = path.split('/').map(encodeURIComponent).join('/')
  return query.size === 0 ? `file:${encoded}` : `file:${encoded}?${query}`
}

/** Looks before anything is written: foreign migrations, damaged pages. */
function check(uri: string, path: string): void {
  const size = statSync(path).size
  if (size === 0) return
  const database = openForCheck(uri)
  try {
    refuseForeignSchema(database)
    if (size > LIMITS.storeCheckBytes) return
    const found = database.query<{ quick_check: string }, []>('PRAGMA quick_check(1)').get()?.quick_check
    if (found !== 'ok')
      throw new StartError(`execution error: database error: ${path} is damaged: ${found}; restore it from a backup`)
  } finally {
    database.close()
  }
}

/** A connection that cannot write, unless a crash left a rollback journal that must be played back first. */
function openForCheck(uri: string): Database {
  const database = new Database(uri, READ_ONLY)
  try {
    database.run('PRAGMA busy_timeout = 0')
    database.query('SELECT count(*) FROM sqlite_master').get()
    return database
  } catch (error) {
    database.close()
    if (error instanceof SQLiteError && (error.errno & 0xff) === 8) return new Database(uri, READ_WRITE)
    throw error
  }
}

/** Write-ahead log with FULL: what is acknowledged survives power loss (S-02). Never waits inside SQLite (S-04). */
function setUpWriter(writer: Database): void {
  writer.run('PRAGMA busy_timeout = 0')
  writer.run('PRAGMA trusted_schema = OFF')
  writer.run('PRAGMA cell_size_check = ON')
  writer.run('PRAGMA journal_mode = WAL')
  writer.run('PRAGMA synchronous = FULL')
  writer.run('PRAGMA fullfsync = ON')
  writer.run('PRAGMA foreign_keys = ON')
  writer.run('PRAGMA secure_delete = FAST')
  writer.run(`PRAGMA journal_size_limit = ${LIMITS.storeLogBytes}`)
}

function checkpoint(writer: Database, log: Logger): void {
  try {
    writer.run('PRAGMA wal_checkpoint(TRUNCATE)')
  } catch (error) {
    log.warn('Database log could not be moved into the file', { error: errorText(error) })
  }
}

/** Texts of spec/gateway.md §5, with the file named (S-05). */
function toStartError(error: unknown, path: string): unknown {
  if (error instanceof StartError) return error
  const cause = error instanceof MigrationFailure ? error.cause : error
  if (!(cause instanceof SQLiteError)) return error
  const text = `error returned from database: (code: ${cause.errno}) ${cause.message}: ${path}`
  const opening = cause.errno === 14 || cause.message.startsWith('no such vfs')
  const place =
    error instanceof MigrationFailure
      ? `migration error: ${error.message}`
      : opening
        ? 'database error'
        : 'migration error: while executing migrations'
  return new StartError(`execution error: ${place}: ${text}`, 1, { cause: error })
}
