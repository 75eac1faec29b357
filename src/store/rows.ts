import { readLabels } from './labels.ts'
import type { DraftChunk, DraftStatus, PolicyRevision, PolicyStatusText, StoredObject } from './store.ts'

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

export interface PolicyRow {
  readonly id: string
  readonly sandbox_id: string
  readonly version: Integer
  readonly policy_payload: Uint8Array | string
  readonly policy_hash: string
  readonly status: string
  readonly load_error: string | null
  readonly created_at_ms: Integer
  readonly loaded_at_ms: Integer | null
}

export interface DraftRow {
  readonly id: string
  readonly sandbox_id: string
  readonly draft_version: Integer
  readonly status: string
  readonly rule_name: string
  readonly proposed_rule: Uint8Array | string
  readonly rationale: string
  readonly security_notes: string
  readonly confidence: number
  readonly host: string
  readonly port: Integer
  readonly binary: string
  readonly hit_count: Integer
  readonly first_seen_ms: Integer
  readonly last_seen_ms: Integer
  readonly created_at_ms: Integer
  readonly decided_at_ms: Integer | null
  /** A column of ours; absent in a file of the reference that is opened for reading only. */
  readonly approval?: string | null
}

/** Turns a row that is nobody else's into the object, in place: lists are the hottest reads there are. */
export function finishObject(row: ObjectRow): StoredObject {
  if (typeof row.labels !== 'object' || row.labels === null) row.labels = readLabels(row.labels)
  if (typeof row.payload === 'string') row.payload = toBytes(row.payload)
  if (typeof row.createdAtMs !== 'number') row.createdAtMs = Number(row.createdAtMs)
  if (typeof row.updatedAtMs !== 'number') row.updatedAtMs = Number(row.updatedAtMs)
  return row as StoredObject
}

/** A row of `sandbox_policies`. */
export const toPolicy = (row: PolicyRow): PolicyRevision => ({
  id: row.id,
  sandboxId: row.sandbox_id,
  version: Number(row.version),
  payload: toBytes(row.policy_payload),
  hash: row.policy_hash,
  status: row.status as PolicyStatusText,
  loadError: row.load_error,
  createdAtMs: Number(row.created_at_ms),
  loadedAtMs: toOptional(row.loaded_at_ms),
})

/** A row of `draft_policy_chunks`. */
export const toDraft = (row: DraftRow): DraftChunk => ({
  id: row.id,
  sandboxId: row.sandbox_id,
  draftVersion: Number(row.draft_version),
  status: row.status as DraftStatus,
  ruleName: row.rule_name,
  proposedRule: toBytes(row.proposed_rule),
  rationale: row.rationale,
  securityNotes: row.security_notes,
  confidence: Number(row.confidence),
  host: row.host,
  port: Number(row.port),
  binary: row.binary,
  hitCount: Number(row.hit_count),
  firstSeenMs: Number(row.first_seen_ms),
  lastSeenMs: Number(row.last_seen_ms),
  createdAtMs: Number(row.created_at_ms),
  decidedAtMs: toOptional(row.decided_at_ms),
  approval: row.approval ?? null,
})

/** Bytes of a payload column; SQLite lets other programs store text in one. */
const toBytes = (value: Uint8Array | string): Uint8Array =>
  typeof value === 'string' ? Buffer.from(value, 'utf8') : value

const toOptional = (value: Integer | null): number | null => (value === null ? null : Number(value))

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
