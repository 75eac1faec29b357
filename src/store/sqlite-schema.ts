import type { Database } from 'bun:sqlite'
import { StartError } from '../base/errors.ts'
import {
  type AppliedMigration,
  type Migration,
  OWN_SCHEMA,
  OWN_SCHEMA_TABLE,
  refuseMigrations,
  refuseOwnSchema,
} from './migrations.ts'

const BOOKKEEPING = `CREATE TABLE IF NOT EXISTS _sqlx_migrations (
  version BIGINT PRIMARY KEY,
  description TEXT NOT NULL,
  installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  success BOOLEAN NOT NULL,
  checksum BLOB NOT NULL,
  execution_time BIGINT NOT NULL
)`

/** The schema of spec/storage.md §4. Steps 1–3 do no harm to tables that are there, as in the reference. */
export const SQLITE_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    description: 'create objects',
    checksum: '21cae95747b2c538ffc4591f3071aae83cc77f4c3a2c740bcbff4f47084fce7bc64325a549203c370915e704854c0568',
    statements: [
      `CREATE TABLE IF NOT EXISTS objects (
        object_type TEXT NOT NULL,
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        payload BLOB NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        UNIQUE (object_type, name)
      )`,
    ],
  },
  {
    version: 2,
    description: 'create sandbox policies',
    checksum: '3d6970e4aac82c9c258393db73c5314cb04543a3caf74a46e77cc23de537f7bdc296c041280eaab56d9c7eb958daad21',
    statements: [
      `CREATE TABLE IF NOT EXISTS sandbox_policies (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        policy_payload BLOB NOT NULL,
        policy_hash TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        load_error TEXT,
        created_at_ms INTEGER NOT NULL,
        loaded_at_ms INTEGER,
        UNIQUE (sandbox_id, version)
      )`,
      'CREATE INDEX IF NOT EXISTS idx_sandbox_policies_lookup ON sandbox_policies (sandbox_id, version DESC)',
    ],
  },
  {
    version: 3,
    description: 'create policy recommendations',
    checksum: '0b115c06992bed71bb415844fbd62af9194c061471118b3537ca3daf674c0a784583b3f09051764e7e046566c6462b83',
    statements: [
      `CREATE TABLE IF NOT EXISTS draft_policy_chunks (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        draft_version INTEGER NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        rule_name TEXT NOT NULL,
        proposed_rule BLOB NOT NULL,
        rationale TEXT NOT NULL DEFAULT '',
        security_notes TEXT NOT NULL DEFAULT '',
        confidence REAL NOT NULL DEFAULT 0.0,
        host TEXT NOT NULL DEFAULT '',
        port INTEGER NOT NULL DEFAULT 0,
        "binary" TEXT NOT NULL DEFAULT '',
        hit_count INTEGER NOT NULL DEFAULT 1,
        first_seen_ms INTEGER NOT NULL,
        last_seen_ms INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        decided_at_ms INTEGER
      )`,
      'CREATE INDEX IF NOT EXISTS idx_draft_chunks_sandbox ON draft_policy_chunks (sandbox_id, status)',
      `CREATE UNIQUE INDEX IF NOT EXISTS idx_draft_chunks_endpoint ON draft_policy_chunks (sandbox_id, host, port, "binary")
        WHERE status IN ('pending', 'approved', 'rejected')`,
    ],
  },
  {
    version: 4,
    description: 'add object metadata',
    checksum: '9362b268340c36c56aafc64b75684ab08912513d69775f2ba35a0c7f519e397c359992d3b15200402b5316f48c422cae',
    statements: ['ALTER TABLE objects ADD COLUMN labels TEXT', "UPDATE objects SET labels = '{}'"],
  },
]

/**
 * Our additions, invisible to the reference: orders of lists with what a list shows or filters by, so that payloads are
 * not read for it (W5, W6), and draft versions that outlive their chunks (spec/policy.md W20).
 */
const ADDITIONS = [
  'CREATE INDEX IF NOT EXISTS openshell_objects_order ON objects (object_type, created_at_ms, name, labels)',
  `CREATE INDEX IF NOT EXISTS openshell_policies_list
    ON sandbox_policies (sandbox_id, version, id, policy_hash, status, load_error, created_at_ms, loaded_at_ms)`,
  `CREATE INDEX IF NOT EXISTS openshell_drafts_order
    ON draft_policy_chunks (sandbox_id, created_at_ms, draft_version, id, status)`,
  'CREATE TABLE IF NOT EXISTS openshell_draft_versions (sandbox_id TEXT PRIMARY KEY, version INTEGER NOT NULL)',
]

const hasTable = (db: Database, name: string): boolean =>
  db.query<unknown, [string]>("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(name) !== null

const hasColumn = (db: Database, table: string, column: string): boolean =>
  db.query<unknown, [string, string]>('SELECT 1 FROM pragma_table_info(?) WHERE name = ?').get(table, column) !== null

interface AppliedRow {
  readonly version: number
  readonly success: number
  readonly checksum: string
}

function appliedMigrations(db: Database): AppliedMigration[] {
  if (!hasTable(db, '_sqlx_migrations')) return []
  const rows = db
    .query<AppliedRow, []>(
      'SELECT version, success, lower(hex(checksum)) AS checksum FROM _sqlx_migrations ORDER BY version',
    )
    .all()
  return rows.map(row => ({ version: row.version, success: row.success !== 0, checksum: row.checksum }))
}

function ownSchema(db: Database): number {
  if (!hasTable(db, 'openshell_schema')) return 0
  return db.query<{ v: number | null }, []>('SELECT max(version) AS v FROM openshell_schema').get()?.v ?? 0
}

/** Reads only. Throws `StartError` when the database was written by a newer or another program version (S-07, spec/storage.md §3). */
export function refuseForeignSchema(db: Database): void {
  const refusal = refuseMigrations(appliedMigrations(db), SQLITE_MIGRATIONS) ?? refuseOwnSchema(ownSchema(db))
  if (refusal) throw new StartError(`execution error: migration error: ${refusal}`)
}

/** Whether everything is there, so that nothing need be written at start. */
export const isMigrated = (db: Database): boolean =>
  appliedMigrations(db).length === SQLITE_MIGRATIONS.length && ownSchema(db) === OWN_SCHEMA

/**
 * Brings the schema up to date, one transaction a step: a crash leaves whole steps (S-08). Throws what SQLite throws,
 * as `MigrationFailure` naming the step.
 */
export function migrate(db: Database, nowMs: number): void {
  db.run(BOOKKEEPING)
  const done = new Set(appliedMigrations(db).map(row => row.version))
  for (const migration of SQLITE_MIGRATIONS) if (!done.has(migration.version)) apply(db, migration)
  if (ownSchema(db) === OWN_SCHEMA) return
  inTransaction(db, () => {
    for (const statement of ADDITIONS) db.run(statement)
    if (!hasColumn(db, 'draft_policy_chunks', 'approval'))
      db.run('ALTER TABLE draft_policy_chunks ADD COLUMN approval TEXT')
    db.run(OWN_SCHEMA_TABLE)
    db.run('INSERT INTO openshell_schema (version, applied_at_ms) VALUES (?, ?)', [OWN_SCHEMA, nowMs])
  })
}

/** A migration step that the database refused. */
export class MigrationFailure extends Error {
  override readonly name = 'MigrationFailure'
}

function apply(db: Database, migration: Migration): void {
  const started = Bun.nanoseconds()
  try {
    inTransaction(db, () => {
      for (const statement of migration.statements) db.run(statement)
      const took = Math.max(1, Math.round(Bun.nanoseconds() - started))
      db.run(
        'INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, ?, TRUE, ?, ?)',
        [migration.version, migration.description, Buffer.from(migration.checksum, 'hex'), took],
      )
    })
  } catch (cause) {
    throw new MigrationFailure(`while executing migration ${migration.version}`, { cause })
  }
}

function inTransaction(db: Database, work: () => void): void {
  db.run('BEGIN IMMEDIATE')
  try {
    work()
    db.run('COMMIT')
  } catch (error) {
    if (db.inTransaction) db.run('ROLLBACK')
    throw error
  }
}
