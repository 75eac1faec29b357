import { StartError } from '../base/errors.ts'
import {
  type AppliedMigration,
  type Migration,
  OWN_SCHEMA,
  OWN_SCHEMA_TABLE,
  refuseMigrations,
  refuseOwnSchema,
} from './migrations.ts'
import { ORPHANS } from './orphans.ts'
import type { Runner } from './postgres-pool.ts'

/** The number of the lock that every writer of a shared database takes: one transaction at a time, as on SQLite. */
export const WRITER_LOCK = 5_747_309_201

const BOOKKEEPING = `CREATE TABLE IF NOT EXISTS _sqlx_migrations (
  version BIGINT PRIMARY KEY,
  description TEXT NOT NULL,
  installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
  success BOOLEAN NOT NULL,
  checksum BYTEA NOT NULL,
  execution_time BIGINT NOT NULL
)`

/** The schema of spec/storage.md §4 with 64-bit integers and `binary` quoted (decision 18, W2). */
export const POSTGRES_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    description: 'create objects',
    checksum: 'f952afc1fc4697c2fcff9bd7624fe15aeff991f05f357215674dd406ddd254cfb914b81443eb1e20b2b0c172ae24dcad',
    statements: [
      `CREATE TABLE IF NOT EXISTS objects (
        object_type TEXT NOT NULL,
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        payload BYTEA NOT NULL,
        created_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL,
        UNIQUE (object_type, name)
      )`,
    ],
  },
  {
    version: 2,
    description: 'create sandbox policies',
    checksum: '4e73a1e1b3b2e310e7555484406da8a81a1d8ae51b621fd7a3c6fa1db8fcb6f16ddd9ec0fa0c6ba5c8f3c29ab8425833',
    statements: [
      `CREATE TABLE IF NOT EXISTS sandbox_policies (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        version BIGINT NOT NULL,
        policy_payload BYTEA NOT NULL,
        policy_hash TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        load_error TEXT,
        created_at_ms BIGINT NOT NULL,
        loaded_at_ms BIGINT,
        UNIQUE (sandbox_id, version)
      )`,
      'CREATE INDEX IF NOT EXISTS idx_sandbox_policies_lookup ON sandbox_policies (sandbox_id, version DESC)',
    ],
  },
  {
    version: 3,
    description: 'create policy recommendations',
    checksum: 'de555e9078f04d67f4cce8ddd1570e86e3af8e78308f1779061dbc93dc63cf953ba7ceac37cf843bbd0c84e2932a4223',
    statements: [
      `CREATE TABLE IF NOT EXISTS draft_policy_chunks (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        draft_version BIGINT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        rule_name TEXT NOT NULL,
        proposed_rule BYTEA NOT NULL,
        rationale TEXT NOT NULL DEFAULT '',
        security_notes TEXT NOT NULL DEFAULT '',
        confidence DOUBLE PRECISION NOT NULL DEFAULT 0.0,
        host TEXT NOT NULL DEFAULT '',
        port BIGINT NOT NULL DEFAULT 0,
        "binary" TEXT NOT NULL DEFAULT '',
        hit_count BIGINT NOT NULL DEFAULT 1,
        first_seen_ms BIGINT NOT NULL,
        last_seen_ms BIGINT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        decided_at_ms BIGINT
      )`,
      'CREATE INDEX IF NOT EXISTS idx_draft_chunks_sandbox ON draft_policy_chunks (sandbox_id, status)',
      `CREATE UNIQUE INDEX IF NOT EXISTS idx_draft_chunks_endpoint ON draft_policy_chunks (sandbox_id, host, port, "binary")
        WHERE status IN ('pending', 'approved', 'rejected')`,
    ],
  },
  {
    version: 4,
    description: 'add object metadata',
    checksum: 'a5aac80d38abc2f5bcb23fa4ede7129cc294ba7e9cf02f91f399c026ab2b1a3493c95cd7ee47c178f8483f08a5d889f9',
    statements: ['ALTER TABLE objects ADD COLUMN labels JSONB', "UPDATE objects SET labels = '{}'"],
  },
]

/** Our additions: orders of lists, label search, draft versions that outlive their chunks, and 64-bit columns in tables that another program made. */
const ADDITIONS = [
  'CREATE INDEX IF NOT EXISTS openshell_objects_order ON objects (object_type, created_at_ms, name COLLATE "C")',
  'CREATE INDEX IF NOT EXISTS openshell_objects_labels ON objects USING gin (labels jsonb_path_ops)',
  'ALTER TABLE sandbox_policies ALTER COLUMN version TYPE BIGINT',
  'ALTER TABLE draft_policy_chunks ALTER COLUMN port TYPE BIGINT, ALTER COLUMN hit_count TYPE BIGINT',
  'ALTER TABLE draft_policy_chunks ADD COLUMN IF NOT EXISTS approval TEXT',
  `CREATE INDEX IF NOT EXISTS openshell_drafts_order
    ON draft_policy_chunks (sandbox_id, created_at_ms, draft_version, id COLLATE "C", status)`,
  'CREATE TABLE IF NOT EXISTS openshell_draft_versions (sandbox_id TEXT PRIMARY KEY, version BIGINT NOT NULL)',
]

/** Brings the schema up to date inside a transaction that holds the writer lock: all of it or nothing (S-08). */
export async function migratePostgres(run: Runner, nowMs: number): Promise<void> {
  await run(BOOKKEEPING)
  const rows = await run<{ version: string; success: boolean; checksum: string }>(
    "SELECT version, success, encode(checksum, 'hex') AS checksum FROM _sqlx_migrations ORDER BY version",
  )
  const applied: AppliedMigration[] = rows.map(row => ({ ...row, version: Number(row.version) }))
  await run(OWN_SCHEMA_TABLE)
  const [own] = await run<{ version: string }>(
    'SELECT coalesce(max(version), 0)::text AS version FROM openshell_schema',
  )
  const ours = Number(own?.version ?? 0)
  const refusal = refuseMigrations(applied, POSTGRES_MIGRATIONS) ?? refuseOwnSchema(ours)
  if (refusal) throw new StartError(`execution error: migration error: ${refusal}`)
  for (const migration of POSTGRES_MIGRATIONS)
    if (!applied.some(row => row.version === migration.version)) await apply(run, migration)
  if (ours === OWN_SCHEMA) return
  for (const statement of ADDITIONS) await run(statement)
  await run('INSERT INTO openshell_schema (version, applied_at_ms) VALUES ($1, $2)', [OWN_SCHEMA, nowMs])
}

async function apply(run: Runner, migration: Migration): Promise<void> {
  const started = Bun.nanoseconds()
  try {
    for (const statement of migration.statements) await run(statement)
  } catch (cause) {
    const said = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause)
    throw new StartError(
      `execution error: migration error: while executing migration ${migration.version}: error returned from database: ${said}`,
      1,
      { cause },
    )
  }
  await run(
    `INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     VALUES ($1, $2, TRUE, decode($3, 'hex'), $4)`,
    [
      migration.version,
      migration.description,
      migration.checksum,
      Math.max(1, Math.round(Bun.nanoseconds() - started)),
    ],
  )
}

/** Removes settings, revisions and drafts of sandboxes that are gone (W8). Returns how many rows went. */
export async function sweepPostgresOrphans(run: Runner): Promise<number> {
  let removed = 0
  for (const [table, where] of ORPHANS) removed += (await run(`DELETE FROM ${table} WHERE ${where} RETURNING 1`)).length
  return removed
}
