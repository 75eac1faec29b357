import { errorText } from '../base/errors.ts'
import { StoreConflict, StoreFailure } from './store.ts'

/** SQLSTATE classes after which the same call may succeed later. */
const PASSING_CLASSES = new Set(['08', '25', '40', '53', '55', '57', '58'])

/** What a server said as a five-character SQLSTATE; null when the error is not its (no connection, no answer). */
export function sqlState(error: unknown): string | null {
  const state = error instanceof Bun.SQL.PostgresError ? error.errno : undefined
  return typeof state === 'string' && state.length === 5 ? state : null
}

/** Whether the connection, not the statement, failed: nothing is known of the statement's effect. */
export const isConnectionError = (error: unknown): boolean =>
  error instanceof Bun.SQL.PostgresError && (sqlState(error) === null || /^(08|57P)/.test(sqlState(error) ?? ''))

/** Whether a connection that was open turned out to be dead: the pool has others, or makes a new one. */
export const isDeadConnection = (error: unknown): boolean =>
  isConnectionError(error) && (error as { code?: string }).code !== 'ERR_POSTGRES_CONNECTION_REFUSED'

/** What a statement threw, in the store's own terms. Errors that are not the database's stay as they are. */
export function toStoreError(error: unknown): unknown {
  if (error instanceof StoreFailure || error instanceof StoreConflict) return error
  if (!(error instanceof Bun.SQL.PostgresError)) return error
  const state = sqlState(error)
  const passing = state === null || PASSING_CLASSES.has(state.slice(0, 2))
  return new StoreFailure(passing ? 'unavailable' : 'damaged', `(${state ?? error.code}) ${errorText(error)}`, {
    cause: error,
  })
}
