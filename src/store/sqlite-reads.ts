import type { Database, SQLQueryBindings, Statement } from 'bun:sqlite'
import { LIMITS } from '../limits.ts'
import { writeLabels } from './labels.ts'
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

/** Prepared statements of one connection, finalized together. */
export class Statements {
  readonly #db: Database
  readonly #made: { finalize(): void }[] = []

  constructor(db: Database) {
    this.#db = db
  }

  prepare<Row, Values extends SQLQueryBindings[]>(sql: string): Statement<Row, Values> {
    const statement = this.#db.prepare<Row, Values>(sql) as Statement<Row, Values>
    this.#made.push(statement)
    return statement
  }

  /** Columns of a table; none when there is no such table. */
  columns(table: string): Set<string> {
    const rows = this.#db.query<{ name: string }, [string]>('SELECT name FROM pragma_table_info(?)').all(table)
    return new Set(rows.map(row => row.name))
  }

  finalize(): void {
    for (const statement of this.#made.splice(0)) statement.finalize()
  }
}

/** Runs one synchronous piece of database work: maps its errors, waits when it must. */
export type Guard = <T>(work: () => T) => Promise<T>

const OBJECT =
  'object_type AS type, id, name, payload, labels, created_at_ms AS createdAtMs, updated_at_ms AS updatedAtMs'
const IN_ORDER = 'ORDER BY created_at_ms, name'
const BEHIND = 'object_type = ?1 AND (created_at_ms, name) > (?2, ?3)'

/**
 * Rows whose labels hold every pair of the selector ?6. The two searches for the first pair's quoted key (?7) and
 * value (?8) spare most rows the JSON work; a backslash may spell them otherwise. Answered from the order index alone.
 */
const SELECTED = `SELECT rowid FROM objects WHERE ${BEHIND}
  AND (instr(labels, ?7) > 0 AND instr(labels, ?8) > 0 OR instr(labels, '\\') > 0)
  AND CASE WHEN json_valid(labels) THEN NOT EXISTS (
    SELECT 1 FROM json_each(?6) AS want WHERE NOT EXISTS (
      SELECT 1 FROM json_each(objects.labels) AS have WHERE have.key = want.key AND have.type = 'text' AND have.value = want.value))
  ELSE 0 END ${IN_ORDER} LIMIT ?4 OFFSET ?5`

/** Chunks, the newest first; within a millisecond in the order of their submission. */
const NEWEST = 'ORDER BY created_at_ms DESC, draft_version DESC, id DESC'

/** The reading statements of one connection. */
export function prepareReads(make: Statements) {
  // A file of the reference that is opened for reading only has nothing of ours.
  const draft = draftColumns(make.columns('draft_policy_chunks').has('approval'))
  const newest = 'SELECT coalesce(max(draft_version), 0) AS v FROM draft_policy_chunks WHERE sandbox_id = ?1'
  const counted = 'coalesce((SELECT version FROM openshell_draft_versions WHERE sandbox_id = ?1), 0)'
  return {
    get: make.prepare<ObjectRow, [string, string]>(`SELECT ${OBJECT} FROM objects WHERE id = ? AND object_type = ?`),
    byName: make.prepare<ObjectRow, [string, string]>(
      `SELECT ${OBJECT} FROM objects WHERE object_type = ? AND name = ?`,
    ),
    list: make.prepare<ObjectRow, [string, number, string, number, number]>(
      `SELECT ${OBJECT} FROM objects WHERE ${BEHIND} ${IN_ORDER} LIMIT ?4 OFFSET ?5`,
    ),
    select: make.prepare<ObjectRow, [string, number, string, number, number, string, string, string]>(
      `SELECT ${OBJECT} FROM objects WHERE rowid IN (${SELECTED}) ${IN_ORDER}`,
    ),
    latest: make.prepare<PolicyRow, [string]>(
      'SELECT * FROM sandbox_policies WHERE sandbox_id = ? ORDER BY version DESC LIMIT 1',
    ),
    version: make.prepare<PolicyRow, [string, number]>(
      'SELECT * FROM sandbox_policies WHERE sandbox_id = ? AND version = ?',
    ),
    policies: make.prepare<SummaryRow, [string, number, number]>(
      `SELECT ${SUMMARY} FROM sandbox_policies WHERE sandbox_id = ? ORDER BY version DESC LIMIT ? OFFSET ?`,
    ),
    draft: make.prepare<DraftRow, [string]>(`SELECT ${draft} FROM draft_policy_chunks WHERE id = ?`),
    drafts: make.prepare<DraftRow, [string, string | null]>(
      `SELECT ${draft} FROM draft_policy_chunks WHERE sandbox_id = ?1 AND (?2 IS NULL OR status = ?2) ${NEWEST}`,
    ),
    draftKeys: make.prepare<{ key: number }, [string, string | null]>(
      `SELECT rowid AS key FROM draft_policy_chunks WHERE sandbox_id = ?1 AND (?2 IS NULL OR status = ?2) ${NEWEST}`,
    ),
    draftsByKey: make.prepare<DraftRow, [string, string | null]>(
      // In the order of the keys, which need no sorting again.
      `SELECT ${draftColumns(false)} FROM (SELECT value AS key FROM json_each(?1)) AS wanted
       CROSS JOIN draft_policy_chunks ON draft_policy_chunks.rowid = wanted.key
       WHERE ?2 IS NULL OR status = ?2`,
    ),
    countDrafts: make.prepare<{ n: number }, [string]>(
      'SELECT count(*) AS n FROM draft_policy_chunks WHERE sandbox_id = ?',
    ),
    draftAt: make.prepare<unknown, [string, string, number, string]>(
      `SELECT 1 FROM draft_policy_chunks WHERE sandbox_id = ? AND host = ? AND port = ? AND "binary" = ?
       AND status IN ('pending', 'approved', 'rejected')`,
    ),
    oldestDraft: make.prepare<{ id: string }, [string, string]>(
      `SELECT id FROM draft_policy_chunks WHERE sandbox_id = ? AND +status = ?
       ORDER BY created_at_ms, draft_version, id LIMIT 1`,
    ),
    draftVersion: make.prepare<{ v: number }, [string]>(
      make.columns('openshell_draft_versions').size > 0 ? `SELECT max((${newest}), ${counted}) AS v` : newest,
    ),
  }
}

export type ReadStatements = ReturnType<typeof prepareReads>

/** Everything that reads, on one connection. */
export class SqliteReads implements StoreReads {
  protected readonly guard: Guard
  readonly #q: ReadStatements

  constructor(prepared: ReadStatements, guard: Guard) {
    this.guard = guard
    this.#q = prepared
  }

  get(type: ObjectType, id: string): Promise<StoredObject | null> {
    return this.guard(() => orNull(this.#q.get.get(id, type), finishObject))
  }

  getByName(type: ObjectType, name: string): Promise<StoredObject | null> {
    return this.guard(() => orNull(this.#q.byName.get(type, name), finishObject))
  }

  list(type: ObjectType, page: ObjectPage, selector?: ReadonlyMap<string, string>): Promise<StoredObject[]> {
    const wanted = [type, ...beginOf(page), page.limit, page.offset] as const
    const pair = selector?.entries().next().value
    if (selector === undefined || pair === undefined)
      return this.guard(() => this.#q.list.all(...wanted).map(finishObject))
    const [key, value] = pair.map(text => JSON.stringify(text)) as [string, string]
    const labels = writeLabels(selector)
    return this.guard(() => this.#q.select.all(...wanted, labels, key, value).map(finishObject))
  }

  async *scan(type: ObjectType, pageSize: number = LIMITS.storeScanRows): AsyncGenerator<StoredObject> {
    for (let after: StoredObject | undefined; ; ) {
      const rows = await this.list(type, { limit: pageSize, offset: 0, after })
      yield* rows
      after = rows.at(-1)
      if (rows.length < pageSize) return
      // Others get their turn between pages; the pages themselves are synchronous.
      await new Promise<void>(resolve => setImmediate(resolve))
    }
  }

  latestPolicy(sandboxId: string): Promise<PolicyRevision | null> {
    return this.guard(() => orNull(this.#q.latest.get(sandboxId), toPolicy))
  }

  policyVersion(sandboxId: string, version: number): Promise<PolicyRevision | null> {
    return this.guard(() => orNull(this.#q.version.get(sandboxId, version), toPolicy))
  }

  listPolicies(sandboxId: string, page: Page): Promise<PolicySummary[]> {
    return this.guard(() => this.#q.policies.all(sandboxId, page.limit, page.offset).map(toSummary))
  }

  draft(id: string): Promise<DraftChunk | null> {
    return this.guard(() => orNull(this.#q.draft.get(id), finishDraft))
  }

  listDrafts(sandboxId: string, status?: DraftStatus): Promise<DraftChunk[]> {
    return this.guard(() => this.#q.drafts.all(sandboxId, status ?? null).map(finishDraft))
  }

  async *scanDrafts(sandboxId: string, status?: DraftStatus): AsyncGenerator<DraftChunk[]> {
    const wanted = status ?? null
    const keys = await this.guard(() => this.#q.draftKeys.all(sandboxId, wanted).map(row => row.key))
    for (let at = 0; at < keys.length; at += LIMITS.draftRowsPerTurn) {
      if (at > 0) await new Promise<void>(resolve => setImmediate(resolve))
      const page = JSON.stringify(keys.slice(at, at + LIMITS.draftRowsPerTurn))
      yield await this.guard(() => this.#q.draftsByKey.all(page, wanted).map(finishDraft))
    }
  }

  countDrafts(sandboxId: string): Promise<number> {
    return this.guard(() => this.#q.countDrafts.get(sandboxId)?.n ?? 0)
  }

  hasDraftAt(sandboxId: string, at: Pick<DraftChunk, 'host' | 'port' | 'binary'>): Promise<boolean> {
    return this.guard(() => this.#q.draftAt.get(sandboxId, at.host, at.port, at.binary) !== null)
  }

  oldestDraft(sandboxId: string, status: DraftStatus): Promise<string | null> {
    return this.guard(() => this.#q.oldestDraft.get(sandboxId, status)?.id ?? null)
  }

  draftVersion(sandboxId: string): Promise<number> {
    return this.guard(() => this.#q.draftVersion.get(sandboxId)?.v ?? 0)
  }
}

const orNull = <Row, T>(row: Row | null, convert: (row: Row) => T): T | null => (row === null ? null : convert(row))
