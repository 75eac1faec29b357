import { LIMITS } from '../limits.ts'
import { writeLabels } from './labels.ts'
import type { Runner } from './postgres-pool.ts'
import {
  beginOf,
  type DraftRow,
  draftColumns,
  finishDraft,
  finishObject,
  type ObjectRow,
  type PolicyRow,
  SUMMARY,
  type SummaryRow,
  toPolicy,
  toSummary,
} from './rows.ts'
import type {
  DraftChunk,
  DraftStatus,
  ObjectPage,
  ObjectType,
  Page,
  PolicyRevision,
  PolicySummary,
  StoredObject,
  StoreReads,
} from './store.ts'

/** Columns of `objects` under the names of `StoredObject`. */
export const OBJECT =
  'object_type AS "type", id, name, payload, labels::text AS labels, created_at_ms AS "createdAtMs", updated_at_ms AS "updatedAtMs"'
/** Names in byte order, whatever the database's collation: the same order as on SQLite. */
const IN_ORDER = 'ORDER BY created_at_ms, name COLLATE "C"'
const BEHIND = 'object_type = $1 AND (created_at_ms, name COLLATE "C") > ($2::bigint, $3)'

const DRAFT = draftColumns(true)
const OF_STATUS = 'sandbox_id = $1 AND ($2::text IS NULL OR status = $2::text)'
/** Chunks, the newest first; within a millisecond in the order of their submission. */
const NEWEST = 'ORDER BY created_at_ms DESC, draft_version DESC, id COLLATE "C" DESC'

/** PostgreSQL keeps no NUL character in a text: nothing is stored under such a name. */
const canExist = (...texts: string[]) => texts.every(text => !text.includes('\0'))

/** Everything that reads, through one runner: any connection, or the one of a transaction. */
export class PostgresReads implements StoreReads {
  protected readonly run: Runner

  constructor(run: Runner) {
    this.run = run
  }

  async get(type: ObjectType, id: string): Promise<StoredObject | null> {
    if (!canExist(id)) return null
    const [row] = await this.run<ObjectRow>(`SELECT ${OBJECT} FROM objects WHERE id = $1 AND object_type = $2`, [
      id,
      type,
    ])
    return row ? finishObject(row) : null
  }

  async getByName(type: ObjectType, name: string): Promise<StoredObject | null> {
    if (!canExist(name)) return null
    const [row] = await this.run<ObjectRow>(`SELECT ${OBJECT} FROM objects WHERE object_type = $1 AND name = $2`, [
      type,
      name,
    ])
    return row ? finishObject(row) : null
  }

  async list(type: ObjectType, page: ObjectPage, selector?: ReadonlyMap<string, string>): Promise<StoredObject[]> {
    const wanted = [type, ...beginOf(page), page.limit, page.offset]
    if (selector === undefined || selector.size === 0) {
      const all = `SELECT ${OBJECT} FROM objects WHERE ${BEHIND} ${IN_ORDER} LIMIT $4 OFFSET $5`
      return (await this.run<ObjectRow>(all, wanted)).map(finishObject)
    }
    if (!canExist(...selector.keys(), ...selector.values())) return []
    const some = `SELECT ${OBJECT} FROM objects WHERE ${BEHIND} AND labels @> $6::text::jsonb ${IN_ORDER} LIMIT $4 OFFSET $5`
    return (await this.run<ObjectRow>(some, [...wanted, writeLabels(selector)])).map(finishObject)
  }

  async *scan(type: ObjectType, pageSize: number = LIMITS.storeScanRows): AsyncGenerator<StoredObject> {
    for (let after: StoredObject | undefined; ; ) {
      const rows = await this.list(type, { limit: pageSize, offset: 0, after })
      yield* rows
      after = rows.at(-1)
      if (rows.length < pageSize) return
    }
  }

  async latestPolicy(sandboxId: string): Promise<PolicyRevision | null> {
    const text = 'SELECT * FROM sandbox_policies WHERE sandbox_id = $1 ORDER BY version DESC LIMIT 1'
    const [row] = await this.run<PolicyRow>(text, [sandboxId])
    return row ? toPolicy(row) : null
  }

  async policyVersion(sandboxId: string, version: number): Promise<PolicyRevision | null> {
    const text = 'SELECT * FROM sandbox_policies WHERE sandbox_id = $1 AND version = $2::bigint'
    const [row] = await this.run<PolicyRow>(text, [sandboxId, version])
    return row ? toPolicy(row) : null
  }

  async listPolicies(sandboxId: string, page: Page): Promise<PolicySummary[]> {
    const text = `SELECT ${SUMMARY} FROM sandbox_policies WHERE sandbox_id = $1 ORDER BY version DESC LIMIT $2 OFFSET $3`
    return (await this.run<SummaryRow>(text, [sandboxId, page.limit, page.offset])).map(toSummary)
  }

  async draft(id: string): Promise<DraftChunk | null> {
    if (!canExist(id)) return null
    const [row] = await this.run<DraftRow>(`SELECT ${DRAFT} FROM draft_policy_chunks WHERE id = $1`, [id])
    return row ? finishDraft(row) : null
  }

  async listDrafts(sandboxId: string, status?: DraftStatus): Promise<DraftChunk[]> {
    const text = `SELECT ${DRAFT} FROM draft_policy_chunks WHERE ${OF_STATUS} ${NEWEST}`
    return (await this.run<DraftRow>(text, [sandboxId, status ?? null])).map(finishDraft)
  }

  async *scanDrafts(sandboxId: string, status?: DraftStatus): AsyncGenerator<DraftChunk[]> {
    const wanted = status ?? null
    const found = await this.run<{ id: string }>(`SELECT id FROM draft_policy_chunks WHERE ${OF_STATUS} ${NEWEST}`, [
      sandboxId,
      wanted,
    ])
    const text = `SELECT ${draftColumns(false)} FROM draft_policy_chunks WHERE ${OF_STATUS}
      AND id IN (SELECT jsonb_array_elements_text($3::text::jsonb)) ${NEWEST}`
    for (let at = 0; at < found.length; at += LIMITS.draftRowsPerTurn) {
      const page = JSON.stringify(found.slice(at, at + LIMITS.draftRowsPerTurn).map(row => row.id))
      yield (await this.run<DraftRow>(text, [sandboxId, wanted, page])).map(finishDraft)
    }
  }

  async countDrafts(sandboxId: string): Promise<number> {
    const text = 'SELECT count(*) AS n FROM draft_policy_chunks WHERE sandbox_id = $1'
    const [row] = await this.run<{ n: string }>(text, [sandboxId])
    return Number(row?.n ?? 0)
  }

  async hasDraftAt(sandboxId: string, at: Pick<DraftChunk, 'host' | 'port' | 'binary'>): Promise<boolean> {
    const text = `SELECT 1 FROM draft_policy_chunks
      WHERE sandbox_id = $1 AND host = $2 AND port = $3::bigint AND "binary" = $4 AND status IN ('pending', 'approved', 'rejected')`
    return (await this.run(text, [sandboxId, at.host, at.port, at.binary])).length > 0
  }

  async oldestDraft(sandboxId: string, status: DraftStatus): Promise<string | null> {
    const text = `SELECT id FROM draft_policy_chunks WHERE sandbox_id = $1 AND status = $2
      ORDER BY created_at_ms, draft_version, id COLLATE "C" LIMIT 1`
    const [row] = await this.run<{ id: string }>(text, [sandboxId, status])
    return row?.id ?? null
  }

  async draftVersion(sandboxId: string): Promise<number> {
    const text = `SELECT greatest(
      (SELECT max(draft_version) FROM draft_policy_chunks WHERE sandbox_id = $1),
      (SELECT version FROM openshell_draft_versions WHERE sandbox_id = $1), 0) AS v`
    const [row] = await this.run<{ v: string }>(text, [sandboxId])
    return Number(row?.v ?? 0)
  }
}
