import type { Database } from 'bun:sqlite'
import { ORPHANS } from './orphans.ts'
import { readSession } from './ssh-session.ts'

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
