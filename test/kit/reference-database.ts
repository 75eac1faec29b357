import { Database } from 'bun:sqlite'

/** Rows of `_sqlx_migrations` (spec/storage.md §3). */
export const REFERENCE_MIGRATIONS = [
  {
    version: 1,
    description: 'create objects',
    checksum: '21cae95747b2c538ffc4591f3071aae83cc77f4c3a2c740bcbff4f47084fce7bc64325a549203c370915e704854c0568',
  },
  {
    version: 2,
    description: 'create sandbox policies',
    checksum: '3d6970e4aac82c9c258393db73c5314cb04543a3caf74a46e77cc23de537f7bdc296c041280eaab56d9c7eb958daad21',
  },
  {
    version: 3,
    description: 'create policy recommendations',
    checksum: '0b115c06992bed71bb415844fbd62af9194c061471118b3537ca3daf674c0a784583b3f09051764e7e046566c6462b83',
  },
  {
    version: 4,
    description: 'add object metadata',
    checksum: '9362b268340c36c56aafc64b75684ab08912513d69775f2ba35a0c7f519e397c359992d3b15200402b5316f48c422cae',
  },
] as const

const TABLES = [
  `CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)`,
  `CREATE TABLE objects (object_type TEXT NOT NULL, id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, payload BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, UNIQUE (object_type, name))`,
  `CREATE TABLE sandbox_policies (id TEXT PRIMARY KEY, sandbox_id TEXT NOT NULL, version INTEGER NOT NULL, policy_payload BLOB NOT NULL,
    policy_hash TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'pending', load_error TEXT, created_at_ms INTEGER NOT NULL, loaded_at_ms INTEGER,
    UNIQUE (sandbox_id, version))`,
  'CREATE INDEX idx_sandbox_policies_lookup ON sandbox_policies (sandbox_id, version DESC)',
  `CREATE TABLE draft_policy_chunks (id TEXT PRIMARY KEY, sandbox_id TEXT NOT NULL, draft_version INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending', rule_name TEXT NOT NULL, proposed_rule BLOB NOT NULL, rationale TEXT NOT NULL DEFAULT '',
    security_notes TEXT NOT NULL DEFAULT '', confidence REAL NOT NULL DEFAULT 0.0, host TEXT NOT NULL DEFAULT '',
    port INTEGER NOT NULL DEFAULT 0, binary TEXT NOT NULL DEFAULT '', hit_count INTEGER NOT NULL DEFAULT 1, first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL, created_at_ms INTEGER NOT NULL, decided_at_ms INTEGER)`,
  'CREATE INDEX idx_draft_chunks_sandbox ON draft_policy_chunks (sandbox_id, status)',
  `CREATE UNIQUE INDEX idx_draft_chunks_endpoint ON draft_policy_chunks (sandbox_id, host, port, binary)
    WHERE status IN ('pending', 'approved', 'rejected')`,
]

/** Writes an empty database file as the reference would, after the first `migrations` of its four steps. */
export function writeReferenceDatabase(path: string, migrations: 3 | 4 = 4): void {
  const db = new Database(path)
  for (const statement of TABLES) db.run(statement)
  if (migrations === 4) db.run('ALTER TABLE objects ADD COLUMN labels TEXT')
  for (const { version, description, checksum } of REFERENCE_MIGRATIONS.slice(0, migrations))
    db.run(
      'INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, ?, 1, ?, 1000)',
      [version, description, Buffer.from(checksum, 'hex')],
    )
  db.close(true)
}
