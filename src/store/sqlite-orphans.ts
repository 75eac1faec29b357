import type { Database } from 'bun:sqlite'
import { readSession } from './ssh-session.ts'

const GONE = (id: string) => `NOT EXISTS (SELECT 1 FROM objects AS s WHERE s.object_type = 'sandbox' AND s.id = ${id})`

/** Rows of one kind whose sandbox is gone, as table and condition. */
const ORPHANS: readonly (readonly [table: string, where: string])[] = [
  ['objects', `object_type = 'sandbox_settings' AND id LIKE 'settings:%' AND ${GONE('substr(objects.id, 10)')}`],
  ['sandbox_policies', `sandbox_id <> '__global__' AND ${GONE('sandbox_policies.sandbox_id')}`],
  ['draft_policy_chunks', GONE('draft_policy_chunks.sandbox_id')],
]

/**
 * Removes what the reference leaves behind when a sandbox goes: its settings would keep a new sandbox of the same
 * name from having any (W8). Writes only when there is something to remove. Returns how many rows went.
 */
export function sweepOrphans(db: Database): number {
  const found = ORPHANS.some(
    ([table, where]) => db.query(`SELECT 1 FROM ${table} WHERE ${where} LIMIT 1`).get() !== null,
  )
  const sessions = orphanedSessions(db)
  if (!found && sessions.length === 0) return 0
  db.run('BEGIN IMMEDIATE')
  try {
    let removed = 0
    for (const [table, where] of ORPHANS) removed += db.run(`DELETE FROM ${table} WHERE ${where}`).changes
    for (const id of sessions)
      removed += db.run("DELETE FROM objects WHERE object_type = 'ssh_session' AND id = ?", [id]).changes
    db.run('COMMIT')
    return removed
  } catch (error) {
    if (db.inTransaction) db.run('ROLLBACK')
    throw error
  }
}

interface SessionRow {
  readonly id: string
  readonly payload: Uint8Array
}

function orphanedSessions(db: Database): string[] {
  const sandboxes = new Set<string>()
  for (const row of db.query<{ id: string }, []>("SELECT id FROM objects WHERE object_type = 'sandbox'").iterate())
    sandboxes.add(row.id)
  const orphans: string[] = []
  const all = db.query<SessionRow, []>("SELECT id, payload FROM objects WHERE object_type = 'ssh_session'")
  for (const row of all.iterate()) {
    const session = readSession(row.payload)
    if (session !== null && !sandboxes.has(session.sandboxId)) orphans.push(row.id)
  }
  return orphans
}
