import { Secret } from '../base/secret.ts'
import { openPostgres } from './postgres.ts'
import { createSqliteStore } from './sqlite.ts'
import { openSqliteFile, openSqliteMemory, type StoreDeps } from './sqlite-connection.ts'
import type { Store } from './store.ts'
import { parseStoreUrl } from './url.ts'

/**
 * Opens and migrates the database of a URL (spec/storage.md §1). Throws `StartError` with the reference's texts
 * (spec/gateway.md §5, row "store"), followed by the file's name. No text holds credentials of the URL.
 */
export async function openStore(url: Secret | string, deps: StoreDeps): Promise<Store> {
  const target = parseStoreUrl(url instanceof Secret ? url.reveal() : url)
  switch (target.kind) {
    case 'memory':
      return createSqliteStore(openSqliteMemory(deps), deps.clock)
    case 'file':
      return await openSqliteFile(target, deps, connection => createSqliteStore(connection, deps.clock))
    case 'postgres':
      return await openPostgres(target, deps)
  }
}
