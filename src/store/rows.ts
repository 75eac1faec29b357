import { readLabels } from './labels.ts'
import type { DraftChunk, ObjectPage, PolicyRevision, PolicyStatusText, PolicySummary, StoredObject } from './store.ts'

/** An integer column: SQLite gives numbers, PostgreSQL gives 64-bit ones as text. */
type Integer = number | bigint | string

/** A row of `objects` under the names of `StoredObject`, with what `finishObject` still has to convert. */
export interface ObjectRow {
  readonly type: string
  readonly id: string
  readonly name: string
  payload: Uint8Array | string
  labels: string | ReadonlyMap<string, string> | null
  createdAtMs: Integer
  updatedAtMs: Integer
}

export interface PolicyRow extends SummaryRow {
  readonly policy_payload: Uint8Array | string
}

/** A row of `sandbox_policies` without its policy. */
export interface SummaryRow {
  readonly id: string
  readonly sandbox_id: string
  readonly version: Integer
  readonly policy_hash: string
  readonly status: string
  readonly load_error: string | null
  readonly created_at_ms: Integer
  readonly loaded_at_ms: Integer | null
}

/** A row of `draft_policy_chunks` under the names of `DraftChunk`, with what `finishDraft` still has to convert. */
export interface DraftRow {
  readonly id: string
  readonly sandboxId: string
  draftVersion: Integer
  readonly status: string
  readonly ruleName: string
  proposedRule: Uint8Array | string
  readonly rationale: string
  readonly securityNotes: string
  confidence: Integer
  readonly host: string
  port: Integer
  readonly binary: string
  hitCount: Integer
  firstSeenMs: Integer
  lastSeenMs: Integer
  createdAtMs: Integer
  decidedAtMs: Integer | null
  readonly approval: string | null
}

/** Where a page begins in list order: behind this time and name. */
export const beginOf = ({ after }: ObjectPage): [createdAtMs: number, name: string] =>
  after ? [after.createdAtMs, after.name] : [Number.MIN_SAFE_INTEGER, '']

/** Columns of a `DraftRow` in SQL of both databases. */
const DRAFT =
  'id, sandbox_id AS "sandboxId", draft_version AS "draftVersion", status, rule_name AS "ruleName", proposed_rule AS "proposedRule", rationale, security_notes AS "securityNotes", confidence, host, port, "binary", hit_count AS "hitCount", first_seen_ms AS "firstSeenMs", last_seen_ms AS "lastSeenMs", created_at_ms AS "createdAtMs", decided_at_ms AS "decidedAtMs"'
/** `approval` is a column of ours: a file of the reference that is opened for reading only lacks it. */
export const draftColumns = (hasApproval: boolean): string =>
  `${DRAFT}, ${hasApproval ? 'approval' : 'NULL AS approval'}`

/** Turns a row that is nobody else's into the object, in place: lists are the hottest reads there are. */
export function finishObject(row: ObjectRow): StoredObject {
  if (typeof row.labels !== 'object' || row.labels === null) row.labels = readLabels(row.labels)
  if (typeof row.payload === 'string') row.payload = toBytes(row.payload)
  if (typeof row.createdAtMs !== 'number') row.createdAtMs = Number(row.createdAtMs)
  if (typeof row.updatedAtMs !== 'number') row.updatedAtMs = Number(row.updatedAtMs)
  return row as StoredObject
}

/** Columns of a `SummaryRow`. */
export const SUMMARY = 'id, sandbox_id, version, policy_hash, status, load_error, created_at_ms, loaded_at_ms'

/** A row of `sandbox_policies` without its policy. */
export const toSummary = (row: SummaryRow): PolicySummary => ({
  id: row.id,
  sandboxId: row.sandbox_id,
  version: Number(row.version),
  hash: row.policy_hash,
  status: row.status as PolicyStatusText,
  loadError: row.load_error,
  createdAtMs: Number(row.created_at_ms),
  loadedAtMs: row.loaded_at_ms === null ? null : Number(row.loaded_at_ms),
})

/** A row of `sandbox_policies`. */
export const toPolicy = (row: PolicyRow): PolicyRevision => ({
  ...toSummary(row),
  payload: toBytes(row.policy_payload),
})

/** Turns a row that is nobody else's into the chunk, in place: a sandbox may have thousands. */
export function finishDraft(row: DraftRow): DraftChunk {
  if (typeof row.proposedRule === 'string') row.proposedRule = toBytes(row.proposedRule)
  for (const name of DRAFT_NUMBERS) if (typeof row[name] !== 'number') row[name] = Number(row[name])
  if (typeof row.decidedAtMs !== 'number' && row.decidedAtMs !== null) row.decidedAtMs = Number(row.decidedAtMs)
  return row as unknown as DraftChunk
}

const DRAFT_NUMBERS = [
  'draftVersion',
  'confidence',
  'port',
  'hitCount',
  'firstSeenMs',
  'lastSeenMs',
  'createdAtMs',
] as const

/** Bytes of a payload column; SQLite lets other programs store text in one. */
const toBytes = (value: Uint8Array | string): Uint8Array =>
  typeof value === 'string' ? Buffer.from(value, 'utf8') : value

/** The largest hit count the reference can read back; counts stop there (W18). */
export const MOST_HITS = 2_147_483_647

/** Columns of `draft_policy_chunks` in the order both stores write them. */
export const DRAFT_COLUMNS =
  'id, sandbox_id, draft_version, status, rule_name, proposed_rule, rationale, security_notes, confidence, host, port, "binary", hit_count, first_seen_ms, last_seen_ms, created_at_ms, decided_at_ms'

export type NewDraft = Omit<DraftChunk, 'status' | 'decidedAtMs'> & Partial<Pick<DraftChunk, 'status' | 'decidedAtMs'>>

/** Values of a new draft in the order of `DRAFT_COLUMNS`. */
export const draftValues = (chunk: NewDraft): (string | number | Uint8Array | null)[] => [
  chunk.id,
  chunk.sandboxId,
  chunk.draftVersion,
  chunk.status ?? 'pending',
  chunk.ruleName,
  chunk.proposedRule,
  chunk.rationale,
  chunk.securityNotes,
  chunk.confidence,
  chunk.host,
  chunk.port,
  chunk.binary,
  Math.min(Math.max(chunk.hitCount, 0), MOST_HITS),
  chunk.firstSeenMs,
  chunk.lastSeenMs,
  chunk.createdAtMs,
  chunk.decidedAtMs ?? null,
]
