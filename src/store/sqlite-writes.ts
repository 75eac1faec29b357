import { randomUUID } from 'node:crypto'
import { LIMITS } from '../limits.ts'
import { writeLabels } from './labels.ts'
import {
  DRAFT_COLUMNS,
  type DraftRow,
  draftColumns,
  draftValues,
  finishDraft,
  MOST_HITS,
  type NewDraft,
  type PolicyRow,
  toPolicy,
} from './rows.ts'
import { type Guard, type ReadStatements, SqliteReads, type Statements } from './sqlite-reads.ts'
import { isSessionOf } from './ssh-session.ts'
import {
  type DraftChunk,
  type DraftDetails,
  type DraftStatus,
  type NewObject,
  type ObjectType,
  type PolicyRevision,
  type PolicyStatusText,
  StoreConflict,
  type StoredObject,
  type StoreTransaction,
} from './store.ts'

type Value = string | number | Uint8Array | null

/** The writing statements of the one writing connection. */
export function prepareWrites(make: Statements) {
  return {
    // A clock that jumped back must not put a new row before older ones, whatever its name (W21, S-19, T-02).
    insert: make.prepare<{ created_at_ms: number }, Value[]>(
      `INSERT INTO objects (object_type, id, name, payload, labels, created_at_ms, updated_at_ms)
       SELECT ?1, ?2, ?3, ?4, ?5, t, t FROM (SELECT max(?6, last + (?6 < last)) AS t
         FROM (SELECT coalesce((SELECT max(created_at_ms) FROM objects WHERE object_type = ?1), 0) AS last))
       WHERE true ON CONFLICT DO NOTHING RETURNING created_at_ms`,
    ),
    hasId: make.prepare<{ one: number }, [string]>('SELECT 1 AS one FROM objects WHERE id = ?'),
    update: make.prepare<{ updated_at_ms: number }, Value[]>(
      `UPDATE objects SET payload = ?1, labels = coalesce(?2, labels), updated_at_ms = max(?3, created_at_ms)
       WHERE id = ?4 AND object_type = ?5 AND payload = ?6 RETURNING updated_at_ms`,
    ),
    remove: make.prepare<unknown, [string, string]>('DELETE FROM objects WHERE id = ? AND object_type = ?'),
    removeSame: make.prepare<unknown, [string, string, Uint8Array]>(
      'DELETE FROM objects WHERE id = ? AND object_type = ? AND payload = ?',
    ),
    // Rows that mention the sandbox at all; which are its own is decided by decoding them.
    sessionsOf: make.prepare<{ id: string; payload: Uint8Array }, [Uint8Array]>(
      "SELECT id, payload FROM objects WHERE object_type = 'ssh_session' AND instr(payload, ?) > 0",
    ),
    removePolicies: make.prepare<unknown, [string]>('DELETE FROM sandbox_policies WHERE sandbox_id = ?'),
    removeAllDrafts: make.prepare<unknown, [string]>('DELETE FROM draft_policy_chunks WHERE sandbox_id = ?'),
    insertPolicy: make.prepare<PolicyRow, Value[]>(
      `INSERT INTO sandbox_policies (id, sandbox_id, version, policy_payload, policy_hash, status, created_at_ms)
       VALUES (?, ?, ?, ?, ?, 'pending', ?) ON CONFLICT DO NOTHING RETURNING *`,
    ),
    setPolicyStatus: make.prepare<unknown, Value[]>(
      'UPDATE sandbox_policies SET status = ?, load_error = ?, loaded_at_ms = ? WHERE sandbox_id = ? AND version = ?',
    ),
    supersede: make.prepare<unknown, [string, number]>(
      `UPDATE sandbox_policies SET status = 'superseded'
       WHERE sandbox_id = ? AND version < ? AND status IN ('pending', 'loaded')`,
    ),
    prune: make.prepare<unknown, [string, number]>(
      `DELETE FROM sandbox_policies WHERE rowid IN (
         SELECT rowid FROM sandbox_policies WHERE sandbox_id = ?1 AND status <> 'loaded' AND version <=
           (SELECT version FROM sandbox_policies WHERE sandbox_id = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2)
         ORDER BY version LIMIT ${LIMITS.policyRevisionsPruned})`,
    ),
    putDraft: make.prepare<DraftRow, Value[]>(
      `INSERT INTO draft_policy_chunks (${DRAFT_COLUMNS}) VALUES (${DRAFT_COLUMNS.split(',').fill('?').join(', ')})
       ON CONFLICT (sandbox_id, host, port, "binary") WHERE status IN ('pending', 'approved', 'rejected')
       DO UPDATE SET hit_count = min(hit_count + excluded.hit_count, ${MOST_HITS}), last_seen_ms = excluded.last_seen_ms
       RETURNING ${draftColumns(make.columns('draft_policy_chunks').has('approval'))}`,
    ),
    hasDraft: make.prepare<{ one: number }, [string]>('SELECT 1 AS one FROM draft_policy_chunks WHERE id = ?'),
    setDraftStatus: make.prepare<unknown, Value[]>(
      'UPDATE draft_policy_chunks SET status = ?, decided_at_ms = ? WHERE id = ?',
    ),
    setDraftRule: make.prepare<unknown, [Uint8Array, string]>(
      "UPDATE draft_policy_chunks SET proposed_rule = ? WHERE id = ? AND status = 'pending'",
    ),
    // Prepared when first used: a read-only file of the reference does not have our column.
    setDraftDetails: once(() =>
      make.prepare<unknown, Value[]>(
        `UPDATE draft_policy_chunks SET
           draft_version = coalesce(?2, draft_version), proposed_rule = coalesce(?3, proposed_rule),
           rationale = coalesce(?4, rationale), security_notes = coalesce(?5, security_notes),
           confidence = coalesce(?6, confidence), approval = CASE WHEN ?7 THEN ?8 ELSE approval END
         WHERE id = ?1`,
      ),
    ),
    removeDraft: make.prepare<unknown, [string]>('DELETE FROM draft_policy_chunks WHERE id = ?'),
    // What is removed may hold the highest version; prepared when first used, like the above.
    keepVersion: once(() => make.prepare<unknown, [string]>(keepVersion('id = ?'))),
    keepVersions: once(() => make.prepare<unknown, [string]>(keepVersion('sandbox_id = ?'))),
    removeVersion: once(() =>
      make.prepare<unknown, [string]>('DELETE FROM openshell_draft_versions WHERE sandbox_id = ?'),
    ),
    removeDrafts: make.prepare<unknown, [string, string]>(
      `DELETE FROM draft_policy_chunks WHERE rowid IN (
         SELECT rowid FROM draft_policy_chunks WHERE sandbox_id = ? AND status = ? LIMIT ${LIMITS.draftRowsPerTurn})`,
    ),
  }
}

const keepVersion = (where: string): string =>
  `INSERT INTO openshell_draft_versions (sandbox_id, version)
   SELECT sandbox_id, max(draft_version) FROM draft_policy_chunks WHERE ${where} GROUP BY sandbox_id
   ON CONFLICT (sandbox_id) DO UPDATE SET version = max(version, excluded.version)`

function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

export type WriteStatements = ReturnType<typeof prepareWrites>

/** Reads and writes on the connection that is inside a transaction. */
export class SqliteTransaction extends SqliteReads implements StoreTransaction {
  readonly #q: WriteStatements
  readonly #nowMs: () => number

  constructor(reads: ReadStatements, writes: WriteStatements, guard: Guard, nowMs: () => number) {
    super(reads, guard)
    this.#q = writes
    this.#nowMs = nowMs
  }

  insert(object: NewObject): Promise<StoredObject> {
    return this.guard(() => {
      const { type, id, name, payload, labels } = object
      const row = this.#q.insert.get(type, id, name, payload, writeLabels(labels), this.#nowMs())
      if (row === null) throw new StoreConflict(this.#q.hasId.get(id) ? 'id' : 'name')
      const at = row.created_at_ms
      return { type, id, name, payload, labels: new Map(labels), createdAtMs: at, updatedAtMs: at }
    })
  }

  update(before: StoredObject, payload: Uint8Array, labels?: ReadonlyMap<string, string>): Promise<StoredObject> {
    return this.guard(() => {
      const text = labels === undefined ? null : writeLabels(labels)
      const row = this.#q.update.get(payload, text, this.#nowMs(), before.id, before.type, before.payload)
      if (row === null) throw new StoreConflict('changed')
      return {
        ...before,
        payload,
        labels: labels === undefined ? before.labels : new Map(labels),
        updatedAtMs: row.updated_at_ms,
      }
    })
  }

  delete(type: ObjectType, id: string): Promise<boolean> {
    return this.guard(() => this.#q.remove.run(id, type).changes > 0)
  }

  /** Removes the row only while it holds this payload. */
  deleteSame(object: StoredObject): Promise<boolean> {
    return this.guard(() => this.#q.removeSame.run(object.id, object.type, object.payload).changes > 0)
  }

  deleteSandbox(sandboxId: string): Promise<boolean> {
    return this.guard(() => {
      this.#removeSessions(sandboxId)
      this.#q.remove.run(`settings:${sandboxId}`, 'sandbox_settings')
      this.#q.removePolicies.run(sandboxId)
      this.#q.removeAllDrafts.run(sandboxId)
      this.#q.removeVersion().run(sandboxId)
      return this.#q.remove.run(sandboxId, 'sandbox').changes > 0
    })
  }

  deleteSshSessions(sandboxId: string): Promise<number> {
    return this.guard(() => this.#removeSessions(sandboxId))
  }

  #removeSessions(sandboxId: string): number {
    if (sandboxId === '') return 0
    const rows = this.#q.sessionsOf
      .all(Buffer.from(sandboxId, 'utf8'))
      .filter(row => isSessionOf(row.payload, sandboxId))
    for (const row of rows) this.#q.remove.run(row.id, 'ssh_session')
    return rows.length
  }

  insertPolicy(revision: Pick<PolicyRevision, 'sandboxId' | 'version' | 'payload' | 'hash'>): Promise<PolicyRevision> {
    return this.guard(() => {
      const { sandboxId, version, payload, hash } = revision
      const row = this.#q.insertPolicy.get(randomUUID(), sandboxId, version, payload, hash, this.#nowMs())
      if (row === null) throw new StoreConflict('version')
      return toPolicy(row)
    })
  }

  setPolicyStatus(
    sandboxId: string,
    version: number,
    status: PolicyStatusText,
    details: { loadError: string | null; loadedAtMs: number | null },
  ): Promise<boolean> {
    return this.guard(
      () => this.#q.setPolicyStatus.run(status, details.loadError, details.loadedAtMs, sandboxId, version).changes > 0,
    )
  }

  supersedePolicies(sandboxId: string, version: number): Promise<number> {
    return this.guard(() => this.#q.supersede.run(sandboxId, version).changes)
  }

  prunePolicies(sandboxId: string, keep: number): Promise<number> {
    return this.guard(() => this.#q.prune.run(sandboxId, keep).changes)
  }

  putDraft(chunk: NewDraft): Promise<DraftChunk> {
    return this.guard(() => {
      if (this.#q.hasDraft.get(chunk.id)) throw new StoreConflict('id')
      return finishDraft(this.#q.putDraft.get(...draftValues(chunk))!)
    })
  }

  setDraftStatus(id: string, status: DraftStatus, decidedAtMs: number | null): Promise<boolean> {
    return this.guard(() => this.#q.setDraftStatus.run(status, decidedAtMs, id).changes > 0)
  }

  setDraftRule(id: string, proposedRule: Uint8Array): Promise<boolean> {
    return this.guard(() => this.#q.setDraftRule.run(proposedRule, id).changes > 0)
  }

  async deleteDrafts(sandboxId: string, status: DraftStatus): Promise<number> {
    await this.guard(() => this.#q.keepVersions().run(sandboxId))
    for (let removed = 0; ; await new Promise<void>(resolve => setImmediate(resolve))) {
      const some = await this.guard(() => this.#q.removeDrafts.run(sandboxId, status).changes)
      removed += some
      if (some < LIMITS.draftRowsPerTurn) return removed
    }
  }

  setDraftDetails(id: string, details: DraftDetails): Promise<boolean> {
    return this.guard(() => {
      const { draftVersion, proposedRule, rationale, securityNotes, confidence, approval } = details
      const kept = [draftVersion, proposedRule, rationale, securityNotes, confidence].map(value => value ?? null)
      const values = [id, ...kept, approval === undefined ? 0 : 1, approval ?? null]
      return this.#q.setDraftDetails().run(...values).changes > 0
    })
  }

  deleteDraft(id: string): Promise<boolean> {
    return this.guard(() => {
      this.#q.keepVersion().run(id)
      return this.#q.removeDraft.run(id).changes > 0
    })
  }
}
