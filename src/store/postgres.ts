import { StartError } from '../base/errors.ts'
import type { StoreDeps } from './sqlite-connection.ts'
import type { Store } from './store.ts'
import type { PostgresTarget } from './url.ts'

export async function openPostgres(_target: PostgresTarget, _deps: StoreDeps): Promise<Store> {
  throw new StartError('execution error: database error: PostgreSQL is not there yet')
}
