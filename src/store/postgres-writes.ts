import { randomUUID } from 'node:crypto'
import { LIMITS } from '../limits.ts'
import { writeLabels } from './labels.ts'
import type { Runner } from './postgres-pool.ts'
import { PostgresReads } from './postgres-reads.ts'
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

const DRAFT_PLACES = DRAFT_COLUMNS.split(',')
  .map((_, index) => `$${index + 1}`)
  .join(', ')

const DRAFT_RETURNED = draftColumns(true)

/** Reads and writes on the connection that is inside a transaction. */
export class PostgresTransaction extends PostgresReads implements StoreTransaction {
  readonly #nowMs: () => number

  constructor(run: Runner, nowMs: () => number) {
    super(run)
    this.#nowMs = nowMs
  }

  async insert(object: NewObject): Promise<StoredObject> {
    const { type, id, name, payload, labels } = object
    // A clock that jumped back must not put a new row before older ones, whatever its name (W21, S-19, T-02).
    const [row] = await this.run<{ at: string }>(
      `INSERT INTO objects (object_type, id, name, payload, labels, created_at_ms, updated_at_ms)
       SELECT $1::text, $2::text, $3::text, $4::bytea, $5::text::jsonb, t, t
       FROM (SELECT greatest($6::bigint, last + ($6::bigint < last)::int) AS t
         FROM (SELECT coalesce((SELECT max(created_at_ms) FROM objects WHERE object_type = $1::text), 0) AS last) AS rows) AS clock
       ON CONFLICT DO NOTHING RETURNING created_at_ms AS at`,
      [type, id, name, payload, writeLabels(labels), this.#nowMs()],
    )
    if (!row)
      throw new StoreConflict((await this.run('SELECT 1 FROM objects WHERE id = $1', [id])).length > 0 ? 'id' : 'name')
    const at = Number(row.at)
    return { type, id, name, payload, labels: new Map(labels), createdAtMs: at, updatedAtMs: at }
  }

  async update(before: StoredObject, payload: Uint8Array, labels?: ReadonlyMap<string, string>): Promise<StoredObject> {
    const [row] = await this.run<{ at: string }>(
      `UPDATE objects SET payload = $1::bytea, labels = coalesce($2::text::jsonb, labels), updated_at_ms = greatest($3::bigint, created_at_ms)
       WHERE id = $4 AND object_type = $5 AND payload = $6::bytea RETURNING updated_at_ms AS at`,
      [
        payload,
        labels === undefined ? null : writeLabels(labels),
        this.#nowMs(),
        before.id,
        before.type,
        before.payload,
      ],
    )
    if (!row) throw new StoreConflict('changed')
    return {
      ...before,
      payload,
      labels: labels === undefined ? before.labels : new Map(labels),
      updatedAtMs: Number(row.at),
    }
  }

  async delete(type: ObjectType, id: string): Promise<boolean> {
    return (await this.#count('DELETE FROM objects WHERE id = $1 AND object_type = $2', [id, type])) > 0
  }

  /** Removes the row only while it holds this payload. */
  async deleteSame(object: StoredObject): Promise<boolean> {
    const text = 'DELETE FROM objects WHERE id = $1 AND object_type = $2 AND payload = $3::bytea'
    return (await this.#count(text, [object.id, object.type, object.payload])) > 0
  }

  async deleteSandbox(sandboxId: string): Promise<boolean> {
    await this.deleteSshSessions(sandboxId)
    await this.delete('sandbox_settings', `settings:${sandboxId}`)
    await this.#count('DELETE FROM sandbox_policies WHERE sandbox_id = $1', [sandboxId])
    await this.#count('DELETE FROM draft_policy_chunks WHERE sandbox_id = $1', [sandboxId])
    await this.#count('DELETE FROM openshell_draft_versions WHERE sandbox_id = $1', [sandboxId])
    return await this.delete('sandbox', sandboxId)
  }

  async deleteSshSessions(sandboxId: string): Promise<number> {
    if (sandboxId === '') return 0
    // Rows that mention the sandbox at all; which are its own is decided by decoding them.
    const rows = await this.run<{ id: string; payload: Uint8Array }>(
      "SELECT id, payload FROM objects WHERE object_type = 'ssh_session' AND position($1::bytea IN payload) > 0",
      [Buffer.from(sandboxId, 'utf8')],
    )
    const own = rows.filter(row => isSessionOf(row.payload, sandboxId))
    for (const row of own) await this.delete('ssh_session', row.id)
    return own.length
  }

  async insertPolicy(
    revision: Pick<PolicyRevision, 'sandboxId' | 'version' | 'payload' | 'hash'>,
  ): Promise<PolicyRevision> {
    const { sandboxId, version, payload, hash } = revision
    const [row] = await this.run<PolicyRow>(
      `INSERT INTO sandbox_policies (id, sandbox_id, version, policy_payload, policy_hash, status, created_at_ms)
       VALUES ($1, $2, $3, $4, $5, 'pending', $6) ON CONFLICT DO NOTHING RETURNING *`,
      [randomUUID(), sandboxId, version, payload, hash, this.#nowMs()],
    )
    if (!row) throw new StoreConflict('version')
    return toPolicy(row)
  }

  async setPolicyStatus(
    sandboxId: string,
    version: number,
    status: PolicyStatusText,
    details: { loadError: string | null; loadedAtMs: number | null },
  ): Promise<boolean> {
    const changed = await this.#count(
      `UPDATE sandbox_policies SET status = $1::text, load_error = $2::text, loaded_at_ms = $3::bigint
       WHERE sandbox_id = $4 AND version = $5::bigint`,
      [status, details.loadError, details.loadedAtMs, sandboxId, version],
    )
    return changed > 0
  }

  supersedePolicies(sandboxId: string, version: number): Promise<number> {
    return this.#count(
      `UPDATE sandbox_policies SET status = 'superseded'
       WHERE sandbox_id = $1 AND version < $2::bigint AND status IN ('pending', 'loaded')`,
      [sandboxId, version],
    )
  }

  prunePolicies(sandboxId: string, keep: number): Promise<number> {
    return this.#count(
      `DELETE FROM sandbox_policies WHERE id IN (
         SELECT id FROM sandbox_policies WHERE sandbox_id = $1 AND status <> 'loaded' AND version <=
           (SELECT version FROM sandbox_policies WHERE sandbox_id = $1 ORDER BY version DESC LIMIT 1 OFFSET $2)
         ORDER BY version LIMIT ${LIMITS.policyRevisionsPruned})`,
      [sandboxId, keep],
    )
  }

  async putDraft(chunk: NewDraft): Promise<DraftChunk> {
    if ((await this.run('SELECT 1 FROM draft_policy_chunks WHERE id = $1', [chunk.id])).length > 0)
      throw new StoreConflict('id')
    const [row] = await this.run<DraftRow>(
      `INSERT INTO draft_policy_chunks AS old (${DRAFT_COLUMNS}) VALUES (${DRAFT_PLACES})
       ON CONFLICT (sandbox_id, host, port, "binary") WHERE status IN ('pending', 'approved', 'rejected')
       DO UPDATE SET hit_count = least(old.hit_count + excluded.hit_count, ${MOST_HITS}), last_seen_ms = excluded.last_seen_ms
       RETURNING ${DRAFT_RETURNED}`,
      draftValues(chunk),
    )
    return finishDraft(row!)
  }

  async setDraftStatus(id: string, status: DraftStatus, decidedAtMs: number | null): Promise<boolean> {
    const text = 'UPDATE draft_policy_chunks SET status = $1::text, decided_at_ms = $2::bigint WHERE id = $3'
    return (await this.#count(text, [status, decidedAtMs, id])) > 0
  }

  async setDraftRule(id: string, proposedRule: Uint8Array): Promise<boolean> {
    const text = "UPDATE draft_policy_chunks SET proposed_rule = $1::bytea WHERE id = $2 AND status = 'pending'"
    return (await this.#count(text, [proposedRule, id])) > 0
  }

  async setDraftDetails(id: string, details: DraftDetails): Promise<boolean> {
    const { draftVersion, proposedRule, rationale, securityNotes, confidence, approval } = details
    const kept = [draftVersion, proposedRule, rationale, securityNotes, confidence].map(value => value ?? null)
    const changed = await this.#count(
      `UPDATE draft_policy_chunks SET
         draft_version = coalesce($2::bigint, draft_version), proposed_rule = coalesce($3::bytea, proposed_rule),
         rationale = coalesce($4::text, rationale), security_notes = coalesce($5::text, security_notes),
         confidence = coalesce($6::double precision, confidence), approval = CASE WHEN $7::boolean THEN $8::text ELSE approval END
       WHERE id = $1`,
      [id, ...kept, approval !== undefined, approval ?? null],
    )
    return changed > 0
  }

  async deleteDraft(id: string): Promise<boolean> {
    await this.#keepVersion('id = $1', id)
    return (await this.#count('DELETE FROM draft_policy_chunks WHERE id = $1', [id])) > 0
  }

  async deleteDrafts(sandboxId: string, status: DraftStatus): Promise<number> {
    await this.#keepVersion('sandbox_id = $1', sandboxId)
    return await this.#count('DELETE FROM draft_policy_chunks WHERE sandbox_id = $1 AND status = $2', [
      sandboxId,
      status,
    ])
  }

  /** What is about to be removed may hold the highest version (spec/policy.md W20). */
  async #keepVersion(where: string, value: string): Promise<void> {
    await this.run(
      `INSERT INTO openshell_draft_versions AS old (sandbox_id, version)
       SELECT sandbox_id, max(draft_version) FROM draft_policy_chunks WHERE ${where} GROUP BY sandbox_id
       ON CONFLICT (sandbox_id) DO UPDATE SET version = greatest(old.version, excluded.version)`,
      [value],
    )
  }

  /** Runs a statement that changes rows; how many it changed. */
  async #count(text: string, values: Parameters<Runner>[1]): Promise<number> {
    const result = (await this.run(text, values)) as unknown[] & { readonly count?: number }
    return result.count ?? 0
  }
}
