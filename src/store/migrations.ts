/** One row of `_sqlx_migrations` as the reference writes it (spec/storage.md §3). */
export interface Migration {
  readonly version: number
  readonly description: string
  /** SHA-384 of the reference's migration file, hexadecimal. */
  readonly checksum: string
  readonly statements: readonly string[]
}

export interface AppliedMigration {
  readonly version: number
  readonly success: boolean
  /** Hexadecimal. */
  readonly checksum: string
}

/** The version of our own additions, kept in `openshell_schema`; a higher one was written by a newer gateway (S-07). */
export const OWN_SCHEMA = 2

export const OWN_SCHEMA_TABLE =
  'CREATE TABLE IF NOT EXISTS openshell_schema (version INTEGER PRIMARY KEY, applied_at_ms BIGINT NOT NULL)'

/** Why a database cannot be opened with these migrations, in the reference's words; null when it can. */
export function refuseMigrations(applied: readonly AppliedMigration[], known: readonly Migration[]): string | null {
  const partial = applied.find(row => !row.success)
  if (partial)
    return `migration ${partial.version} is partially applied; fix and remove row from \`_sqlx_migrations\` table`
  const unknown = applied.find(row => !known.some(migration => migration.version === row.version))
  if (unknown) return `migration ${unknown.version} was previously applied but is missing in the resolved migrations`
  const changed = applied.find(
    row => known.find(migration => migration.version === row.version)?.checksum !== row.checksum.toLowerCase(),
  )
  return changed ? `migration ${changed.version} was previously applied but has been modified` : null
}

/** Same for our own additions. */
export const refuseOwnSchema = (version: number): string | null =>
  version > OWN_SCHEMA
    ? `the database was written by a newer gateway (schema ${version}, this one knows ${OWN_SCHEMA})`
    : null
